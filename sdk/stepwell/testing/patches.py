"""What a guest does to its process, done to the test's while a workflow runs in it, and undone again."""

from __future__ import annotations

import asyncio
import sys
from asyncio import events, tasks
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from stepwell.guest import determinism, restrictions


@cache
def _restrict() -> None:
    """Once: it looks only while a `run` is at work."""
    restrictions.install()


@contextmanager
def guest_process() -> Iterator[None]:
    """Within the block, asyncio orders as in a guest, and another event loop may be run although one runs here."""
    _restrict()
    ordinary = tasks.as_completed, tasks.all_tasks, tasks._GatheringFuture.__hash__  # type: ignore[attr-defined]
    outer = events._get_running_loop()
    determinism.install()
    events._set_running_loop(None)
    try:
        with _children_heard():
            yield
    finally:
        events._set_running_loop(outer)
        asyncio.as_completed = tasks.as_completed = ordinary[0]
        asyncio.all_tasks = tasks.all_tasks = ordinary[1]
        tasks._GatheringFuture.__hash__ = ordinary[2]  # type: ignore[attr-defined]


@contextmanager
def _children_heard() -> Iterator[None]:
    """Up to Python 3.11 a process has one watcher of children, which may hang on a loop that is over by now."""
    if sys.version_info >= (3, 12):
        yield
        return
    before = asyncio.get_child_watcher()
    asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())
    try:
        yield
    finally:
        asyncio.set_child_watcher(before)
