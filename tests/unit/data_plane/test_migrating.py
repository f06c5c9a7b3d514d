"""A migration as a caller meets it: only what was replayed is migrated, nothing of the old version goes on, and lists
and the counts of who is pinned follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from data_plane import pinned
from data_plane.calling import Seen
from data_plane.journal.store import InstanceKey, PutListing, PutRow
from data_plane.migrating import MIGRATION_TRIES_MAX
from loader import messages as m
from stepwell.engine.records import Migrated
from stepwell.errors import ConflictError, InvalidArgumentError, NotFoundError, ReplayMismatchError, WrongStateError
from stepwell.names import Digest
from tests.unit.data_plane.fakes import FakeGuest
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until

OLD, NEW = Digest("sha256-1"), Digest("sha256-2")
FITS = m.Replayed(1, "run waits for sleep 'nap' (call 1)")


async def asleep(house: House) -> InstanceKey:
    key = await house.create()
    sleeping(await house.guest(1), 300_000)
    await house.asleep()
    return key


async def replaying(house: House, number: int) -> FakeGuest:
    """The guest of the replay `number`, from 1, once it was told."""

    def replays() -> list[FakeGuest]:
        guests = [lease.guest for lease in house.loader.leases]
        return [guest for guest, (_, is_replay) in zip(guests, house.loader.asked, strict=True) if is_replay]

    await until(lambda: len(replays()) >= number)
    guest = replays()[number - 1]
    await until(lambda: guest.told("replay"))
    return guest


def migrating(house: House, key: InstanceKey, request_id: str = "") -> asyncio.Task[Seen]:
    return house.tasks.create_task(house.calls.migrate(key, NEW, request_id))


async def caught(calling: asyncio.Task[Seen]) -> BaseException | None:
    """What it raises: a task of the house that raised would end all."""
    await asyncio.wait([calling])
    return calling.exception()


def apart(house: House, key: InstanceKey) -> asyncio.Task[Seen]:
    return asyncio.get_running_loop().create_task(house.calls.migrate(key, NEW, ""))


@on_virtual_time
async def test_one_that_sleeps_is_migrated_without_waking_and_all_who_ask_hear_the_new_version() -> None:
    async with serving() as house:
        key = await asleep(house)
        calling = migrating(house, key)
        guest = await replaying(house, 1)
        assert not calling.done()
        guest.say(FITS, m.Closed(1))
        assert (await calling).instance.digest == NEW
        (listing,) = [put.listing for put in house.store.listings.values()]
        assert listing.digest == NEW
        await house.asleep()
        assert [await pinned.listed(house.store, TENANT, each, [FLOW]) for each in (OLD, NEW)] == [0, 1]
        assert house.loader.asked == [(OLD, False), (NEW, True)], "no guest of it was woken"


@on_virtual_time
async def test_it_goes_on_with_the_entrypoint_of_the_new_version_when_its_time_has_come() -> None:
    async with serving() as house:
        key = await asleep(house)
        calling = migrating(house, key)
        (await replaying(house, 1)).say(FITS, m.Closed(1))
        await calling
        guest = await house.guest(3)
        assert house.loader.asked[-1] == (NEW, False)
        assert guest.told("start")[0][2] == "other:Flow"


@on_virtual_time
async def test_one_that_runs_is_told_to_stop_and_its_body_runs_again_on_the_new_version() -> None:
    async with serving() as house:
        key = await house.create()
        old = await house.guest(1)
        old.say(m.Started(1, "charge", 1, 1, 0))
        calling = migrating(house, key)
        (await replaying(house, 1)).say(m.Replayed(1, "run waits for step 'charge' (call 1)"), m.Closed(1))
        await calling
        assert old.told("stop")
        assert pinned.in_memory(house.node, TENANT, NEW).unended == 1
        assert pinned.in_memory(house.node, TENANT, OLD).unended == 0
        old.say(m.Result(1, "charge", 1, 1, 10), payload=b"old")
        old.say(m.Closed(1))
        new = await house.guest(3)
        assert house.loader.asked[-1] == (NEW, False)
        new.say(m.Result(1, "charge", 1, 1, 10), payload=b"new")
        await until(lambda: new.told("completion"))
        (step,) = (await house.calls.get(key)).instance.steps.values()
        assert step.output == b"new"


@on_virtual_time
async def test_a_difference_is_refused_with_its_place_and_leaves_all_as_it_is() -> None:
    async with serving() as house:
        key = await asleep(house)
        calling = apart(house, key)
        (await replaying(house, 1)).say(m.Mismatch(1, 0, "sleep 'nap' (call 1)", "run returned"), m.Closed(1))
        error = await caught(calling)
        assert isinstance(error, ReplayMismatchError)
        assert error.metadata == {"position": "0", "expected": "sleep 'nap' (call 1)", "got": "run returned"}
        calling = apart(house, key)
        (await replaying(house, 2)).kill("it used too much memory")
        error = await caught(calling)
        assert isinstance(error, WrongStateError)
        assert "too much memory" in error.message
        assert not any(isinstance(record, Migrated) for record in house.records(key))
        assert (await house.calls.get(key)).instance.digest == OLD


@on_virtual_time
async def test_what_was_recorded_meanwhile_is_replayed_too() -> None:
    async with serving() as house:
        key = await house.create()
        old = await house.guest(1)
        calling = migrating(house, key)
        first = await replaying(house, 1)
        old.say(m.Result(1, "charge", 1, 1, 10), payload=b"1")
        first.say(m.Replayed(1, "run waits for step 'charge' (call 1)"), m.Closed(1))
        second = await replaying(house, 2)
        await until(lambda: second.told("completion"))
        assert second.told("replay")[0][4] == 1
        assert (await house.calls.get(key)).instance.digest == OLD
        second.say(m.Replayed(1, "run returned"), m.Closed(1))
        assert (await calling).instance.digest == NEW


@on_virtual_time
async def test_one_that_does_not_stand_still_is_not_migrated() -> None:
    async with serving() as house:
        key = await house.create()
        old = await house.guest(1)
        calling = apart(house, key)
        for number in range(1, MIGRATION_TRIES_MAX + 1):
            guest = await replaying(house, number)
            old.say(m.Sleep(1, f"nap {number}", 1, 86_400_000, None))
            guest.say(m.Replayed(1, "run waits for a lot"), m.Closed(1))
        assert isinstance(await caught(calling), ConflictError)
        assert (await house.calls.get(key)).instance.digest == OLD


@on_virtual_time
async def test_a_call_that_comes_again_is_answered_without_a_replay() -> None:
    async with serving() as house:
        key = await asleep(house)
        calling = migrating(house, key, "r")
        (await replaying(house, 1)).say(FITS, m.Closed(1))
        await calling
        assert (await house.calls.migrate(key, NEW, "r")).instance.digest == NEW
        with pytest.raises(InvalidArgumentError):
            await house.calls.migrate(key, OLD, "r")
        assert len([1 for _, is_replay in house.loader.asked if is_replay]) == 1


@on_virtual_time
async def test_a_version_that_is_retired_while_it_is_replayed_gets_no_instance() -> None:
    async with serving() as house:
        key = await asleep(house)
        with pytest.raises(NotFoundError):
            await house.calls.migrate(key._replace(workflow=FLOW, instance=key.instance[:-1]), NEW, "")  # type: ignore[arg-type]
        calling = apart(house, key)
        guest = await replaying(house, 1)
        house.routes.retired = frozenset({NEW})
        guest.say(FITS, m.Closed(1))
        assert isinstance(await caught(calling), NotFoundError)
        assert (await house.calls.get(key)).instance.digest == OLD


@on_virtual_time
async def test_a_guest_of_the_old_version_that_comes_late_is_given_back() -> None:
    async with serving() as house:
        slow = house.loader.held = asyncio.Event()
        key = await house.create()
        await until(lambda: house.loader.waiting == 1)
        house.loader.held = None
        calling = migrating(house, key)
        (await replaying(house, 1)).say(m.Replayed(1, "run returned"), m.Closed(1))
        await calling
        slow.set()
        await until(lambda: house.loader.asked == [(NEW, True), (OLD, False), (NEW, False)])
        guest = house.loader.guest
        await until(lambda: guest.told("start"))
        old = house.loader.leases[1]
        assert (old.released, old.guest.frames) == (1, [])


async def cut(holds: Callable[[object], bool]) -> tuple[House, InstanceKey]:
    """A migration whose owner died when what `holds` says yes to was under way."""
    async with serving() as house:
        key = await asleep(house)
        calling = apart(house, key)
        guest = await replaying(house, 1)
        house.store.holds = holds
        guest.say(FITS, m.Closed(1))
        await until(lambda: house.store.held)
        calling.cancel()
    house.store.held, house.store.holds = [], None
    return house, key


@pytest.mark.parametrize(("held", "digest"), [(PutRow, OLD), (PutListing, NEW)])
@on_virtual_time
async def test_wherever_its_owner_dies_it_is_on_one_of_the_two_and_the_list_comes_to_say_so(
    held: type[object], digest: Digest
) -> None:
    before, key = await cut(lambda mutation: isinstance(mutation, held))
    async with serving(before.store, epoch=2) as house:
        assert (await house.calls.get(key)).instance.digest == digest
        await until(lambda: listed(house) == [digest])


def listed(house: House) -> list[Digest]:
    return [Digest(put.listing.digest) for put in house.store.listings.values()]
