"""That a control server can be found for as long as it lives, and no longer than its lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cluster import keys
from cluster.lease import TTL_S
from cluster.ownership_view import OwnershipView
from cluster.presence import Presence
from cluster.records import Member
from tests.contract.memory_store import MemoryStore
from tests.unit.data_plane.house import on_virtual_time
from tests.unit.data_plane.virtual_loop import until

SERVER = Member("control-1.x", "10.0.0.1:7838")


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Presence, OwnershipView, MemoryStore, list[asyncio.Task[Any]]]]:
    """A server, and another process that looks for it."""
    loop = asyncio.get_running_loop()
    store = MemoryStore(loop.time)
    presence = Presence(store, keys.control(SERVER.node), SERVER, loop.time)
    view = OwnershipView(store, lambda: None)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(presence.run()), tasks.create_task(view.run())]
        expiring = tasks.create_task(_expire(store))
        yield presence, view, store, running
        for task in (*running, expiring):
            task.cancel()


async def _expire(store: MemoryStore) -> None:
    while True:
        await asyncio.sleep(0.5)
        store.end_leases()


@on_virtual_time
async def test_it_is_found_while_it_lives() -> None:
    async with world() as (presence, view, _, _):
        await until(lambda: view.controls)
        assert view.controls == {SERVER.node: SERVER}
        assert presence.told
        await asyncio.sleep(10 * TTL_S)
        assert view.controls == {SERVER.node: SERVER}


@on_virtual_time
async def test_one_that_dies_is_gone_with_its_lease() -> None:
    async with world() as (presence, view, _, running):
        await until(lambda: view.controls)
        running[0].cancel()
        await asyncio.sleep(TTL_S + 2)
        assert view.controls == {}
        assert not presence.told


@on_virtual_time
async def test_one_that_leaves_is_gone_at_once() -> None:
    async with world() as (presence, view, _, running):
        await until(lambda: view.controls)
        running[0].cancel()
        await presence.leave()
        await asyncio.sleep(0.5)
        assert view.controls == {}


@on_virtual_time
async def test_one_whose_lease_was_lost_tells_of_itself_anew() -> None:
    async with world() as (presence, view, store, _):
        await until(lambda: presence.told)
        await store.revoke_lease(presence._lease.id)
        await until(lambda: not view.controls)
        await until(lambda: view.controls, within_s=2 * TTL_S)
        assert presence.told
