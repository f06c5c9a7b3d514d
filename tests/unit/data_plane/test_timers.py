"""One clock for all: rings what is due, never what is armed for another time, and keeps nobody alive."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from data_plane.timers import SWEEP_MIN, TIMER_MAX_S, Timers
from tests.unit.data_plane.fakes import Clock


class FakeHandle:
    def __init__(self, delay_s: float, call: Callable[[], None]) -> None:
        self.delay_s = delay_s
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """The loop's `call_later`, with one handle at a time."""

    def __init__(self) -> None:
        self.handles: list[FakeHandle] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> FakeHandle:
        self.handles.append(FakeHandle(delay_s, call))
        return self.handles[-1]

    @property
    def pending(self) -> list[FakeHandle]:
        return [handle for handle in self.handles if not handle.cancelled]

    def ring(self) -> None:
        (handle,) = self.pending
        handle.cancelled = True
        handle.call()


class Bell:
    def __init__(self, timers: Timers, log: list[str], name: str, again: int | None = None) -> None:
        self.timers, self.log, self.name, self.again = timers, log, name, again
        self.armed: int | None = None

    def arm(self, due: int) -> Bell:
        self.armed = due
        self.timers.arm(self, due)
        return self

    def tick(self) -> None:
        self.log.append(self.name)
        self.armed = None
        if self.again is not None:
            self.arm(self.again)


class Rig:
    def __init__(self) -> None:
        self.clock = Clock(10_000)
        self.loop = FakeLoop()
        self.timers = Timers(self.loop, self.clock)  # type: ignore[arg-type]
        self.log: list[str] = []

    def bell(self, name: str, **more: Any) -> Bell:
        return Bell(self.timers, self.log, name, **more)


def test_what_is_due_rings_in_order_and_the_rest_waits() -> None:
    rig = Rig()
    bells = [rig.bell(name).arm(due) for name, due in (("b", 12_000), ("c", 99_000), ("a", 11_000))]
    rig.clock.now = 12_000
    rig.loop.ring()
    assert rig.log == ["a", "b"]
    assert rig.loop.pending[0].delay_s == TIMER_MAX_S
    assert bells[1].armed == 99_000


def test_one_timer_of_the_loop_serves_all() -> None:
    rig = Rig()
    bells = [rig.bell(str(n)).arm(11_000 + n) for n in range(100)]
    assert len(rig.loop.pending) == 1
    assert rig.loop.pending[0].delay_s == 1.0
    assert len(bells) == 100


def test_what_was_armed_anew_does_not_ring_at_the_old_time() -> None:
    rig = Rig()
    bell = rig.bell("a").arm(11_000)
    bell.arm(12_000)
    rig.clock.now = 11_000
    rig.loop.ring()
    assert rig.log == []
    rig.clock.now = 12_000
    rig.loop.ring()
    assert rig.log == ["a"]


def test_the_loops_timer_never_sleeps_through_a_stepped_clock() -> None:
    rig = Rig()
    bell = rig.bell("a").arm(10_000_000)
    assert rig.loop.pending[0].delay_s == TIMER_MAX_S
    rig.clock.now = 10_000_000
    rig.loop.ring()
    assert rig.log == ["a"]
    assert bell.armed is None


def test_one_that_is_due_again_at_once_lets_others_go_on() -> None:
    rig = Rig()
    bell = rig.bell("a", again=9_000).arm(9_000)
    rig.loop.ring()
    assert rig.log == ["a"]
    rig.loop.ring()
    assert rig.log == ["a", "a"]
    assert bell.armed == 9_000


def test_what_is_forgotten_is_not_kept_alive_until_it_would_have_rung() -> None:
    rig = Rig()
    gone = weakref.ref(rig.bell("a").arm(99_000))
    gc.collect()
    assert gone() is None
    rig.clock.now = 99_000
    rig.loop.ring()
    assert rig.log == []


def test_due_times_that_nobody_waits_for_are_swept_out() -> None:
    rig = Rig()
    kept = rig.bell("kept").arm(20_000)
    bell = rig.bell("a")
    for n in range(20 * SWEEP_MIN):
        bell.arm(30_000 + n)
    assert len(rig.timers._heap) <= 2 * SWEEP_MIN
    rig.clock.now = kept.armed or 0
    rig.loop.ring()
    assert rig.log == ["kept"]


class Broken(Bell):
    def tick(self) -> None:
        super().tick()
        raise RuntimeError("a bug of ours")


def test_one_that_fails_takes_no_other_with_it() -> None:
    rig = Rig()
    bells = [Broken(rig.timers, rig.log, "bad").arm(11_000)]
    bells += [rig.bell(name).arm(due) for name, due in (("good", 11_000), ("later", 12_000))]
    rig.clock.now = 11_000
    rig.loop.ring()
    assert rig.log == ["bad", "good"]
    rig.clock.now = 12_000
    rig.loop.ring()
    assert rig.log == ["bad", "good", "later"]


def test_after_closing_nothing_rings() -> None:
    rig = Rig()
    rig.bell("a").arm(11_000)
    rig.timers.close()
    assert rig.loop.pending == []
