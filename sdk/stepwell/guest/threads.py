"""Threads for the bodies of plain functions: started when needed, kept for the next, at most so many."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context


class Threads:
    """Runs functions in threads, in the order given; those over `running_max` wait."""

    def __init__(self, running_max: int) -> None:
        self.running_max = running_max
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._work = threading.Semaphore(0)
        self._idle = 0
        self._count = 0

    def run(self, function: Callable[[], None]) -> None:
        """Call it in a thread, soon. It must not raise.

        Where the system gives no further thread, it waits for one that is there. Raises RuntimeError if there is none.
        """
        with self._lock:
            self._waiting.append(function)
            if self._idle >= len(self._waiting) or self._count >= self.running_max:
                start = False
            else:
                self._count += 1
                start = True
        self._work.release()
        if start:
            try:
                thread = threading.Thread(target=self._serve, name=f"step-{self._count}", daemon=True)
                Context().run(thread.start)  # it serves many steps, and is none's
            except RuntimeError:
                self._count -= 1
                if not self._count:
                    raise

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            self._work.acquire()
            with self._lock:
                self._idle -= 1
                function = self._waiting.popleft()
            function()
