"""Deletions are finished by whoever owns the shard, and by nobody else."""

from __future__ import annotations

import asyncio

import pytest

from data_plane.journal.chain import chain
from data_plane.journal.store import DeleteInstance, InstanceKey, Mutation, PutRow, PutWake, WriteUnknownError
from loader import messages as m
from stepwell.engine.records import Deleting
from stepwell.errors import NotFoundError, UnavailableError
from stepwell.names import InstanceId
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until


def removals(store: MemoryStore) -> list[DeleteInstance]:
    return [mutation for mutation in store.log if isinstance(mutation, DeleteInstance)]


def is_removal(mutation: Mutation) -> bool:
    return isinstance(mutation, DeleteInstance)


async def terminated(house: House) -> InstanceKey:
    key = await house.create()
    guest = await house.guest(1)
    await house.calls.terminate(key, "")
    guest.say(m.Closed(1))
    return key


@on_virtual_time
async def test_a_removal_whose_outcome_is_unknown_is_asked_for_again_the_same() -> None:
    async with serving() as house:
        key = await terminated(house)
        house.store.holds = is_removal
        deleting = asyncio.ensure_future(house.calls.delete(key, ""))
        await until(lambda: house.store.held)
        house.store.let_go(WriteUnknownError("timed out"))
        await deleting
        first, again = removals(house.store)
        assert first == again, "with the same stamp"
        assert house.store.rows[key] == {}
        assert house.node.resident_count == 0


@on_virtual_time
async def test_a_removal_is_not_asked_for_again_once_the_shard_is_lost() -> None:
    async with serving() as house:
        key = await terminated(house)
        house.store.holds = is_removal
        await house.calls.delete(key, "")
        creating = asyncio.ensure_future(house.create())
        await asyncio.sleep(1)
        house.owned = False
        house.store.let_go(WriteUnknownError("timed out"))
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(creating, 60)
        await asyncio.sleep(60)
        assert len(removals(house.store)) == 1
        assert house.node.resident_count == 0


@on_virtual_time
async def test_a_removal_that_waits_to_be_asked_for_again_is_dropped_with_the_shard() -> None:
    async with serving() as house:
        key = await terminated(house)
        house.store.holds = is_removal
        deleting = asyncio.ensure_future(house.calls.delete(key, ""))
        await until(lambda: house.store.held)
        house.store.let_go(WriteUnknownError("timed out"))
        await asyncio.sleep(0.1)
        house.owned = False
        await deleting
        await asyncio.sleep(60)
        assert len(removals(house.store)) == 1
        assert house.node.resident_count == 0


@on_virtual_time
async def test_the_next_owners_first_row_holds_the_deletion_so_that_it_stands_alone() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await terminated(house)
        store.holds = is_removal
        await house.calls.delete(key, "")
    ((late, _),) = store.held
    store.held.clear()
    async with serving(store, epoch=2) as house:
        await until(lambda: store.held)
        with pytest.raises(NotFoundError):
            await house.calls.get(key)
        (first,) = [put.row for put in store.log if isinstance(put, PutRow) and put.row.position.epoch == 2]
        assert first.first
        assert [type(record) for record in first.records] == [Deleting]
        store._apply(late)
        assert [put.row for put in store.rows[key].values()] == [first], "the late removal took the rows below"
        assert chain([first]) == [first]
        store.let_go()
        await until(lambda: not store.rows[key])
        await house.asleep()
    async with serving(store, epoch=3) as house:
        await house.create()


@on_virtual_time
async def test_a_caller_that_loads_while_the_shard_is_lost_is_told() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        sleeping(await house.guest(1), 86_400_000)
        await house.asleep()
    async with serving(store, epoch=2) as house:
        store.holds = lambda mutation: isinstance(mutation, PutWake)
        calling = [asyncio.ensure_future(house.calls.send_event(key, "approve", b"1", "")) for _ in range(2)]
        await until(lambda: store.held)
        house.owned = False
        store.let_go()
        for call in calling:
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(call, 60)
        assert house.server._loading == {}


@on_virtual_time
async def test_a_caller_whose_wake_is_under_way_as_the_shard_is_lost_is_told() -> None:
    async with serving() as house:
        house.store.holds = lambda mutation: isinstance(mutation, PutWake)
        creating = asyncio.ensure_future(house.calls.create(TENANT, FLOW, InstanceId("one"), b"null", ""))
        await until(lambda: house.store.held)
        house.owned = False
        house.store.let_go()
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(creating, 60)
        assert house.node.resident_count == 0
