"""Real time is bounded too: code that holds up the event loop, such as `while True` in `run`, is interrupted.

A thread looks on, and raises OutOfPatience in the test's thread when its time is over. What blocks outside of Python,
such as time.sleep() in an `async def`, is only interrupted once it comes back.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final


class OutOfPatience(BaseException):
    """The test has run for as long as it may."""

    def __init__(self) -> None:
        super().__init__(
            "the workflow held up its event loop for longer than real_seconds_max: a loop in run or in an async def "
            "step that never awaits, or slow work in one; work that blocks belongs into a step that is a plain def"
        )


class Watchdog:
    """One for a process: tests run one after the other."""

    module: Final = __name__

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: float | None = None
        self._watched = 0
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, seconds: float) -> Iterator[None]:
        """Within the block, this thread is interrupted after so many seconds."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="stepwell-watchdog", daemon=True)
                self._thread.start()
            # A second later than the loop's own patience, which says more.
            self._due, self._watched = perf_counter() + seconds + 1, threading.get_ident()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._due = None

    def _watch(self) -> None:
        with self._changed:
            while True:
                left = None if self._due is None else self._due - perf_counter()
                if left is not None and left <= 0:
                    self._due = None
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self._watched), ctypes.py_object(OutOfPatience)
                    )
                else:
                    self._changed.wait(left)


WATCHDOG: Final = Watchdog()
