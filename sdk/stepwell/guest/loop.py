"""The event loop of a guest's process: asyncio knows no other, in `run` and in the bodies of steps alike.

While a scheduler is drained, it takes everything that asyncio asks of the loop; otherwise this is asyncio's ordinary
loop, on which bodies run. With a loop of its own for each, asyncio would have to be told at every turn, which costs a
system call each time: dear in gVisor (docs/adr/0004).

Whose a callback is, its context says: `run`'s has its scheduler in it, a body's has None. So a body that settles what
`run` waits for is refused, whichever way it does so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from stepwell.guest.scheduler import SCHEDULER, drained, tell_author

_UNSAID: Any = object()
_OrdinaryLoop: Any = (
    asyncio.SelectorEventLoop
)  # typeshed ties a callback's arguments together, which can't be passed on


class GuestLoop(_OrdinaryLoop):  # type: ignore[misc]
    """`restrictions` adds what `run` may not do with it."""

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        if context is None:
            context = copy_context()
        owner = context.get(SCHEDULER, _UNSAID)
        if owner is _UNSAID:
            owner = drained()
        if owner is None:
            return super().call_soon(callback, *args, context=context)
        return owner.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        scheduler = drained()
        if scheduler is None:
            return super().call_later(delay, callback, *args, context=context)
        return scheduler.call_later(delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        scheduler = drained()
        if scheduler is None:
            return super().call_at(when, callback, *args, context=context)
        return scheduler.call_at(when, callback, *args, context=context)

    def time(self) -> float:
        scheduler = drained()
        return super().time() if scheduler is None else scheduler.time()

    def create_future(self) -> asyncio.Future[Any]:
        scheduler = drained()
        return super().create_future() if scheduler is None else scheduler.create_future()

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        scheduler = drained()
        return super().create_task(coro, **options) if scheduler is None else scheduler.create_task(coro, **options)

    def set_debug(self, enabled: bool) -> None:
        """Refused quietly in `run`: the loop is every instance's."""
        if drained() is None:
            super().set_debug(enabled)

    def get_task_factory(self) -> Any:
        return super().get_task_factory() if drained() is None else None

    def get_exception_handler(self) -> Any:
        scheduler = drained()
        return super().get_exception_handler() if scheduler is None else scheduler.get_exception_handler()

    def set_exception_handler(self, handler: Any) -> None:
        scheduler = drained()
        if scheduler is None:
            super().set_exception_handler(handler)
        else:
            scheduler.set_exception_handler(handler)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        scheduler = drained() or SCHEDULER.get()
        if scheduler is None:
            super().call_exception_handler(context)
        else:
            scheduler.call_exception_handler(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        if drained() is None:
            super().default_exception_handler(context)
        else:
            tell_author(context)
