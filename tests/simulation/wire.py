"""A stream between a node and one of its sandboxes, in memory: bytes arrive in order, a moment later.

It stands for the Unix socket of a real sandbox, as far as the loader and the guest use one: it never blocks, it tells
its loop when there is something to read, and its end is seen by the other side.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.simulation.loop import Process, SimulatedLoop

DELAY_S: Final = 200e-6
"""Of what is written, on the average."""


class WireEnd:
    """One side of it. `on_readable` is called, as its process, while there is something to read and it is set."""

    def __init__(self, loop: SimulatedLoop, random: Random, process: Process) -> None:
        self.process = process
        self.other: WireEnd
        self._loop = loop
        self._random = random
        self._arrived = bytearray()
        self._ended = False
        self._closed = False
        self._on_readable: Callable[[], None] | None = None
        self._told = False
        self._free_at_s = 0.0

    def recv(self, size: int) -> bytes:
        if self._closed:
            raise OSError("closed")
        if not self._arrived:
            if self._ended:
                return b""
            raise BlockingIOError
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        return data

    def send(self, data: bytes | memoryview) -> int:
        if self._closed or self.other._closed:
            raise OSError("closed")
        self._later(self.other._arrive, bytes(data))
        return len(data)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_readable = None
            self._later(self.other._end)

    def listen(self, on_readable: Callable[[], None] | None) -> None:
        self._on_readable = on_readable
        self._tell()

    def _later(self, call: Callable[..., None], *args: bytes) -> None:
        """In the order in which it was asked for."""
        loop = self._loop
        self._free_at_s = max(self._free_at_s, loop.now_s + self._random.random() * 2 * DELAY_S)
        loop.call_later(self._free_at_s - loop.now_s, call, *args, context=loop.world.context)

    def _arrive(self, data: bytes) -> None:
        self._arrived += data
        self._tell()

    def _end(self) -> None:
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        if (self._arrived or self._ended) and self._on_readable is not None and not self._told:
            self._told = True
            self._loop.call_soon(self._readable, context=self.process.context)

    def _readable(self) -> None:
        self._told = False
        if self._on_readable is not None and (self._arrived or self._ended):
            self._on_readable()
            self._tell()


def wire(loop: SimulatedLoop, random: Random, host: Process, guest: Process) -> tuple[WireEnd, WireEnd]:
    one, other = WireEnd(loop, random, host), WireEnd(loop, random, guest)
    one.other, other.other = other, one
    return one, other
