"""Streams of many parts to one answer, which the server may give before the last part.

They go over a channel of gRPC's synchronous API: in `grpc.aio` a write that meets an answered call may replace the
server's status with INTERNAL (seen with 1.85 in some refused uploads), so that nobody learns why it was refused. A
thread of its own reads the parts, so files don't hold up the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

import grpc

Q = TypeVar("Q")
A = TypeVar("A")


class Upload(Generic[Q, A]):
    """One upload, to be awaited once."""

    def __init__(
        self,
        method: grpc.StreamUnaryMultiCallable[Q, A],
        parts: Iterable[Q],
        *,
        timeout_s: float,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        self._parts = parts
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._call = method.future(self._read(), timeout=timeout_s, metadata=metadata)
        self._call.add_done_callback(self._wake)

    async def answer(self) -> A:
        """Raises grpc.RpcError, or what reading the parts raised. Cancelled, it ends the call."""
        try:
            await self._ended.wait()
        finally:
            self._call.cancel()
        if self._failure is not None:
            raise self._failure
        return self._call.result()

    def _wake(self, _: object) -> None:
        """On gRPC's thread, maybe after the loop that waited has gone."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)

    def _read(self) -> Iterator[Q]:
        """On gRPC's thread: it would log what the parts raise and send what it has as if it were whole."""
        try:
            yield from self._parts
        except Exception as error:
            self._failure = error
            self._call.cancel()
