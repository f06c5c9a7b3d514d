"""Where asyncio itself would let addresses or the garbage collector decide an order, it is told not to.

Process-wide and once: the bodies of steps get the same functions, where they do no harm.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import tasks
from collections.abc import Iterator
from types import AsyncGeneratorType
from typing import Any

from stepwell.guest.scheduler import RunTask, counted_hash, drained

_ordinary_all_tasks = tasks.all_tasks


def install() -> None:
    """Replace what asyncio orders by address. Once."""
    tasks._GatheringFuture.__hash__ = counted_hash  # type: ignore[attr-defined]
    asyncio.as_completed = tasks.as_completed = as_completed
    asyncio.all_tasks = tasks.all_tasks = all_tasks


def hold_generators(ordinary_loop: Any) -> None:
    """Send async generators that begin in `run` to their scheduler. Call it within the loop, each time that it is
    run.
    """

    def first(generator: AsyncGeneratorType[Any, Any]) -> None:
        scheduler = drained()
        if scheduler is not None:
            scheduler.hold(generator)
        else:
            ordinary_loop._asyncgen_firstiter_hook(generator)

    def last(generator: AsyncGeneratorType[Any, Any]) -> None:
        ordinary_loop._asyncgen_finalizer_hook(generator)

    sys.set_asyncgen_hooks(firstiter=first, finalizer=last)  # type: ignore[arg-type]


def all_tasks(loop: Any = None) -> Any:
    """As asyncio.all_tasks: in `run`, its own tasks, in order of creation; in a body, those of no `run`."""
    scheduler = drained()
    if scheduler is not None:
        return set(scheduler.live_tasks())
    return {task for task in _ordinary_all_tasks(loop) if not isinstance(task, RunTask)}


def as_completed(fs: Any, *, timeout: float | None = None) -> Iterator[Any]:
    """As asyncio.as_completed of Python 3.11, except that the awaitables are started in the order in which they are
    given.
    """
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"expect an iterable of futures, not {type(fs).__name__}")
    loop = asyncio.get_running_loop()
    done: asyncio.Queue[Any] = asyncio.Queue()
    waiting = {tasks.ensure_future(each, loop=loop): None for each in dict.fromkeys(fs)}
    timer: Any = None

    def on_timeout() -> None:
        for future in waiting:
            future.remove_done_callback(on_done)
            done.put_nowait(None)
        waiting.clear()

    def on_done(future: Any) -> None:
        if future in waiting:
            del waiting[future]
            done.put_nowait(future)
            if not waiting and timer is not None:
                timer.cancel()

    async def next_done() -> Any:
        future = await done.get()
        if future is None:
            raise TimeoutError
        return future.result()

    for future in waiting:
        future.add_done_callback(on_done)
    if waiting and timeout is not None:
        timer = loop.call_later(timeout, on_timeout)
    for _ in range(len(waiting)):
        yield next_done()
