"""The time of a test: it stands still while code runs, and is moved by whoever finds nothing else to do."""

from __future__ import annotations

import math


class VirtualClock:
    """Starts at `start_ms`, in ms since the epoch. Never goes back."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._passed_us = 0

    @property
    def now_ms(self) -> int:
        """Since the epoch: what records carry."""
        return self._start_ms + self._passed_us // 1000

    @property
    def seconds(self) -> float:
        """Since the test began: what the event loop counts by."""
        return self._passed_us / 1_000_000

    def move(self, seconds: float) -> None:
        """Let so much time pass, rounded up to microseconds, so that a timer that waits for it is due afterwards."""
        self._passed_us += max(0, math.ceil(seconds * 1_000_000))

    def move_to(self, ms: int) -> None:
        """Let it be that time, unless it is later already."""
        self._passed_us = max(self._passed_us, (ms - self._start_ms) * 1000)
