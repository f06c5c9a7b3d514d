"""The modelled etcd's own time: no process's clock, and its timers are nobody's but its own."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol


class Timer(Protocol):
    """What is planned."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """What the model needs of an asyncio event loop."""

    def time(self) -> float: ...
    def create_future(self) -> Future[Any]: ...
    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer: ...


class EtcdTime:
    """The loop's, as whoever makes this sees it. What is planned happens whichever process asked for it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._context = copy_context()
        self._clock_context = copy_context()

    def now(self) -> float:
        return self._clock_context.run(self._loop.time)

    def at(self, when: float, call: Callable[..., None], *of: object) -> Timer:
        """Call it then."""
        return self._loop.call_at(when, call, *of, context=self._context)

    def future(self) -> Future[Any]:
        return self._loop.create_future()
