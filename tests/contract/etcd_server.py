"""A real etcd on loopback, for the tests that need one: one member, in a folder of its own, until the block ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.contract.standing_still import standing_still

ROOT = Path(__file__).resolve().parents[2]
START_S_MAX = 20.0


@contextmanager
def etcd_server(folder: Path, *flags: str) -> Iterator[EtcdServer]:
    """Started, with those flags besides; ended by pid."""
    server = EtcdServer(folder, flags)
    try:
        server.start()
        yield server
    finally:
        server.kill()


class EtcdServer:
    """`start` and `kill` may follow each other; what was durable stays."""

    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        told = subprocess.run([ROOT / "scripts/etcd_binary"], capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        self._binary = told.stdout.strip()
        self._folder = folder
        self._flags = flags
        self._client, self._peer = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"127.0.0.1:{self._client}"

    def start(self) -> None:
        scheme = "https" if any(flag.startswith("--cert-file=") for flag in self._flags) else "http"
        client, peer = f"{scheme}://{self.endpoint}", f"http://127.0.0.1:{self._peer}"
        command = [
            self._binary,
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--heartbeat-interval=20",
            "--election-timeout=200",
            *self._flags,
        ]
        with (self._folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S_MAX
        while not _listens(self._client):
            said = (self._folder / "etcd.log").read_text()[-2000:]
            assert self._process.poll() is None, f"etcd ended: {said}"
            assert time.monotonic() < deadline, f"etcd did not start: {said}"
            time.sleep(0.02)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It is there, and answers nothing."""
        assert self._process is not None
        with standing_still(self._process):
            yield


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
