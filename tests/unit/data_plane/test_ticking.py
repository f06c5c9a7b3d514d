"""Schedules at work on a node: what is created, when, how often, and by whom after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.records import Active, CatchUp, Schedule, ScheduledWorkflow, Schedules, TickDone, Ticked
from cluster.store import Delete, Put
from data_plane.journal.store import InstanceKey, PutRow
from data_plane.quotas import TenantLimits
from data_plane.shard import Shard
from data_plane.ticking import Ticker
from data_plane.ticks import TICK_LATE_MS_MAX, jitter_ms, tick_id
from stepwell.cron import MINUTE_MS
from stepwell.engine import schedule
from stepwell.engine.records import Created
from stepwell.errors import UnavailableError
from tests.contract import memory_store
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import FLOW, SHARD, TENANT, House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

EVERY_MINUTE, EVERY_HOUR = Schedule("* * * * *"), Schedule("0 * * * *", catch_up=CatchUp.ALL)
BEGIN_MS = 1_000_000_000
"""The virtual loop's first moment; so many ms after a full minute:"""
PAST_MINUTE_MS = BEGIN_MS % MINUTE_MS


class Story:
    """A control store and a journal that outlive the nodes on them."""

    def __init__(self) -> None:
        self.control, self.journal = memory_store.MemoryStore(), MemoryStore()
        self.epoch = 0
        self.heard: list[tuple[int, int]] = []
        """Revisions whose routes were waited for, each with how many instances there were then."""

    async def put(self, *schedules: Schedule, since_ms: int = BEGIN_MS, paused: bool = False) -> None:
        """What the control plane writes when routes change, or schedules are paused."""
        workflow = ScheduledWorkflow(FLOW, paused, tuple(Active(each, since_ms) for each in schedules))
        await self.control.txn((), (Put(keys.schedules(TENANT), encode(Schedules(TENANT, (workflow,)))),))

    async def mark(self) -> Ticked | None:
        stored = await self.control.get(keys.ticked(TENANT, FLOW))
        return None if stored is None else decode_value(Ticked, stored)

    @asynccontextmanager
    async def node(self, limits: TenantLimits | None = None) -> AsyncIterator[House]:
        """A new owner of the shard, until the block ends; then it dies."""
        self.epoch += 1

        async def heard(revision: int) -> None:
            self.heard.append((revision, len(self.created())))

        async with serving(self.journal, self.epoch, tenant_limits=limits) as house:
            ticking = asyncio.create_task(Ticker(house.node, self.control, house.calls, heard=heard).run())
            try:
                yield house
            finally:
                ticking.cancel()

    def created(self) -> list[tuple[str, int]]:
        """Expressions and times of all that schedules created, in the order in which it was created."""
        created = [
            (record.at, record.schedule.scheduled_at, record.schedule.cron)
            for puts in self.journal.rows.values()
            for put in puts.values()
            for record in put.row.records
            if isinstance(record, Created) and record.schedule is not None
        ]
        return [(cron, scheduled_at) for _, scheduled_at, cron in sorted(created)]

    def times(self) -> list[int]:
        """In minutes since the first full one."""
        first = BEGIN_MS - PAST_MINUTE_MS + MINUTE_MS
        return [(at_ms - first) // MINUTE_MS for _, at_ms in self.created()]


async def pass_time(minutes: float) -> None:
    await asyncio.sleep(minutes * 60)


@on_virtual_time
async def test_each_time_creates_one_instance_a_little_later_that_knows_it() -> None:
    story = Story()
    async with story.node() as house:
        await story.put(EVERY_MINUTE)
        await pass_time(3)
        assert story.times() == [0, 1, 2]
        first_ms = BEGIN_MS - PAST_MINUTE_MS + MINUTE_MS
        key = InstanceKey(TENANT, FLOW, tick_id(TENANT, FLOW, EVERY_MINUTE, first_ms))
        created = house.records(key)[0]
        assert isinstance(created, Created)
        assert created.schedule == schedule.Schedule("* * * * *", first_ms)
        assert jitter_ms(TENANT) <= created.at - first_ms <= jitter_ms(TENANT) + 1_000
        last_ms = first_ms + 2 * MINUTE_MS
        assert await story.mark() == Ticked(TENANT, FLOW, (TickDone("* * * * *", "UTC", last_ms, last_ms),))
        start = (await house.guest(1)).told("start")[0]
        assert start[3]["schedule"] == ["* * * * *", first_ms]


@on_virtual_time
async def test_an_instance_is_created_by_routes_that_are_as_new_as_its_schedule() -> None:
    story = Story()
    async with story.node():
        await story.put(EVERY_MINUTE)
        await pass_time(1)
        await story.put(EVERY_MINUTE._replace(catch_up=CatchUp.NONE))
        newest = (await story.control.revision(), len(story.created()))
        await pass_time(1)
        assert story.heard == [(1, 0), newest]


@on_virtual_time
async def test_a_pause_holds_and_what_was_due_meanwhile_never_comes() -> None:
    story = Story()
    async with story.node():
        await story.put(EVERY_MINUTE)
        await pass_time(2)
        await story.put(EVERY_MINUTE, paused=True)
        await pass_time(10)
        assert story.times() == [0, 1]
        resumed_ms = BEGIN_MS + 12 * MINUTE_MS
        await story.put(EVERY_MINUTE, since_ms=resumed_ms)
        await pass_time(2)
        assert story.times() == [0, 1, 12, 13]


@on_virtual_time
async def test_a_pause_that_the_watch_has_not_told_of_holds() -> None:
    story = Story()
    async with story.node():
        await story.put(EVERY_MINUTE)
        await pass_time(1.5)
        count = len(story.times())
        other = Story()
        await other.put(EVERY_MINUTE, paused=True)
        record = await other.control.get(keys.schedules(TENANT))
        assert record is not None
        story.control._records[keys.schedules(TENANT)] = record
        await pass_time(5)
        assert len(story.times()) == count


@on_virtual_time
async def test_what_is_no_more_in_force_creates_nothing() -> None:
    story = Story()
    async with story.node():
        await story.put(EVERY_MINUTE, EVERY_HOUR)
        await pass_time(1)
        await story.put(EVERY_HOUR)
        await pass_time(70)
        assert story.created()[1:] == [("0 * * * *", BEGIN_MS - BEGIN_MS % 3_600_000 + 3_600_000)]
        mark = await story.mark()
        assert mark is not None
        assert [each.cron for each in mark.done] == ["0 * * * *"]
        await story.control.txn((), (Delete(keys.schedules(TENANT)),))
        await pass_time(200)
        assert len(story.created()) == 2


@on_virtual_time
async def test_a_crash_between_the_instance_and_its_mark_creates_no_second_one() -> None:
    story = Story()
    await story.put(EVERY_HOUR, since_ms=BEGIN_MS - 3_600_000)
    hour_ms = BEGIN_MS - BEGIN_MS % 3_600_000
    failing = Failing(story.control)
    failing.txns = 1
    async with story.node():
        await until(lambda: failing.failed)
        assert story.created() == [("0 * * * *", hour_ms)]
        assert await story.mark() is None
    rows = {key: len(puts) for key, puts in story.journal.rows.items()}
    async with story.node():
        await pass_time(1)
        assert story.created() == [("0 * * * *", hour_ms)]
        mark = await story.mark()
        assert mark is not None
        assert mark.done[0].done_ms == hour_ms
    assert rows.keys() == story.journal.rows.keys()


@on_virtual_time
async def test_a_crash_before_the_instance_is_durable_loses_no_time() -> None:
    story = Story()
    await story.put(EVERY_HOUR, since_ms=BEGIN_MS - 3_600_000)
    story.journal.holds = lambda mutation: isinstance(mutation, PutRow)
    async with story.node():
        await until(lambda: story.journal.held)
        assert await story.mark() is None
    story.journal.held.clear()
    story.journal.holds = None
    async with story.node():
        await pass_time(1)
        assert [cron for cron, _ in story.created()] == ["0 * * * *"]
        assert await story.mark() is not None


class Failing:
    """Has a cluster store fail: so many transactions from here on, before they happen."""

    def __init__(self, store: memory_store.MemoryStore) -> None:
        self.txns, self.failed = 0, False
        self._txn = store.txn
        store.txn = self.txn  # type: ignore[assignment,method-assign]

    async def txn(self, *args: Any) -> Any:
        if self.txns:
            self.txns -= 1
            self.failed = True
            await asyncio.sleep(3_600 * 24)  # whoever waits for the answer dies before
            raise UnavailableError("no answer")
        return await self._txn(*args)


@on_virtual_time
async def test_after_a_downtime_as_much_is_made_up_for_as_the_schedule_says() -> None:
    for catch_up, missed in ((CatchUp.NONE, 0), (CatchUp.LAST, 1), (CatchUp.ALL, 55)):
        story = Story()
        begin_ms = round(asyncio.get_running_loop().time() * 1000)
        await story.put(EVERY_MINUTE._replace(catch_up=catch_up), since_ms=begin_ms)
        await pass_time(60)
        async with story.node():
            await until(lambda story=story: len(story.created()) >= 5)  # type: ignore[misc]
            await pass_time(0.25)
            late = TICK_LATE_MS_MAX // MINUTE_MS
            assert len(story.created()) in (missed + late, missed + late + 1)
            await pass_time(1)
            assert len({at for _, at in story.created()}) == len(story.created())


@on_virtual_time
async def test_a_tenant_without_room_gets_its_instance_as_soon_as_there_is_some() -> None:
    story = Story()
    await story.put(EVERY_HOUR, since_ms=BEGIN_MS - 3_600_000)
    async with story.node(TenantLimits(stored_bytes_max=0)):
        await pass_time(10)
        assert story.created() == []
        assert await story.mark() is None
    async with story.node():
        await pass_time(1)
        assert len(story.created()) == 1


@on_virtual_time
async def test_an_id_that_the_tenant_took_itself_holds_nothing_up() -> None:
    story = Story()
    async with story.node() as house:
        first_ms = BEGIN_MS - PAST_MINUTE_MS + MINUTE_MS
        await house.calls.create(TENANT, FLOW, tick_id(TENANT, FLOW, EVERY_MINUTE, first_ms), b"1", "")
        await story.put(EVERY_MINUTE)
        await pass_time(2)
        assert story.times() == [1]


@on_virtual_time
async def test_a_watch_that_breaks_and_a_store_that_is_away_lose_nothing() -> None:
    story = Story()
    async with story.node():
        await story.put(EVERY_MINUTE)
        await pass_time(1)
        story.control.broken = True
        await pass_time(3)
        assert story.times() == [0]
        story.control.broken = False
        await pass_time(2.5)
        assert story.times()[:5] == [0, 1, 2, 3, 4]


@on_virtual_time
async def test_a_node_drives_what_is_in_its_shards_and_lets_go_of_the_rest() -> None:
    story = Story()
    async with story.node() as house:
        await story.put(EVERY_MINUTE)
        await pass_time(1)
        house.node.drop(SHARD)
        await pass_time(5)
        assert story.times() == [0]
        await house.node.serve(Shard(SHARD, 2, lambda: house.owned))
        await pass_time(1)
        assert story.times() == [0, 1, 2, 3, 4, 5, 6]
