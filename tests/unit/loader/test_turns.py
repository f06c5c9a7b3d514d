"""Tenants share each turn of the loop alike, and say only so many bytes a second."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from loader.guest import Guest
from loader.turns import COST_BYTES, TURN_COST_MAX, FrameTurns, Share
from stepwell.names import TenantUid
from tests.unit.loader.fake_sandbox import FakeSandbox
from tests.unit.loader.test_guest import Ear, loaded, result

FLOOD, HONEST = TenantUid("flood"), TenantUid("honest")


class Source:
    """A guest with frames that wait; `log` hears how many were handled in each turn."""

    def __init__(self, share: Share, frames: int, log: list[tuple[str, int]], name: str) -> None:
        self.share, self.frames, self.log, self.name = share, frames, log, name

    def handle(self, most: int) -> int:
        now = min(most, self.frames)
        self.frames -= now
        self.log.append((self.name, now))
        if self.frames:
            self.share.wait(self.handle)
        return now


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - turns of the loop are what is tested
            await asyncio.sleep(0)


async def test_a_tenant_with_many_sandboxes_gets_no_more_of_a_turn_than_one_with_one() -> None:
    turns, log = FrameTurns(asyncio.get_running_loop(), 1 << 30), list[tuple[str, int]]()
    flood = [Source(turns.share(FLOOD), 10 * TURN_COST_MAX, log, "flood") for _ in range(5)]
    honest = Source(turns.share(HONEST), 2 * TURN_COST_MAX, log, "honest")
    for source in [*flood, honest]:
        source.share.wait(source.handle)
    await until(lambda: not honest.frames)
    handled = {name: sum(count for who, count in log if who == name) for name in ("flood", "honest")}
    assert handled["honest"] == 2 * TURN_COST_MAX
    assert handled["flood"] <= 3 * TURN_COST_MAX
    await until(lambda: not any(source.frames for source in flood))


async def test_a_share_is_whole_again_in_the_next_turn() -> None:
    share = FrameTurns(asyncio.get_running_loop(), 1 << 30).share(HONEST)
    assert share.take(TURN_COST_MAX - 1, COST_BYTES)
    assert not share.take(1, 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert share.take(TURN_COST_MAX, 0)


async def test_bytes_over_the_rate_hold_reading_up_for_as_long_as_they_take() -> None:
    share = FrameTurns(asyncio.get_running_loop(), 1_000).share(HONEST)
    assert share.pause_s(1_000) == 0
    assert 1.9 < share.pause_s(2_000) <= 2.0


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
