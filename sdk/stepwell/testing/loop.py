"""The event loop of a test's sandbox: the guest's own, on virtual time.

Where asyncio would sleep until its next timer, this asks `Idle` instead, which moves the clock, or says for how long to
wait for what is going on in the real world: threads, subprocesses, sockets.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from stepwell.guest.loop import GuestLoop
from stepwell.guest.scheduler import drained
from stepwell.testing.clock import VirtualClock


class Idle(Protocol):
    """Called when nothing is ready: `timer_s` until the loop's next timer, or None; `world` is whether threads,
    subprocesses or sockets were at work before it was looked what is ready."""

    def __call__(self, timer_s: float | None, world: bool) -> float:
        """How many seconds to wait for the real world; 0 to go on at once."""
        ...


class _IdleSelector(selectors.DefaultSelector):
    """Looks at what is there; asks before it waits."""

    def __init__(self, clock: VirtualClock, idle: Idle, awaits: Callable[[], bool]) -> None:
        super().__init__()
        self._clock = clock
        self._idle = idle
        self._awaits = awaits

    def select(self, timeout: float | None = None) -> list[Any]:
        # Before looking: a thread that ends between the two would be neither at work nor ready.
        world = self._awaits()
        ready: list[Any] = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        wait_s = self._idle(timeout, world)
        if wait_s <= 0:
            return []
        began = perf_counter()
        ready = super().select(wait_s)
        self._clock.move(perf_counter() - began)
        return ready


class SkippingLoop(GuestLoop):
    """Time passes here as `clock` says."""

    def __init__(self, clock: VirtualClock, idle: Idle, awaits: Callable[[], bool]) -> None:
        self._idle_selector = _IdleSelector(clock, idle, awaits)
        self._clock = clock
        self._executing = 0
        self._children: list[asyncio.SubprocessTransport] = []
        super().__init__(self._idle_selector)

    def time(self) -> float:
        scheduler = drained()
        return self._clock.seconds if scheduler is None else scheduler.time()

    @property
    def awaits_the_world(self) -> bool:
        """Whether an executor, a subprocess or a socket may yet wake somebody."""
        if self._executing or len(self._idle_selector.get_map()) > 1:  # the loop's own pipe is one
            return True
        self._children = [child for child in self._children if child.get_returncode() is None]
        return bool(self._children)

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *args: Any) -> Any:
        future = super().run_in_executor(executor, function, *args)
        self._executing += 1
        future.add_done_callback(self._executed)
        return future

    def _executed(self, _: object) -> None:
        self._executing -= 1

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        return self._followed(await super().subprocess_exec(*args, **options))

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:
        return self._followed(await super().subprocess_shell(*args, **options))

    def _followed(self, made: Any) -> Any:
        self._children.append(made[0])
        return made
