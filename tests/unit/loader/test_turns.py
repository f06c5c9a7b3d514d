"""Tenants share the turns of the loop and its time, and say only so many bytes a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import pytest

from loader.guest import Guest
from loader.turns import (
    BURST_S,
    COST_BYTES,
    OTHERS_FACTOR,
    SLICE_COST_MAX,
    TIME_SHARE_MIN,
    TURN_COST_MAX,
    FrameTurns,
    Share,
)
from stepwell.names import TenantUid
from tests.unit.loader.conversation import Ear, loaded, result
from tests.unit.loader.fake_sandbox import FakeSandbox

FLOOD, HONEST = TenantUid("flood"), TenantUid("honest")


class Source:
    """A guest with frames to handle; `log` hears how many were handled at a time, and does `work` for them."""

    def __init__(
        self,
        share: Share,
        frames: int,
        log: list[tuple[str, int]],
        name: str,
        work: Callable[[int], None] = lambda frames: None,
    ) -> None:
        self.share, self.frames, self.log, self.name, self.work = share, frames, log, name, work

    def handle(self, most: int) -> int:
        now = min(most, self.frames)
        self.frames -= now
        self.log.append((self.name, now))
        self.work(now)
        return now


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - turns of the loop are what is tested
            await asyncio.sleep(0)


async def test_a_tenant_with_many_sandboxes_gets_no_more_of_a_turn_than_one_with_one() -> None:
    turns, log = FrameTurns(asyncio.get_running_loop(), 1 << 30), list[tuple[str, int]]()
    flood = [Source(turns.share(FLOOD), 10 * TURN_COST_MAX, log, "flood") for _ in range(5)]
    honest = Source(turns.share(HONEST), 2 * TURN_COST_MAX, log, "honest")
    assert [source.share.handle(source.handle) for source in [*flood, honest]] == [False] * 6
    await until(lambda: not honest.frames)
    handled = {name: sum(count for who, count in log if who == name) for name in ("flood", "honest")}
    assert handled["honest"] == 2 * TURN_COST_MAX
    assert handled["flood"] <= 3 * TURN_COST_MAX
    await until(lambda: not any(source.frames for source in flood))


async def test_a_tenants_sandboxes_take_turns_among_themselves() -> None:
    turns, log = FrameTurns(asyncio.get_running_loop(), 1 << 30), list[tuple[str, int]]()
    first, second = (Source(turns.share(FLOOD), 3 * TURN_COST_MAX, log, name) for name in ("first", "second"))
    for source in (first, second):
        source.share.handle(source.handle)
    await until(lambda: not second.frames)
    assert first.frames <= TURN_COST_MAX


async def test_a_share_is_whole_again_in_the_next_turn() -> None:
    share, log = FrameTurns(asyncio.get_running_loop(), 1 << 30).share(HONEST), list[tuple[str, int]]()
    share.pause_s(COST_BYTES)
    assert share.handle(Source(share, TURN_COST_MAX - 2, log, "some").handle)
    last = Source(share, 2, log, "last")
    assert not share.handle(last.handle)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not last.frames


FRAME_S = 50e-6


class Work:
    """Handling a frame takes FRAME_S of the loop's time, a turn of the loop as much, and nothing else any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._now_s = loop.time()
        monkeypatch.setattr(loop, "time", self.time)

    def time(self) -> float:
        return self._now_s

    def wait(self, seconds: float) -> None:
        self._now_s += seconds

    def __call__(self, frames: int) -> None:
        self.wait(frames * FRAME_S)

    async def run(self, sources: list[Source], seconds: float, each_turn: int) -> None:
        """Let these have so many frames in each turn."""
        until_s = self.time() + seconds
        while self.time() < until_s:
            for source in sources:
                if not source.frames:
                    source.frames = each_turn
                    source.share.handle(source.handle)
            await asyncio.sleep(0)
            self.wait(FRAME_S)


async def test_alone_a_tenant_takes_all_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    work, log = Work(monkeypatch), list[tuple[str, int]]()
    flood = Source(FrameTurns(asyncio.get_running_loop(), 1 << 30).share(FLOOD), 1 << 30, log, "flood", work)
    flood.share.handle(flood.handle)
    await work.run([], 0.5, 0)
    assert sum(count for _, count in log) * FRAME_S > 0.4


async def test_beside_others_that_take_little_a_flood_takes_little_and_in_small_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work, log = Work(monkeypatch), list[tuple[str, int]]()
    turns = FrameTurns(asyncio.get_running_loop(), 1 << 30)
    flood = Source(turns.share(FLOOD), 1 << 30, log, "flood", work)
    honest = Source(turns.share(HONEST), 1, log, "honest")
    honest.share.handle(honest.handle)
    flood.share.handle(flood.handle)
    await work.run([honest], 2.0, 1)
    counts = [count for name, count in log if name == "flood" and count]
    assert TIME_SHARE_MIN / 2 < sum(counts) * FRAME_S / 2.0 < TIME_SHARE_MIN * 1.5
    assert max(counts[-50:]) <= SLICE_COST_MAX


async def test_beside_others_that_take_more_a_flood_takes_so_many_times_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work, log = Work(monkeypatch), list[tuple[str, int]]()
    turns = FrameTurns(asyncio.get_running_loop(), 1 << 30)
    flood = Source(turns.share(FLOOD), 1 << 30, log, "flood", work)
    honest = Source(turns.share(HONEST), 0, log, "honest", work)
    flood.share.handle(flood.handle)
    for _ in range(200):
        honest.frames = 10
        honest.share.handle(honest.handle)
        await work.run([], 0.01, 0)
    took = {name: sum(count for who, count in log if who == name) for name in ("flood", "honest")}
    assert OTHERS_FACTOR * 0.8 < took["flood"] / took["honest"] < OTHERS_FACTOR * 1.2


async def test_tenants_that_are_busy_alike_do_not_slow_each_other_down(monkeypatch: pytest.MonkeyPatch) -> None:
    work, log = Work(monkeypatch), list[tuple[str, int]]()
    turns = FrameTurns(asyncio.get_running_loop(), 1 << 30)
    both = [Source(turns.share(TenantUid(name)), 0, log, name, work) for name in ("a", "b")]
    await work.run(both, 2.0, 10)
    assert sum(count for _, count in log) * FRAME_S / 2.0 > 0.7


async def test_bytes_over_the_rate_hold_reading_up_for_as_long_as_they_take() -> None:
    share = FrameTurns(asyncio.get_running_loop(), 1_000).share(HONEST)
    assert share.pause_s(round(1_000 * BURST_S)) == 0
    assert 1.9 < share.pause_s(2_000) <= 2.0


async def test_a_quiet_time_lets_no_more_come_at_once_than_the_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    share = FrameTurns(asyncio.get_running_loop(), 1_000).share(HONEST)
    work.wait(60)
    assert share.pause_s(1_000) == 1 - BURST_S


async def test_a_guests_flood_is_handled_whole_in_order_and_over_several_turns() -> None:
    sandbox = FakeSandbox()
    guest = Guest(sandbox)
    await loaded(guest, sandbox)
    turns = FrameTurns(asyncio.get_running_loop(), 1 << 30)
    guest._share = turns.share(FLOOD)
    ear = Ear()
    act = guest.open(ear)
    number = 5 * TURN_COST_MAX
    payloads = deque(str(n).encode() for n in range(number))
    await asyncio.to_thread(sandbox.say, *(result(act, payload) for payload in payloads))
    await until(lambda: len(ear.heard) == number)
    assert [payload for _, payload in ear.heard] == list(payloads)
    assert ear.batches >= 5
    sandbox.say(result(act))
    await until(lambda: len(ear.heard) > number)
    guest.kill("the test is over")
    await asyncio.sleep(0)
    sandbox.close()


async def test_a_rate_holds_a_guest_up_and_loses_nothing() -> None:
    sandbox = FakeSandbox()
    guest = Guest(sandbox)
    await loaded(guest, sandbox)
    guest._share = FrameTurns(asyncio.get_running_loop(), 1_000_000).share(FLOOD)
    ear = Ear()
    act = guest.open(ear)
    began = asyncio.get_running_loop().time()
    await asyncio.to_thread(sandbox.say, *(result(act, bytes(100_000)) for _ in range(20)))
    await until(lambda: len(ear.heard) == 20)
    assert asyncio.get_running_loop().time() - began >= 0.5
    guest.kill("the test is over")
    await asyncio.sleep(0)
    sandbox.close()
