"""The list never knows more than the journal."""

from __future__ import annotations

import asyncio

from data_plane.journal.store import Mutation, PutListing, PutRow
from loader import messages as m
from stepwell.engine.records import Completed, EventReceived, Record
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
