"""A node serves the shards that it is lent, and nothing of any other."""

from __future__ import annotations

import asyncio

import pytest

from data_plane.journal.store import InstanceKey, PutMark
from data_plane.node import NotOwnedError
from data_plane.shard import Shard
from data_plane.wakes import OwnershipLostError
from loader import messages as m
from stepwell.engine.records import Activated
from stepwell.errors import UnavailableError
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import SHARD, House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until


async def watched_to_its_end(house: House, key: InstanceKey) -> list[str]:
    """What a watch tells; its end must be that the shard went elsewhere."""
    told: list[str] = []
    try:
        async for _, happening in house.calls.watch(key, ""):
            told.append(happening.type)
    except UnavailableError:
        return told
    raise AssertionError("the watch ended as if the instance had")


@on_virtual_time
async def test_what_is_not_lent_is_not_served() -> None:
    async with serving() as house:
        key = await house.create()
        await house.node.release(SHARD, 1.0)
        with pytest.raises(NotOwnedError) as refused:
            await house.calls.get(key)
        assert (refused.value.shard, refused.value.key) == (SHARD, key)
        await house.node.release(SHARD, 1.0)
        house.node.drop(SHARD)


@on_virtual_time
async def test_a_released_shard_leaves_nothing_in_memory_and_comes_back_in_a_later_epoch() -> None:
    async with serving() as house:
        key = await house.create()
        sleeping(await house.guest(1), 60_000)
        await house.asleep()
        running = await house.create("two")
        await house.guest(2)
        await house.node.release(SHARD, 1.0)
        assert house.node.resident_count == 0
        house.epoch = 2
        await house.serve()
        (await house.guest(3)).say(m.Returned(1), payload=b"1")
        await until(lambda: len(house.loader.leases) == 4)
        assert len([record for record in house.records(key) if isinstance(record, Activated)]) == 2
        assert await house.status(running) == "complete"


@on_virtual_time
async def test_a_dropped_shard_ends_its_guests_calls_and_watches() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        guest = await house.guest(1)
        watching = asyncio.create_task(watched_to_its_end(house, key))
        await asyncio.sleep(1)
        store.holds = lambda mutation: True
        event = asyncio.create_task(house.calls.send_event(key, "go", b"1", ""))
        await asyncio.sleep(1)
        house.owned = False
        house.node.drop(SHARD)
        assert guest.told("stop")
        with pytest.raises(UnavailableError, match="moved to another server"):
            await event
        assert await watching == ["created", "started"]
        assert house.node.watchers._by_key == {}
        written = len(store.log)
        store.let_go()
        await asyncio.sleep(120)
        assert len(store.log) == written


@on_virtual_time
async def test_a_shard_that_is_lost_while_it_is_taken_over_is_not_served() -> None:
    async with serving() as house:
        owned = True
        house.store.holds = lambda mutation: isinstance(mutation, PutMark)
        taking = asyncio.create_task(house.node.serve(Shard(7, 1, lambda: owned)))
        await until(lambda: house.store.held)
        owned = False
        house.store.let_go()
        with pytest.raises(OwnershipLostError):
            await taking
        assert 7 not in house.node._servers
