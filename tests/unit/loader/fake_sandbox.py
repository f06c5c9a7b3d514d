"""A sandbox without a process: the test holds the guest's ends."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from stepwell.frames import FrameReader, frame

HELLO = frame(b'["hello",4,"test","3.11"]')


class FakeSandbox:
    """`loader.sandbox.sandbox.Sandbox`, and what a guest would do by hand."""

    def __init__(self, folder: Path = Path("/nonexistent")) -> None:
        self.id = "fake-1"
        self.pid = 0
        self.socket, self.guest = socket.socketpair()
        self.socket.setblocking(False)
        self.guest.settimeout(5)
        self.output, self.guest_output = os.pipe()
        os.set_blocking(self.output, False)
        self.bundle_source = folder
        self.bundle_path = "/bundle"
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.cause = ""
        self.kills = 0
        self._reader = FrameReader()

    async def wait(self) -> int:
        return await asyncio.shield(self.exited)

    def cpu_usage_us(self) -> int:
        return 0

    def schedule(self, parts: int, *, is_background: bool) -> None:
        pass

    def memory_bytes(self) -> int:
        return 0

    def kill(self) -> None:
        self.kills += 1
        if not self.exited.done():
            self.exited.set_result(-9)
            os.close(self.guest_output)

    def say(self, *frames: bytes) -> None:
        self.guest.sendall(b"".join(frames))

    async def heard(self, count: int = 1) -> list[tuple[bytes, bytes]]:
        """The next frames that the host wrote."""
        frames: list[tuple[bytes, bytes]] = []
        while len(frames) < count:
            frames += self._reader.feed(await asyncio.to_thread(self.guest.recv, 1 << 20))
        return frames

    def close(self) -> None:
        self.kill()
        self.guest.close()
