"""A restart as a caller meets it: answered once durable and listed, seen by who watches, refused for what is gone."""

from __future__ import annotations

import asyncio

import pytest

from data_plane.history import Happening
from data_plane.journal.store import InstanceKey, PutListing
from loader import messages as m
from stepwell.engine.records import StepKey
from stepwell.errors import NotFoundError, RateLimitedError
from stepwell.names import Digest, InstanceId
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

CHARGE = StepKey("do", "charge", 1)


async def ended(house: House) -> InstanceKey:
    """An instance with two steps, the second of which failed, and failed with it."""
    key = await house.create()
    guest = await house.guest(1)
    guest.say(m.Result(1, "reserve", 1, 1, 10), payload=b"1")
    await until(lambda: guest.told("completion"))
    boom = m.GuestError("builtins", "ValueError", "boom")
    guest.say(m.Failed(1, "charge", 1, 1, 10, False, 5, 10_000, "constant", boom))
    await until(lambda: len(guest.told("completion")) == 2)
    guest.say(m.Raised(1, boom), m.Closed(1))
    await house.asleep()
    assert await house.status(key) == "errored"
    return key


@on_virtual_time
async def test_it_goes_on_from_the_step_and_the_list_says_so_when_that_is_answered() -> None:
    async with serving() as house:
        key = await ended(house)
        seen = await house.calls.restart(key, CHARGE, "")
        assert [*seen.instance.steps] == [StepKey("do", "reserve", 1)]
        (listing,) = [put.listing for put in house.store.listings.values()]
        assert listing.status == "running"
        guest = await house.guest(2)
        assert guest.told("start")[0][4] == 1, "one recorded completion"
        guest.say(m.Result(1, "charge", 1, 1, 10), payload=b"2")
        guest.say(m.Returned(1), payload=b"2")
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "complete"
        assert [put.listing.status for put in house.store.listings.values()] == ["complete"]


@on_virtual_time
async def test_the_guest_of_one_that_runs_is_told_to_stop_and_another_begins() -> None:
    async with serving() as house:
        key = await house.create()
        first = await house.guest(1)
        first.say(m.Started(1, "charge", 1, 1, 0))
        await house.calls.restart(key, None, "")
        assert first.told("stop")
        first.say(m.Result(1, "charge", 1, 1, 10), payload=b"old")
        first.say(m.Closed(1))
        second = await house.guest(2)
        assert second.told("start")[0][4] == 0
        assert (await house.calls.get(key)).instance.steps == {}


@on_virtual_time
async def test_who_watches_sees_both_runs() -> None:
    async with serving() as house:
        key = await ended(house)
        await house.calls.restart(key, None, "")
        watched: list[Happening] = []

        async def watch() -> None:
            async for _, happening in house.calls.watch(key, ""):
                watched.append(happening)

        watching = asyncio.create_task(watch())
        guest = await house.guest(2)
        guest.say(m.Result(1, "reserve", 1, 1, 10), payload=b"1")
        guest.say(m.Returned(1), payload=b"1")
        guest.say(m.Closed(1))
        await watching
        assert [each.type for each in watched] == [
            *("created", "started", "stepCompleted", "stepFailed", "errored"),
            *("restarted", "started", "stepCompleted", "completed"),
        ]  # fmt: skip


@on_virtual_time
async def test_it_survives_its_owner() -> None:
    async with serving() as house:
        key = await ended(house)
        house.store.holds = lambda mutation: isinstance(mutation, PutListing)
        calling = asyncio.create_task(house.calls.restart(key, CHARGE, "r"))
        await until(lambda: house.store.held)
        calling.cancel()
        store = house.store
    store.held, store.holds = [], None
    async with serving(store, epoch=2) as house:
        await house.guest(1)
        assert (await house.calls.restart(key, CHARGE, "r")).instance.outcome is None


@on_virtual_time
async def test_what_is_gone_can_not_be_begun_again() -> None:
    async with serving() as house:
        key = await ended(house)
        nobody = InstanceKey(TENANT, FLOW, InstanceId("nobody"))
        with pytest.raises(NotFoundError):
            await house.calls.restart(nobody, None, "")
        house.routes.retired = frozenset({Digest("sha256-1")})
        with pytest.raises(NotFoundError, match="retired"):
            await house.calls.restart(key, None, "")
        assert await house.status(key) == "errored"


@on_virtual_time
async def test_it_counts_as_a_create_does() -> None:
    async with serving() as house:
        key = await ended(house)
        refusals = 0
        for _ in range(600):
            try:
                await house.calls.restart(key, None, "")
            except RateLimitedError:
                refusals += 1
        assert refusals
