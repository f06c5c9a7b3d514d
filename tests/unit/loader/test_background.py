"""Tenants that keep a CPU busy run in the background until they were calm for a while, and share alike there."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import cast

import pytest

from loader.background import BURST_US, BUSY_SHARE, CALM_S_MAX, CALM_S_MIN, LOOK_S, SOON, SUSPECT_S, Background
from loader.sandbox.sandbox import Sandbox
from stepwell.names import TenantUid

ACME, HOG = TenantUid("acme"), TenantUid("hog")


class Box:
    """A sandbox that uses so much of a CPU all the time."""

    def __init__(self, clock: Clock, use: float = 0.0) -> None:
        self.use = use
        self.used_us = 0.0
        self.parts = 0
        self.is_background = True
        clock.boxes.append(self)

    def cpu_usage_us(self) -> int:
        return int(self.used_us)

    def schedule(self, parts: int, *, is_background: bool) -> None:
        self.parts, self.is_background = parts, is_background


class Clock:
    """An event loop of one timer, in which time passes by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.boxes: list[Box] = []
        self.timer: Callable[[], None] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Clock:
        assert delay_s == LOOK_S
        self.timer = callback
        return self

    def cancel(self) -> None:
        self.timer = None

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            for box in self.boxes:
                box.used_us += box.use * LOOK_S * 1e6
            due, self.timer = self.timer, None
            if due is not None:
                due()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def background(clock: Clock) -> Background:
    """Beside somebody who is calm."""
    background = Background(cast("AbstractEventLoop", clock))
    background.add(TenantUid("calm"), cast("Sandbox", Box(clock)))
    return background


def added(background: Background, tenant: TenantUid, box: Box) -> Box:
    background.add(tenant, cast("Sandbox", box))
    return box


def removed(background: Background, tenant: TenantUid, box: Box) -> None:
    background.remove(tenant, cast("Sandbox", box))


def settled(clock: Clock, background: Background, tenant: TenantUid, use: float = 0.0) -> Box:
    """One that is new no more, and was calm until now."""
    box = added(background, tenant, Box(clock))
    clock.run(CALM_S_MIN + LOOK_S)
    box.use = use
    return box


def test_whoever_is_not_known_begins_in_the_foreground_and_stays_there_while_calm(
    clock: Clock, background: Background
) -> None:
    box = added(background, ACME, Box(clock, 0.9 * BUSY_SHARE))
    assert not box.is_background
    clock.run(30)
    assert not box.is_background


def test_a_tenant_is_as_busy_as_its_sandboxes_together(clock: Clock, background: Background) -> None:
    several = [settled(clock, background, ACME, 0.6 * BUSY_SHARE) for _ in range(2)]
    alone = settled(clock, background, HOG, 0.6 * BUSY_SHARE)
    clock.run(1)
    assert [box.is_background for box in (*several, alone)] == [True, True, False]


def test_one_that_becomes_busy_is_in_the_background_with_the_next_look(clock: Clock, background: Background) -> None:
    box = settled(clock, background, ACME)
    assert not box.is_background
    box.use = 1.0
    clock.run(LOOK_S)
    assert box.is_background


def test_one_that_computes_in_bursts_and_waits_in_between_stays_in_the_foreground(
    clock: Clock, background: Background
) -> None:
    box = settled(clock, background, ACME)
    burst = BUSY_SHARE + 0.9 * BURST_US / (LOOK_S * 1e6)
    for _ in range(50):
        box.use = burst
        clock.run(LOOK_S)
        assert not box.is_background
        box.use = 0.0
        clock.run(2 * LOOK_S)


def test_one_that_is_a_little_too_busy_all_the_time_is_in_the_background_before_long(
    clock: Clock, background: Background
) -> None:
    box = settled(clock, background, ACME, 1.1 * BUSY_SHARE)
    clock.run(LOOK_S)
    assert not box.is_background
    clock.run(2 * BURST_US / (0.1 * BUSY_SHARE * 1e6))
    assert box.is_background


def test_one_that_is_busy_again_and_again_has_to_be_calm_for_longer(clock: Clock, background: Background) -> None:
    box = settled(clock, background, ACME)
    clock.run(30)
    expected_s = CALM_S_MIN
    for _ in range(9):
        box.use = 1.0
        clock.run(LOOK_S)
        box.use = 0.0
        clock.run(expected_s - LOOK_S)
        assert box.is_background
        clock.run(2 * LOOK_S)
        assert not box.is_background
        expected_s = min(2 * expected_s, CALM_S_MAX)
    clock.run(SOON * CALM_S_MAX)
    box.use = 1.0
    clock.run(LOOK_S)
    box.use = 0.0
    clock.run(CALM_S_MIN + LOOK_S)
    assert not box.is_background, "that was long ago"


def test_a_new_sandbox_that_is_busy_goes_to_the_background_by_itself_until_it_was_calm(
    clock: Clock, background: Background
) -> None:
    known = settled(clock, background, ACME, 0.1)
    new = added(background, ACME, Box(clock, 1.0))
    clock.run(5 * CALM_S_MIN)
    assert (known.is_background, new.is_background) == (False, True)
    new.use = 0.0
    clock.run(CALM_S_MIN + LOOK_S)
    assert (known.is_background, new.is_background) == (False, False)


def test_after_a_new_sandbox_that_was_busy_further_ones_begin_in_the_background_for_a_while(
    clock: Clock, background: Background
) -> None:
    assert not background.is_suspect(HOG)
    new = added(background, HOG, Box(clock, 1.0))
    clock.run(LOOK_S)
    removed(background, HOG, new)
    assert background.is_suspect(HOG)
    assert not background.is_suspect(ACME)
    again = added(background, HOG, Box(clock))
    assert again.is_background
    clock.run(CALM_S_MIN + LOOK_S)
    assert not again.is_background
    clock.run(SUSPECT_S)
    assert not background.is_suspect(HOG)


def test_tenants_in_the_background_get_the_cpu_alike_whatever_the_number_of_their_sandboxes(
    clock: Clock, background: Background
) -> None:
    hogs = [settled(clock, background, HOG, 1.0) for _ in range(10)]
    clock.run(1)
    assert {box.parts for box in hogs} == {1}, "nobody else wants it"
    waits = settled(clock, background, HOG)
    alone = settled(clock, background, ACME, 1.0)
    clock.run(1)
    assert {box.parts for box in hogs} == {20}
    assert (waits.is_background, alone.is_background, alone.parts) == (True, True, 2)
    alone.use = 0.0
    clock.run(2)
    assert {box.parts for box in hogs} == {1}


def test_in_the_foreground_each_counts_as_one_in_as_many_as_its_tenant_has(
    clock: Clock, background: Background
) -> None:
    boxes = [settled(clock, background, ACME) for _ in range(3)]
    assert [box.parts for box in boxes] == [3, 3, 3]
    removed(background, ACME, boxes[0])
    assert [box.parts for box in boxes[1:]] == [2, 2]


def test_where_all_are_busy_nobody_makes_way_for_anybody(clock: Clock) -> None:
    background = Background(cast("AbstractEventLoop", clock))
    busy = [settled(clock, background, tenant, 1.0) for tenant in (HOG, HOG, ACME)]
    clock.run(1)
    assert [(box.parts, box.is_background) for box in busy] == [(2, False), (2, False), (1, False)]
    calm = added(background, TenantUid("calm"), Box(clock))
    assert [box.is_background for box in (*busy, calm)] == [True, True, True, False]
    removed(background, TenantUid("calm"), calm)
    assert not any(box.is_background for box in busy)


def test_it_is_not_looked_on_when_nobody_is_left_to_be_remembered(clock: Clock) -> None:
    background = Background(cast("AbstractEventLoop", clock))
    box = settled(clock, background, ACME, 1.0)
    clock.run(LOOK_S)
    removed(background, ACME, box)
    clock.run(CALM_S_MIN)
    assert clock.timer is not None
    clock.run((SOON + 1) * CALM_S_MIN)
    assert clock.timer is None
    added(background, ACME, box)
    assert clock.timer is not None
    background.close()
    background.close()
    assert clock.timer is None
