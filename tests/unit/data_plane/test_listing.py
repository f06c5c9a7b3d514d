"""The list never knows more than the journal."""

from __future__ import annotations

import asyncio

from data_plane.journal.store import Mutation, PutListing, PutRow, WriteUnknownError
from loader import messages as m
from stepwell.engine.records import Completed, EventReceived, Record
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until


def holds(mutation: Mutation, kind: type[Record]) -> bool:
    return isinstance(mutation, PutRow) and any(isinstance(record, kind) for record in mutation.row.records)


@on_virtual_time
async def test_an_end_that_is_not_durable_yet_is_not_listed() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        store = house.store
        store.holds = lambda mutation: holds(mutation, EventReceived)
        sending = asyncio.ensure_future(house.calls.send_event(key, "approve", b"1", ""))
        await until(lambda: store.held)
        guest.say(m.Returned(1), payload=b"null")
        store.let_go()
        store.holds = lambda mutation: holds(mutation, Completed)
        await sending
        await until(lambda: store.held)
        assert "complete" not in listed(store.log)
        store.let_go()
        await until(lambda: "complete" in listed(store.log))


def listed(log: list[Mutation]) -> list[str]:
    return [mutation.listing.status for mutation in log if isinstance(mutation, PutListing)]


@on_virtual_time
async def test_an_end_that_the_list_lost_is_listed_again() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        store = house.store
        store.holds = lambda mutation: isinstance(mutation, PutListing) and mutation.listing.status == "complete"
        guest.say(m.Returned(1), payload=b"null")
        guest.say(m.Closed(1))
        await until(lambda: store.held)
        store.held, lost = [], store.held
        store.holds = None
        lost[0][1](WriteUnknownError("timed out"))
        assert house.server.resident_count == 1
        await house.asleep()
        assert [put.listing.status for (each, _), put in store.listings.items() if each == key] == ["complete"]


@on_virtual_time
async def test_an_end_that_an_owner_did_not_live_to_list_is_listed_by_the_next() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        await house.create()
        guest = await house.guest(1)
        store.holds = lambda mutation: isinstance(mutation, PutListing)
        guest.say(m.Returned(1), payload=b"null")
        guest.say(m.Closed(1))
        await until(lambda: store.held)
        await asyncio.sleep(60)
    store.held, store.holds = [], None
    async with serving(store, epoch=2):
        await until(lambda: "complete" in [put.listing.status for put in store.listings.values()])


@on_virtual_time
async def test_a_pause_that_an_owner_did_not_live_to_list_is_listed_by_the_next() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Wait(1, "approval", 1, "approve", None))
        guest.say(m.Idle(1, 0))
        guest.say(m.Closed(1))
        await house.asleep()
        store.holds = lambda mutation: isinstance(mutation, PutListing)
        await house.calls.pause(key, "")
        await until(lambda: store.held)
        await asyncio.sleep(60)
    store.held, store.holds = [], None
    async with serving(store, epoch=2):
        await until(lambda: "paused" in [put.listing.status for put in store.listings.values()])
