"""Guests for residents: none is begun for an instance that this node has let go of."""

from __future__ import annotations

import asyncio

from data_plane.journal.store import PutRow
from loader import messages as m
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until


@on_virtual_time
async def test_a_sandbox_that_comes_after_the_shard_was_lost_is_given_back_unused() -> None:
    async with serving() as house:
        house.loader.held = asyncio.Event()
        key = await house.create()
        await until(lambda: house.loader.waiting > 0)
        resident = house.server.peek(key)
        assert resident is not None
        house.owned = False
        house.server.give_up(resident)
        rows = len(house.store.rows[key])
        house.loader.held.set()
        await until(lambda: bool(house.loader.leases) and house.loader.leases[0].released)
        assert house.loader.leases[0].guest.handlers == {}
        assert len(house.store.rows[key]) == rows, "no activation was recorded"


@on_virtual_time
async def test_an_instance_that_stands_in_line_while_the_node_drains_is_left_to_the_next_owner() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        house.loader.held = asyncio.Event()
        key = await house.create()
        await until(lambda: house.loader.waiting > 0)
        await house.server.drain(1.0)
        house.loader.held.set()
        await until(lambda: bool(house.loader.leases) and house.loader.leases[0].released)
        assert house.loader.leases[0].guest.handlers == {}
    async with serving(store, epoch=2) as house:
        await house.guest(1)
        assert (await house.calls.get(key)).instance.activations == 1


@on_virtual_time
async def test_an_activation_is_told_nothing_that_was_meant_for_one_before_it() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Started(1, "fetch", 1, 1, 0))
        await house.calls.pause(key, "")
    async with serving(store, epoch=2) as house:
        slow = store.holds = lambda mutation: isinstance(mutation, PutRow) and not mutation.row.first
        resuming = asyncio.ensure_future(house.calls.resume(key, ""))
        await asyncio.sleep(1)
        for lease in house.loader.leases:
            lease.guest.die("exit 137")
        for _ in range(3):
            await asyncio.sleep(1)
            store.let_go()
            store.holds = slow
        store.holds = None
        await resuming
        await until(lambda: house.loader.guest.told("start"))
        guest = house.loader.guest
        assert len(guest.told("start")) == 1
        guest.say(m.Returned(guest.frames[0][0][1]), payload=b"1")
        await until(lambda: guest.closed or guest.told("stop"))
        assert await house.status(key) == "complete"
