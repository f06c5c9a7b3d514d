"""The shipped command under test: `stepwell dev` with folders of its own, started, killed and stopped by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

COMMAND = Path(sys.executable).parent / "stepwell"
START_S_MAX = 60.0
STOP_S_MAX = 30.0
GONE_S_MAX = 2.0
"""How long a killed server's sandboxes may take to be gone."""


async def until(what: str, holds: Callable[[], bool], patience_s: float, poll_s: float = 0.02) -> None:
    """Wait for a condition. Raises TimeoutError, naming it, when it does not come in time."""
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience_s:.0f} s in vain until {what}")
        await asyncio.sleep(poll_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One data directory and port, and the process that serves them at the moment."""

    def __init__(self, folder: Path, *, config: str = "", sandbox: str = "gvisor") -> None:
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.starts = 0
        self._contexts = folder / "config" / "stepwell" / "contexts.toml"
        self._sandbox = sandbox
        self._process: subprocess.Popen[bytes] | None = None
        # A user's own contexts and tokens are neither read nor written.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}
        self.environ = inherited | {
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "share"),
        }
        self.data.mkdir(parents=True)
        (self.data / "config.toml").write_text(config)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def token(self) -> str:
        """The operator's, from the context file."""
        known = tomllib.loads(self._contexts.read_text())
        return str(known["contexts"][self.endpoint]["token"])

    def command_line(self) -> list[str]:
        port = self.endpoint.rpartition(":")[2]
        return [str(COMMAND), "dev", "--data", str(self.data), "--port", port, "--sandbox", self._sandbox]

    def spawn(self) -> None:
        """Start it, without waiting for it to serve."""
        assert self._process is None, "started already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command_line(), env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.starts += 1
        self._log_begin = self.log.stat().st_size

    async def ready(self) -> float:
        """Wait for the ready line; the seconds that took."""
        began = time.monotonic()
        await until("the server is ready", self._says_ready, START_S_MAX)
        return time.monotonic() - began

    def _says_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the server ended with {self._process.returncode}: {self.last_words()}")
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            return b"stepwell: ready on" in log.read()

    async def start(self) -> float:
        """Start it; the seconds until it was ready."""
        self.spawn()
        return await self.ready()

    async def kill(self) -> None:
        """SIGKILL. Raises when a process that it started outlives it."""
        assert self._process is not None
        children = descendants(self._process.pid)
        self._process.kill()
        self._process.wait()
        self._process = None
        await until(
            f"nothing of {self.data} is left: {self.processes()}",
            lambda: not self.processes() and not any(alive(child) for child in children),
            GONE_S_MAX,
        )

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        process, self._process = self._process, None
        try:
            await until("the server has stopped", lambda: process.poll() is not None, STOP_S_MAX)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return process.returncode

    def end(self) -> None:
        """By force, where a test left it running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def last_words(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def processes(self, naming: str = "") -> list[int]:
        """Processes that name the data directory: the server and all that is its sandboxes'. Or another path."""
        text = (naming or str(self.data)).encode()
        return [pid for pid in pids() if text in command_of(pid)]

    def sandboxes(self) -> list[int]:
        """The `runsc run` processes, one a sandbox."""
        return [pid for pid in self.processes() if b"\0run\0-bundle\0" in command_of(pid)]

    def rss_bytes(self) -> int:
        """Of the server's own process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the server has no memory: it ended")

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def descriptors(self) -> list[str]:
        """What its open files are."""
        found = []
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{self.pid}/fd/{name}"))
        return found

    def cgroups(self) -> int:
        """The control groups of its sandboxes, in all hierarchies: it holds a lock on the group that they are in."""
        held = (Path(path) for path in self.descriptors() if path.startswith("/sys/fs/cgroup/"))
        parents = {path for path in held if path.name.startswith("stepwell-")}  # not a group's file, open for a moment
        return sum(entry.is_dir() for parent in parents for entry in os.scandir(parent))

    def disk_bytes(self) -> int:
        """What the data directory takes."""
        total = 0
        for base, _, names in os.walk(self.data):
            for name in names:
                with suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(base, name)).st_blocks * 512
        return total


Child = tuple[int, str]
"""A pid and when it started: pids are used again."""


def pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def command_of(pid: int) -> bytes:
    """Its command line; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def alive(child: Child) -> bool:
    fields = _stat(child[0])
    return bool(fields) and fields[19] == child[1] and fields[0] not in "ZX"


def descendants(pid: int) -> list[Child]:
    """All that it started, and what they started: gVisor's helpers and guests too."""
    parents: dict[int, list[Child]] = {}
    for each in pids():
        if fields := _stat(each):
            parents.setdefault(int(fields[1]), []).append((each, fields[19]))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += [child for child, _ in children]
    return found
