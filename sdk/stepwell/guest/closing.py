"""How an instance's `run` is closed: within drains, tasks in order of creation, then async generators in theirs.

Its `finally` blocks run here, whatever the reason; steps that they ask for raise WorkflowClosedError, since the
instance has ended or goes on elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from types import AsyncGeneratorType
from typing import Any, Final

from stepwell.guest.scheduler import RunLoop, RunTask

ROUNDS_MAX: Final = 20
"""Cancellations that a task may survive, such as in nested `finally` blocks, before it is dropped as it is."""


def close(loop: RunLoop) -> None:
    """End every task and async generator of the loop. Never raises."""
    loop.set_exception_handler(lambda *_: None)
    for _ in range(ROUNDS_MAX):
        if not loop.ready and not loop.live_tasks():
            break
        _drain(loop, _cancel_tasks, loop)
    for generator in loop.live_generators():
        _drain(loop, _close_generator, loop, generator)
    survivors = loop.live_tasks()
    loop.ready.clear()
    for task in survivors:
        _drain(loop, _drop_task, task)
    loop.ready.clear()
    loop.failures()  # such as WorkflowClosedError, by a clean-up that had a step


def _drain(loop: RunLoop, first: Callable[..., object], *args: Any) -> None:
    try:
        loop.drain(first, *args)
    except BaseException:
        loop.ready.clear()


def _cancel_tasks(loop: RunLoop) -> None:
    for task in loop.live_tasks():
        task.cancel()


def _close_generator(loop: RunLoop, generator: AsyncGeneratorType[Any, Any]) -> None:
    loop.create_task(_ignoring(generator))


async def _ignoring(generator: AsyncGeneratorType[Any, Any]) -> None:
    try:
        await generator.aclose()
    except Exception:
        return


def _drop_task(task: RunTask) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    try:
        task.get_coro().close()
    except BaseException:
        return
