"""Real Cassandra nodes on loopback, for the tests that need some: each in a folder of its own, ended by pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from cluster.cassandra.settings import CassandraSettings
from tests.contract.standing_still import standing_still

ROOT: Final = Path(__file__).resolve().parents[2]
START_S_MAX: Final = 90.0
QUICK_START: Final = "-XX:TieredStopAtLevel=1"
"""Java's first compiler alone: a node starts sooner, and takes less from what runs beside it."""

DATACENTER: Final = "datacenter1"

ON_ONE_WORKER: Final = pytest.mark.xdist_group("cassandra")
"""Where tests run on several processes, those that share a Cassandra run on one."""


class CassandraNode:
    """`start` and `kill` may follow each other; what was acknowledged stays. `more` is added to its settings."""

    def __init__(self, folder: Path, number: int, port: int, storage_port: int, more: str = "") -> None:
        self.address = f"127.0.0.{number}"
        self._folder = folder / f"cassandra-{number}"
        self._folder.mkdir()
        (self._folder / "more.yaml").write_text(more)
        self._number = number
        self._port = port
        self._storage_port = storage_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it serves."""
        environment = {
            **os.environ,
            "CASSANDRA_PORT": str(self._port),
            "CASSANDRA_STORAGE_PORT": str(self._storage_port),
            "CASSANDRA_JAVA": QUICK_START,
            "CASSANDRA_YAML": str(self._folder / "more.yaml"),
        }
        command = [str(ROOT / "scripts/cassandra_node"), str(self._number), str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_S_MAX
        while not _listens(self.address, self._port):
            assert self._process.poll() is None, f"Cassandra ended: {self._said()}"
            assert time.monotonic() < deadline, f"Cassandra did not start: {self._said()}"
            time.sleep(0.1)

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

    def _said(self) -> str:
        return (self._folder / "log").read_text()[-3000:]


class CassandraServers:
    """A cluster of so many nodes; the first is there from the beginning to the end of a test session."""

    def __init__(self, folder: Path, nodes: int = 1, more: str = "") -> None:
        self._port, storage_port = _free_port(), _free_port()
        self.nodes = [CassandraNode(folder, number, self._port, storage_port, more) for number in range(1, nodes + 1)]

    def settings(self, keyspace: str) -> CassandraSettings:
        return CassandraSettings([node.address for node in self.nodes], DATACENTER, keyspace, self._port)


@contextmanager
def cassandra_servers(folder: Path, nodes: int = 1, more: str = "") -> Iterator[CassandraServers]:
    """Started one by one, as a new cluster has to be."""
    servers = CassandraServers(folder, nodes, more)
    try:
        for node in servers.nodes:
            node.start()
        yield servers
    finally:
        for node in servers.nodes:
            node.kill()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
