"""One clock for all resident instances: a heap of due times and a single timer of the loop."""

from __future__ import annotations

import heapq
import weakref
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Final, Protocol

import structlog

log = structlog.get_logger(__name__)

TIMER_MAX_S: Final = 60.0
"""The loop's timer is set anew at least this often, so that a clock that was stepped is noticed."""

SWEEP_MIN: Final = 1_024
"""Due times that nobody waits for any more are swept out when the heap has doubled, but not below this size."""


class Armed(Protocol):
    """What can be woken: `armed` is the due time that still counts."""

    armed: int | None

    def tick(self) -> None: ...


class Timers:
    """`clock` gives ms since the epoch. What is armed is not kept alive by it."""

    def __init__(self, loop: AbstractEventLoop, clock: Callable[[], int]) -> None:
        self._loop = loop
        self._clock = clock
        self._heap: list[tuple[int, int, weakref.ref[Armed]]] = []
        self._count = 0
        self._sweep_at = SWEEP_MIN
        self._handle: TimerHandle | None = None
        self._handle_due = 0

    def arm(self, armed: Armed, due: int) -> None:
        """Tick it at `due`, unless it is armed for another time by then."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, weakref.ref(armed)))
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        if self._handle is None or due < self._handle_due:
            self._set()

    def _set(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            self._handle_due = self._heap[0][0]
            delay_s = min(max(0.0, (self._handle_due - self._clock()) / 1000), TIMER_MAX_S)
            self._handle = self._loop.call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._handle = None
        now = self._clock()
        heap = self._heap
        ringing = []
        while heap and heap[0][0] <= now:
            ringing.append(heapq.heappop(heap))
        for due, _, reference in ringing:
            armed = reference()
            if armed is not None and armed.armed == due:
                try:
                    armed.tick()
                except Exception:
                    log.exception("a timer's work failed")
        self._set()

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if (armed := entry[2]()) is not None and armed.armed == entry[0]]
        heapq.heapify(self._heap)
        self._sweep_at = max(SWEEP_MIN, 2 * len(self._heap))

    def close(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()
        self._heap.clear()
