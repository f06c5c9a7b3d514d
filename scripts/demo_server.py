"""The demo's server and its questions: `stepwell dev` as a child process, and the command beside it with `-o json`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "stepwell"
START_S_MAX = 60
STOP_S_MAX = 20
ASK_S_MAX = 120
POLL_S = 0.2


class DemoFailedError(Exception):
    """Something is not as the demo claims."""


def until(what: str, holds: Callable[[], bool], patience_s: float) -> None:
    """Waits for a condition. Raises when it does not come in time."""
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise DemoFailedError(f"waited {patience_s:.0f} s in vain until {what}")
        time.sleep(POLL_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One data directory and port, and the process that serves them at the moment."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._port = free_port()
        self.endpoint = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        # A user's own contexts and tokens are neither read nor written.
        mine = {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}
        self._environment = mine | {
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "share"),
            "STEPWELL_ENDPOINT": self.endpoint,
        }

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it, and returns once it serves."""
        if not COMMAND.exists():
            raise DemoFailedError(f"{COMMAND} is not there: run `make setup`")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [COMMAND, "dev", "--data", str(self.data), "--port", str(self._port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until("the server serves", self._serves, START_S_MAX)

    def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise DemoFailedError(f"the server ended with status {self._process.returncode}")
        return self._run("doctor").returncode == 0

    def kill(self) -> None:
        """SIGKILL. Raises when a process of the server outlives it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        until("no process of the killed server is left", lambda: not self._left_behind(), patience_s=10)
        self._process = None

    def stop(self) -> None:
        """Ends it as an operator would, or by force when it does not listen."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, *arguments: str) -> Any:
        """The JSON document that a verb prints. Raises with the command and its error when it fails."""
        asked = self._run(*arguments)
        if asked.returncode != 0:
            raise DemoFailedError(f"`stepwell {' '.join(arguments)}` exited {asked.returncode}: {asked.stderr.strip()}")
        try:
            return json.loads(asked.stdout)
        except ValueError:
            raise DemoFailedError(f"`stepwell {' '.join(arguments)}` printed no JSON: {asked.stdout[:500]!r}") from None

    def last_words(self, lines: int = 30) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [COMMAND, *arguments, "-o", "json"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ASK_S_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoFailedError(f"`stepwell {' '.join(arguments)}` did not end in {ASK_S_MAX} s") from None

    def _left_behind(self) -> list[int]:
        """Processes that name this server's data directory, as its sandboxes do."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(str(self.data).encode() in word for word in words):
                found.append(int(entry.name))
        return found
