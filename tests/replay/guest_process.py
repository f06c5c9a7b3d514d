"""A guest in a process of its own, spoken to as by a host: over a socket on its fd 0, with the host's types."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loader import messages
from loader.messages import decode_guest_message
from stepwell.frames import FrameReader

NOW_MS = 1_700_000_000_000
_SDK = Path(__file__).resolve().parents[2] / "sdk"


class GuestProcess:
    """Spawns the guest; a context manager. Every read has a deadline."""

    def __init__(self, *, hash_seed: str | None = "0") -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(20)
        environment = {"PYTHONPATH": str(_SDK)} | ({} if hash_seed is None else {"PYTHONHASHSEED": hash_seed})
        command = [sys.executable, "-s", "-P", "-m", "stepwell.guest"]
        self.output_fd, output = os.pipe()
        self.process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=output, stderr=output, env=environment)
        os.close(output)
        theirs.close()
        self._reader = FrameReader()
        self._ready: list[tuple[Any, bytes]] = []
        self.seen: list[tuple[Any, bytes]] = []

    def __enter__(self) -> Self:
        self.until("Hello")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()
        os.close(self.output_fd)
        self.process.kill()
        self.process.wait(20)

    def send(self, data: bytes) -> None:
        """Send whole frames."""
        self._socket.sendall(data)

    def close(self) -> int | None:
        """Close the host's end; the guest's exit code."""
        self._socket.shutdown(socket.SHUT_RDWR)
        return self.process.wait(20)

    def next(self) -> tuple[Any, bytes]:
        """The next message and its payload."""
        while not self._ready:
            try:
                data = self._socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError(f"the guest ended; it said {self.seen[-3:]}")
            self._ready = [(decode_guest_message(envelope), payload) for envelope, payload in self._reader.feed(data)]
        message = self._ready.pop(0)
        self.seen.append(message)
        return message

    def until(self, kind: str) -> tuple[Any, bytes]:
        """The next message of that kind; those before it are in `seen`."""
        while True:
            message, payload = self.next()
            if type(message).__name__ == kind:
                return message, payload

    def load(
        self,
        folder: Path,
        *entrypoints: str,
        bindings: dict[str, str] | None = None,
        variables: dict[str, str] | None = None,
        **limits: int,
    ) -> Any:
        """Show it a bundle; its answer."""
        self.send(messages.load(str(folder), list(entrypoints), variables or {}, limits, bindings))
        while True:
            message, _ = self.next()
            if type(message).__name__ in ("Loaded", "Unloadable"):
                return message

    def start(self, act: int = 1, entrypoint: str = "main:Main", params: bytes = b"null", **start: Any) -> None:
        """Start an instance; `recorded` and `opened` may be given."""
        info = {"id": "i", "uid": "u", "workflow": "w", "created": NOW_MS, "now": NOW_MS}
        recorded, opened = start.get("recorded", 0), start.get("opened", [])
        self.send(messages.start(act, entrypoint, info, recorded, opened, params))

    def complete(self, message: Any, outcome: Any, detail: object = None, payload: bytes = b"") -> None:
        """Complete what the message asked for."""
        kinds: Any = {"Sleep": "sleep", "Wait": "waitForEvent", "Timer": "timer"}
        kind = kinds.get(type(message).__name__) or message.kind
        name = getattr(message, "name", "")
        self.send(messages.completion(message.act, kind, name, message.count, NOW_MS, outcome, detail, payload))

    def serve(self, act: int = 1) -> tuple[Any, bytes]:
        """Be a host that grants all but timers at once, until the instance ended; its last word and output."""
        last: tuple[Any, bytes] = (None, b"")
        while True:
            message, payload = self.next()
            match message:
                case messages.Result():
                    self.complete(message, "held")
                case messages.Failed() if message.retryable and message.attempt <= message.limit:
                    self.send(messages.go(message.act, message.kind, message.name, message.count, message.attempt + 1))
                case messages.Failed():
                    error = message.error
                    detail = [error.module, error.type, error.message, error.traceback, None]
                    self.complete(message, "error", detail)
                case messages.Sleep():
                    self.complete(message, "fired")
                case messages.Wait():
                    self.complete(message, "event", [message.type, NOW_MS], b'"event"')
                case messages.Returned() | messages.Raised() | messages.Mismatch():
                    last = (message, payload)
                case messages.Closed() if message.act == act:
                    return last
