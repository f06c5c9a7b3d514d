"""Sandboxes without a process. Whatever bundle they are given loads; what is started there runs until it is told to
stop, and says what a test wants: otherwise it prints two lines and begins two sleeps.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from loader.bundles.runtime import GuestRuntime
from loader.sandbox.sandbox import Isolation
from stepwell.frames import PROTOCOL, FrameReader, frame

SLEEP_MS = 3_600_000

Says = Callable[[int, str], bytes]
"""What is said of an activation with that number of that instance, once it is started."""


def said(envelope: list[object], payload: bytes = b"") -> bytes:
    return frame(json.dumps(envelope).encode(), payload)


def two_lines_and_two_sleeps(act: int, instance: str) -> bytes:
    """What is said where a test doesn't mind."""
    return b"".join(
        said(["log", act, "", 0, 0, 1], f"{name}\n".encode()) + said(["sleep", act, name, 1, SLEEP_MS, None])
        for name in ("first", "second")
    )


class Puppet:
    """`loader.sandbox.sandbox.Sandbox`, and the guest in it. To be made on the loop that it serves."""

    def __init__(self, number: int, folder: Path, says: Says) -> None:
        self._says = says
        self.id = f"puppet-{number}"
        self.pid = 0
        self.bundle_source = folder
        self.bundle_path = "/bundle"
        self._loop = asyncio.get_running_loop()
        self.cause = ""
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self.socket, self._guest = socket.socketpair()
        self.output, self._output = os.pipe()
        self.socket.setblocking(False)
        self._guest.setblocking(False)
        os.set_blocking(self.output, False)
        self._reader = FrameReader()
        self._loop.add_reader(self._guest, self._on_readable)
        self._say(["hello", PROTOCOL, "puppet", "3.11"])

    async def wait(self) -> int:
        return await asyncio.shield(self.exited)

    def memory_bytes(self) -> int:
        return 0

    def cpu_usage_us(self) -> int:
        return 0

    def schedule(self, parts: int, *, is_background: bool) -> None:
        """A puppet takes no time."""

    def kill(self) -> None:
        if not self.exited.done():
            self._loop.remove_reader(self._guest)
            self._guest.close()
            os.close(self._output)
            self.exited.set_result(-9)

    def _say(self, envelope: list[object]) -> None:
        with suppress(OSError):
            self._guest.send(said(envelope))

    def _on_readable(self) -> None:
        try:
            data = self._guest.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.kill()
            return
        for envelope, _ in self._reader.feed(data):
            match json.loads(envelope):
                case ["load", *_]:
                    self._say(["loaded"])
                case ["start", act, _, {"id": str() as instance}, 0, []]:
                    with suppress(OSError):
                        self._guest.send(self._says(act, instance))
                case ["replay", act, *_]:
                    self._say(["replayed", act, "run returned"])
                    self._say(["closed", act])
                case ["ping"]:
                    self._say(["pong"])
                case ["hold", act, number]:
                    self._say(["quiet", act, number])
                case ["stop", act]:
                    self._say(["closed", act])


class PuppetLauncher:
    """`loader.sandbox.sandbox.SandboxLauncher`."""

    name = "process"

    def __init__(self, folder: Path, says: Says = two_lines_and_two_sleeps) -> None:
        self._folder = folder
        self._says = says
        self._numbers = count(1)
        self._puppets: list[Puppet] = []

    async def launch(self) -> Puppet:
        puppet = Puppet(next(self._numbers), Path(tempfile.mkdtemp(dir=self._folder)), self._says)
        self._puppets.append(puppet)
        return puppet

    def probe(self) -> list[str]:
        return []

    def excess_bytes(self) -> int:
        return 0

    async def isolation(self) -> Isolation:
        return Isolation("none: there is nothing in it", ())

    async def runtime(self) -> GuestRuntime:
        return GuestRuntime("3.11.2", "cpython", "x86_64", "glibc", "2.36")

    async def close(self) -> None:
        for puppet in self._puppets:
            puppet.kill()
