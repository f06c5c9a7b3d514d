"""Guests for residents: none is begun for an instance that this node has let go of."""

from __future__ import annotations

import asyncio

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
