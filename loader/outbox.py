"""Frames on their way to a guest: gathered in a turn of the loop, written at once, kept while the socket is full."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_DRAINED_BYTES = 1024 * 1024


class Outbox:
    """The writing half of one socket. `failed` is called with a reason when nothing can be written any more."""

    def __init__(
        self, peer: socket.socket, loop: asyncio.AbstractEventLoop, bytes_max: int, failed: Callable[[str], None]
    ) -> None:
        self._socket = peer
        self._loop = loop
        self._bytes_max = bytes_max
        self._failed = failed
        self._frames: list[bytes] = []
        self._unsent = memoryview(b"")
        self._scheduled = False
        self._blocked = False
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self.waiting_bytes = 0
        self.read_on: Callable[[], None] = lambda: None
        """Called when a full socket takes something again: the peer has read."""

    def send(self, frame: bytes) -> None:
        """Write the frame when this turn of the loop is over. Without effect once closed."""
        if self._closed:
            return
        self._frames.append(frame)
        self.waiting_bytes += len(frame)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    async def drain(self) -> None:
        """Wait until little is left to write, or nothing can be."""
        while self.waiting_bytes >= _DRAINED_BYTES and not self._closed:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def close(self) -> None:
        """Write no more. The socket stays the caller's."""
        self._closed = True
        self._frames.clear()
        self._unsent = memoryview(b"")
        if self._blocked:
            self._loop.remove_writer(self._socket)
            self._blocked = False
        self._wake()

    def _flush(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        if self.waiting_bytes > self._bytes_max:
            self._failed(f"it left {self.waiting_bytes} bytes unread")
        elif not self._blocked:
            self._write()

    def _write(self) -> None:
        while not self._closed:
            if not self._unsent:
                if not self._frames:
                    break
                data = b"".join(self._frames) if len(self._frames) > 1 else self._frames[0]
                self._frames.clear()
                self._unsent = memoryview(data)
            try:
                sent = self._socket.send(self._unsent)
            except (BlockingIOError, InterruptedError):
                self._block()
                return
            except OSError:
                self._failed("it closed its connection")
                return
            self._unsent = self._unsent[sent:]
            self.waiting_bytes -= sent
            if self.waiting_bytes < _DRAINED_BYTES:
                self._wake()
        if self._blocked and not self._closed:
            self._blocked = False
            self._loop.remove_writer(self._socket)

    def _block(self) -> None:
        if not self._blocked:
            self._blocked = True
            self._loop.add_writer(self._socket, self._on_writable)

    def _on_writable(self) -> None:
        self.read_on()
        self._write()

    def _wake(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None
