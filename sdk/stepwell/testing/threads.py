"""Threads for the bodies of plain functions, shared by all tests of a process, and who of a sandbox's is at work."""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from stepwell.guest.threads import Threads


@cache
def _shared() -> Threads:
    """The process's: a thread can't be ended, so each test having its own would leave them behind."""
    return Threads(1)


class CountedThreads(Threads):
    """The guest's threads, of which it is known how many work: time must not be skipped under them."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(1)
        self._loop = loop
        self._changed = threading.Condition()
        self.busy = 0

    def run(self, function: Callable[[], None]) -> None:
        shared = _shared()
        shared.running_max = self.running_max
        with self._changed:
            self.busy += 1

        def counted() -> None:
            try:
                function()
            finally:
                with self._changed:
                    self.busy -= 1
                    self._changed.notify_all()
                with suppress(RuntimeError):  # its test is over, and so is its loop
                    self._loop.call_soon_threadsafe(_look_again)

        shared.run(counted)

    def wait(self, seconds: float) -> bool:
        """Whether all came to their ends within so much real time: they can't be stopped."""
        with self._changed:
            return self._changed.wait_for(lambda: self.busy == 0, seconds)


def _look_again() -> None:
    """Wakes a loop that waits for threads."""
