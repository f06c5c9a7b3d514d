"""Instances as their journals have them: what a look costs, what it must not get wrong, and what is kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from data_plane.calls import InstanceCalls
from data_plane.journal.chain import BrokenChainError, chain
from data_plane.journal.store import DeleteInstance, InstanceKey, Position, PutRow, Row, Stamp
from data_plane.readings import BYTES_A_STEP, BYTES_AN_INSTANCE, ROWS_AT_ONCE, Readings
from loader import messages as m
from stepwell.engine.fold import replay
from stepwell.engine.instance import Phase
from stepwell.engine.records import Activated, Created, Deleting, Record, StepCompleted, StepKey
from stepwell.engine.status import steps_of
from stepwell.names import Digest, InstanceId, InstanceUid
from tests.unit.data_plane.fakes import KEY, MemoryStore
from tests.unit.data_plane.house import House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

OTHER = KEY._replace(instance=InstanceId("another"))


def created(uid: str = "u") -> list[Record]:
    return [Created(1, InstanceUid(uid), Digest("d"), "m:C", b"null", ""), Activated(2, "r")]


def step(number: int, size: int = 1) -> Record:
    return StepCompleted(number, StepKey("do", f"step {number}", 1), 1, 1, b"x" * size)


def put(
    store: MemoryStore,
    epoch: int,
    seq: int,
    records: Sequence[Record],
    *,
    first: bool = False,
    predecessor: Position | None = None,
    key: InstanceKey = KEY,
) -> None:
    row = Row(Position(epoch, seq), records, first, predecessor)
    store._apply(PutRow(key, row, Stamp(epoch, seq + 1)))


def many(store: MemoryStore, steps: int, size: int = 1, key: InstanceKey = KEY) -> None:
    """A journal of one row a step."""
    put(store, 1, 0, created(), first=True, key=key)
    for number in range(1, steps + 1):
        put(store, 1, number, [step(number, size)], key=key)


@on_virtual_time
async def test_a_look_reads_each_row_once_and_then_what_is_new() -> None:
    store, steps = MemoryStore(), 3 * ROWS_AT_ONCE
    many(store, steps)
    readings = Readings(store, 10**9)
    reading = await readings.newest(KEY)
    assert list(reading.instance.steps) == [StepKey("do", f"step {number}", 1) for number in range(1, steps + 1)]
    assert store.rows_read < steps + 10
    for extra in range(1, 4):
        before = store.rows_read
        put(store, 1, steps + extra, [step(steps + extra)])
        assert len((await readings.newest(KEY)).instance.steps) == steps + extra
        assert store.rows_read == before + 2


@on_virtual_time
async def test_all_pages_of_a_large_instance_cost_about_what_one_does() -> None:
    store, steps, page = MemoryStore(), 1_000, 20
    many(store, steps, 16_000)
    async with serving(store, epoch=1) as house:
        seen: list[str] = []
        while len(seen) < steps:
            shown = steps_of((await house.calls.get(KEY)).instance)[len(seen) : len(seen) + page]
            seen += [each.key.name for each in shown]
        assert len(set(seen)) == steps
        assert store.rows_read < 2 * steps


@on_virtual_time
async def test_looks_at_once_read_once() -> None:
    store = MemoryStore()
    many(store, 500)
    readings = Readings(store, 10**9)
    looked = await asyncio.gather(*(readings.newest(KEY) for _ in range(20)))
    assert all(reading is looked[0] for reading in looked)
    assert store.rows_read < 600


@on_virtual_time
async def test_a_stale_owners_late_row_does_not_count() -> None:
    store, readings = MemoryStore(), None
    readings = Readings(store, 10**9)
    many(store, 5)
    await readings.newest(KEY)
    put(store, 1, 6, [step(6)])
    put(store, 1, 7, [step(7)])
    put(store, 2, 6, [step(100)], first=True, predecessor=Position(1, 5))
    reading = await readings.newest(KEY)
    assert [key.name for key in reading.instance.steps][-2:] == ["step 5", "step 100"]
    assert reading.tip == Position(2, 6)
    rows = [row async for row in readings.rows(KEY, reading)]
    assert rows == chain(await store.read_journal(KEY))


@on_virtual_time
async def test_what_was_shown_of_a_stale_owners_late_row_is_taken_back() -> None:
    store = MemoryStore()
    readings = Readings(store, 10**9)
    many(store, 5)
    assert len((await readings.newest(KEY)).instance.steps) == 5
    put(store, 2, 5, [step(100)], first=True, predecessor=Position(1, 4))
    assert [key.name for key in (await readings.newest(KEY)).instance.steps][-2:] == ["step 4", "step 100"]


@on_virtual_time
async def test_an_instance_that_is_being_removed_is_seen_as_deleted_whatever_rows_are_left() -> None:
    store = MemoryStore()
    readings = Readings(store, 10**9)
    many(store, 5)
    await readings.newest(KEY)
    put(store, 1, 6, [Deleting(9, InstanceUid("u"), 1, "")])
    for position in list(store.rows[KEY])[:-1]:
        del store.rows[KEY][position]
    assert (await readings.newest(KEY)).instance.phase in (Phase.ABSENT, Phase.DELETING)
    store._apply(DeleteInstance(KEY, InstanceUid("u"), 1, Stamp(1, 100)))
    reading = await readings.newest(KEY)
    assert reading.instance.phase is Phase.ABSENT
    assert readings._kept == {}


@on_virtual_time
async def test_an_id_that_is_used_again_shows_the_new_instance_alone() -> None:
    async with serving() as house:
        key = await _ended(house, 1)
        old = (await house.calls.get(key)).instance
        await house.calls.delete(key, "")
        await _ended(house, 2)
        new = (await house.calls.get(key)).instance
        assert new.uid != old.uid
        assert house.node.resident_count == 0
        assert len(new.steps) == 1


async def _ended(house: House, number: int) -> InstanceKey:
    key = await house.create()
    guest = await house.guest(number)
    guest.say(m.Result(1, "only", 1, 1, 10), payload=b"1")
    await until(lambda: guest.told("completion"))
    guest.say(m.Returned(1), payload=b"null")
    guest.say(m.Closed(1))
    await house.asleep()
    return key


@on_virtual_time
async def test_what_is_kept_is_bounded_and_what_was_looked_at_last_stays() -> None:
    store = MemoryStore()
    weight = BYTES_AN_INSTANCE + 10 * (BYTES_A_STEP + 1_000) + 4
    keys = [KEY._replace(instance=InstanceId(f"i-{number}")) for number in range(5)]
    for key in keys:
        many(store, 10, 1_000, key)
    readings = Readings(store, 3 * weight)
    for key in [*keys[:3], keys[0], keys[3]]:
        await readings.newest(key)
    assert list(readings._kept) == [keys[2], keys[0], keys[3]]
    assert readings._bytes == 3 * weight
    many(store, 100, 1_000, OTHER)
    assert len((await readings.newest(OTHER)).instance.steps) == 100
    assert (readings._kept, readings._bytes) == ({}, 0)


@on_virtual_time
async def test_a_read_that_fails_leaves_what_was_read_and_can_be_tried_again() -> None:
    store = MemoryStore()
    many(store, 5)
    readings = Readings(store, 10**9)
    await readings.newest(KEY)
    put(store, 1, 6, [step(6)])
    store.reads_fail_next = 1
    with pytest.raises(OSError, match="the disk is gone"):
        await readings.newest(KEY)
    assert len((await readings.newest(KEY)).instance.steps) == 6
    store.reads_fail_next = 1
    with pytest.raises(OSError, match="the disk is gone"):
        await readings.newest(OTHER)
    assert OTHER not in readings._kept


@pytest.mark.parametrize("seed", range(30))
@on_virtual_time
async def test_random_journals_are_read_on_as_they_are_read_whole(seed: int) -> None:
    dice = random.Random(seed)
    store = MemoryStore()
    readings = Readings(store, 10**9)
    put(store, 1, 0, created(), first=True)
    epoch, seq = 1, 0
    for number in range(60):
        if dice.random() < 0.2:
            read = chain(await store.read_journal(KEY))[-1].position
            before = dice.choice([read, Position(read.epoch, max(read.seq - 1, 0))])
            if before not in {row.position for row in chain(await store.read_journal(KEY))}:
                before = read
            epoch, seq = epoch + 1, before.seq + 1
            put(store, epoch, seq, [step(number)], first=True, predecessor=before)
        elif dice.random() < 0.2 and epoch > 1:
            late = Position(epoch - 1, dice.randint(0, seq + 2))
            if late not in store.rows[KEY]:
                put(store, *late, [step(number)])
        else:
            seq += 1
            put(store, epoch, seq, [step(number)])
        if dice.random() < 0.5:
            rows = chain(await store.read_journal(KEY))
            reading = await readings.newest(KEY)
            expected = replay(record for row in rows for record in row.records)
            assert list(reading.instance.steps) == list(expected.steps)
            assert [row async for row in readings.rows(KEY, reading)] == rows


@on_virtual_time
async def test_a_journal_that_lost_rows_is_not_shown() -> None:
    store = MemoryStore()
    many(store, 5)
    put(store, 2, 6, [step(6)], first=True, predecessor=Position(1, 5))
    del store.rows[KEY][Position(1, 3)]
    with pytest.raises(BrokenChainError):
        await Readings(store, 10**9).newest(KEY)


@on_virtual_time
async def test_a_watch_of_a_long_history_holds_a_part_of_it_at_a_time() -> None:
    store = MemoryStore()
    many(store, 5 * ROWS_AT_ONCE)
    parts: list[int] = []

    class Parts(MemoryStore):
        async def read_journal(self, key: InstanceKey, **more: Any) -> Sequence[Row]:
            rows = await store.read_journal(key, **more)
            parts.append(len(rows))
            return rows

    reading_store = Parts()
    reading_store.rows = store.rows
    async with serving(reading_store, epoch=1) as house:
        calls: InstanceCalls = house.calls
        watching = calls.watch(KEY, "")
        told = [await anext(watching) for _ in range(5 * ROWS_AT_ONCE + 2)]
        assert [happening.number for _, happening in told] == list(range(1, 5 * ROWS_AT_ONCE + 3))
        await watching.aclose()  # type: ignore[attr-defined]
        assert max(parts) == ROWS_AT_ONCE
        assert sum(parts) < 3 * 5 * ROWS_AT_ONCE
