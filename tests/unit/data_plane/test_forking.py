"""A fork as a caller meets it: whole or not at all, sharing nothing with its origin, and only where it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from data_plane import forking
from data_plane.calling import Seen
from data_plane.forking import Fork
from data_plane.history import Happening
from data_plane.journal.store import InstanceKey, PutListing, PutRow
from data_plane.lane import APPEND_RECORDS_MAX
from data_plane.payloads import INLINE_BYTES_MAX
from data_plane.quotas import TenantLimits
from loader import messages as m
from stepwell.engine.records import BlobRef, Created, StepKey
from stepwell.engine.schedule import Schedule
from stepwell.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    RateLimitedError,
    ReplayMismatchError,
)
from stepwell.names import Digest, InstanceId
from tests.unit.data_plane.fakes import FakeGuest
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

OLD, NEW = Digest("sha256-1"), Digest("sha256-2")
RESERVE, CHARGE = StepKey("do", "reserve", 1), StepKey("do", "charge", 1)
LARGE = b'"' + b"x" * (INLINE_BYTES_MAX + 1) + b'"'
BOOM = m.GuestError("builtins", "ValueError", "boom")


async def failed(house: House, reserved: bytes = b"1", **more: Any) -> InstanceKey:
    """An instance with two steps, the second of which failed, and failed with it."""
    key = await house.create(**more)
    guest = await house.guest(1)
    guest.say(m.Result(1, "reserve", 1, 1, 10), payload=reserved)
    await until(lambda: guest.told("completion"))
    guest.say(m.Failed(1, "charge", 1, 1, 10, False, 5, 10_000, "constant", BOOM))
    await until(lambda: len(guest.told("completion")) == 2)
    guest.say(m.Raised(1, BOOM), m.Closed(1))
    await house.asleep()
    return key


def asked(origin: InstanceKey, **more: Any) -> Fork:
    return replace(Fork(origin, CHARGE, InstanceId("two"), None, ""), **more)


def forking_apart(house: House, fork: Fork) -> asyncio.Task[Seen]:
    """By a task whose error is the test's to look at."""
    return asyncio.get_running_loop().create_task(house.calls.fork(fork))


async def replaying(house: House) -> FakeGuest:
    """The guest of the first replay, once it was told."""

    def replays() -> list[FakeGuest]:
        guests = [lease.guest for lease in house.loader.leases]
        return [guest for guest, (_, is_replay) in zip(guests, house.loader.asked, strict=True) if is_replay]

    await until(lambda: replays() and replays()[0].told("replay"))
    return replays()[0]


@on_virtual_time
async def test_it_goes_on_from_the_step_and_its_origin_stays_as_it_is() -> None:
    async with serving() as house:
        key = await failed(house)
        before = house.records(key)
        seen = await house.calls.fork(asked(key))
        assert (seen.key.instance, [*seen.instance.steps]) == ("two", [RESERVE])
        origin = seen.instance.origin
        assert origin is not None
        assert (origin.instance, origin.uid, origin.step) == ("one", (await house.calls.get(key)).instance.uid, CHARGE)
        assert {put.listing.status for put in house.store.listings.values()} == {"errored", "queued"}
        guest = await house.guest(2)
        about, recorded = guest.told("start")[0][3], guest.told("start")[0][4]
        assert (about["id"], about["uid"], recorded) == ("two", seen.instance.uid, 1)
        assert about["created"] == (await house.calls.get(key)).instance.created_at, "its `run` can't tell"
        guest.say(m.Result(1, "charge", 1, 1, 10), payload=b"2")
        guest.say(m.Returned(1), payload=b"2")
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(seen.key) == "complete"
        assert (await house.status(key), house.records(key)) == ("errored", before)


@on_virtual_time
async def test_its_run_is_told_of_the_schedule_that_created_its_origin() -> None:
    async with serving() as house:
        key = await failed(house, schedule=Schedule("0 9 * * *", 7))
        await house.calls.fork(asked(key))
        assert (await house.guest(2)).told("start")[0][3]["schedule"] == ["0 9 * * *", 7]


@pytest.mark.parametrize("deleted_first", ["origin", "fork"])
@on_virtual_time
async def test_what_is_kept_apart_is_its_own_and_stays_when_the_other_goes(deleted_first: str) -> None:
    async with serving() as house:
        key = await failed(house, LARGE)
        seen = await house.calls.fork(asked(key))
        guest = await house.guest(2)
        guest.say(m.Raised(1, BOOM), m.Closed(1))
        await house.asleep()
        keys = [key, seen.key] if deleted_first == "origin" else [seen.key, key]
        blobs = [(await house.calls.get(each)).instance.steps[RESERVE].output for each in keys]
        assert all(isinstance(blob, BlobRef) for blob in blobs)
        assert blobs[0] != blobs[1]
        await house.calls.delete(keys[0], "")
        left = (await house.calls.get(keys[1])).instance
        output = left.steps[RESERVE].output
        assert output is not None
        assert await house.calls.payload(keys[1], left, output) == LARGE


@on_virtual_time
async def test_however_much_it_is_it_is_one_row() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        for number in range(2 * APPEND_RECORDS_MAX):
            guest.say(m.Result(1, "many", number + 1, 1, 10), payload=b"1")
        guest.say(m.Result(1, "charge", 1, 1, 10), payload=b"1")
        await until(lambda: len(guest.told("completion")) == 2 * APPEND_RECORDS_MAX + 1)
        seen = await house.calls.fork(asked(key))
        first = min(house.store.rows[seen.key].items())[1].row
        created = next(record for record in first.records if isinstance(record, Created))
        assert created.origin is not None
        assert len(created.origin.records) == 2 * APPEND_RECORDS_MAX
        assert await house.status(key) == "running", "one that runs is forked, and runs on"


@on_virtual_time
async def test_a_call_that_comes_again_forks_once_and_its_id_names_no_other() -> None:
    async with serving() as house:
        key = await failed(house)
        made = [(await house.calls.fork(asked(key, instance=None, request_id="r"))) for _ in range(2)]
        assert made[0].key == made[1].key
        assert made[0].instance.uid == made[1].instance.uid
        for other in (asked(key, instance=None, request_id="r", step=RESERVE),
                      asked(key, instance=None, request_id="r", digest=OLD)):  # fmt: skip
            with pytest.raises(InvalidArgumentError, match="another call"):
                await house.calls.fork(other)
        with pytest.raises(InvalidArgumentError):
            await house.calls.create(TENANT, FLOW, made[0].key.instance, b"null", "r")
        await house.calls.delete(key, "")
        assert (await house.calls.fork(asked(key, instance=None, request_id="r"))).key == made[0].key
        assert len(house.store.listings) == 1


@on_virtual_time
async def test_an_id_that_is_taken_is_refused_and_so_is_what_is_not_there() -> None:
    async with serving() as house:
        key = await failed(house)
        await house.create("two", request_id="c")
        for request_id in ("", "f"):
            with pytest.raises(AlreadyExistsError, match="'two'"):
                await house.calls.fork(asked(key, request_id=request_id))
        with pytest.raises(InvalidArgumentError, match="another call"):
            await house.calls.fork(asked(key, request_id="c"))
        with pytest.raises(AlreadyExistsError, match="'one'"):
            await house.calls.fork(asked(key, instance=InstanceId("one")))
        with pytest.raises(NotFoundError):
            await house.calls.fork(asked(key._replace(instance=InstanceId("nobody")), instance=InstanceId("three")))
        with pytest.raises(InvalidArgumentError, match="no step 'ship'"):
            await house.calls.fork(asked(key, step=StepKey("do", "ship", 1), instance=InstanceId("three")))
        house.routes.retired = frozenset({OLD})
        with pytest.raises(NotFoundError, match="retired"):
            await house.calls.fork(asked(key, instance=InstanceId("three")))
        with pytest.raises(NotFoundError):
            await house.calls.get(key._replace(instance=InstanceId("three")))


@on_virtual_time
async def test_to_another_version_it_is_forked_once_a_replay_of_the_copy_matches() -> None:
    async with serving() as house:
        key = await failed(house)
        calling = house.tasks.create_task(house.calls.fork(asked(key, digest=NEW)))
        guest = await replaying(house)
        _, _, entrypoint, about, recorded, *_ = guest.told("replay")[0]
        assert (entrypoint, about["id"], recorded) == ("other:Flow", "two", 1), "not the failure, which is left out"
        guest.say(m.Replayed(1, "run waits for step 'charge' (call 1)"), m.Closed(1))
        assert (await calling).instance.digest == NEW
        assert (await house.calls.get(key)).instance.digest == OLD
        forked = await house.guest(3)
        assert forked.told("start")[0][2] == "other:Flow"


@on_virtual_time
async def test_where_the_replay_differs_or_the_version_is_retired_meanwhile_there_is_no_fork() -> None:
    async with serving() as house:
        key = await failed(house)
        calling = forking_apart(house, asked(key, digest=NEW))
        (await replaying(house)).say(m.Mismatch(1, 0, "step 'reserve'", "run returned"), m.Closed(1))
        await asyncio.wait([calling])
        assert isinstance(calling.exception(), ReplayMismatchError)
        house.loader.leases.clear()
        house.loader.asked.clear()
        calling = forking_apart(house, asked(key, digest=NEW))
        guest = await replaying(house)
        house.routes.retired = frozenset({NEW})
        guest.say(m.Replayed(1, "run waits for step 'charge' (call 1)"), m.Closed(1))
        await asyncio.wait([calling])
        assert isinstance(calling.exception(), NotFoundError)
        assert [put.listing.key for put in house.store.listings.values()] == [key]


@on_virtual_time
async def test_to_its_own_version_by_name_nothing_is_replayed() -> None:
    async with serving() as house:
        key = await failed(house)
        house.routes.other_entrypoint = "main:Flow"
        assert (await house.calls.fork(asked(key, digest=OLD))).instance.digest == OLD
        assert (OLD, True) not in house.loader.asked


async def cut_off(holds: Callable[[object], bool], reserved: bytes) -> tuple[House, InstanceKey]:
    """A fork whose owner died when what `holds` says yes to was under way."""
    async with serving() as house:
        key = await failed(house, reserved)
        house.store.holds = holds
        calling = forking_apart(house, asked(key, request_id="r"))
        await until(lambda: house.store.held)
        calling.cancel()
    house.store.held, house.store.holds = [], None
    return house, key


@pytest.mark.parametrize("reserved", [b"1", LARGE])
@pytest.mark.parametrize("held", [PutRow, PutListing])
@on_virtual_time
async def test_wherever_its_owner_dies_there_is_a_whole_fork_or_none(held: type[object], reserved: bytes) -> None:
    before, key = await cut_off(lambda mutation: isinstance(mutation, held), reserved)
    async with serving(before.store, epoch=2) as house:
        two = key._replace(instance=InstanceId("two"))
        if held is PutRow:
            with pytest.raises(NotFoundError):
                await house.calls.get(two)
        else:
            instance = (await house.calls.get(two)).instance
            assert [*instance.steps] == [RESERVE]
            await house.guest(1)
        seen = await house.calls.fork(asked(key, request_id="r"))
        output = seen.instance.steps[RESERVE].output
        assert output is not None
        assert await house.calls.payload(two, seen.instance, output) == reserved


@on_virtual_time
async def test_too_much_is_refused_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "FORK_BLOB_BYTES_MAX", len(LARGE) - 1)
    async with serving() as house:
        key = await failed(house, LARGE)
        with pytest.raises(LimitExceededError, match="fork_blob_bytes_max") as caught:
            await house.calls.fork(asked(key))
        assert caught.value.metadata == {
            "limit": "fork_blob_bytes_max", "value": str(len(LARGE) - 1), "seen": str(len(LARGE))
        }  # fmt: skip
        assert (await house.calls.fork(asked(key, step=RESERVE))).instance.steps == {}, "an earlier step"


@on_virtual_time
async def test_names_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Result(1, "ä" * 256, 1, 1, 10), m.Result(1, "charge", 1, 1, 10), payload=b"1")
        await until(lambda: len(guest.told("completion")) == 2)
        monkeypatch.setattr(forking, "FORK_ROW_BYTES_MAX", 512)
        with pytest.raises(LimitExceededError, match="fork_row_bytes_max"):
            await house.calls.fork(asked(key))
        monkeypatch.setattr(forking, "FORK_ROW_BYTES_MAX", 1024)
        await house.calls.fork(asked(key))


@on_virtual_time
async def test_it_counts_as_a_create() -> None:
    async with serving(tenant_limits=TenantLimits(creates_a_second_max=2)) as house:
        key = await failed(house)
        await asyncio.sleep(1)
        for id in ("two", "three"):
            await house.calls.fork(asked(key, instance=InstanceId(id)))
        with pytest.raises(RateLimitedError):
            await house.calls.fork(asked(key, instance=InstanceId("four")))


@on_virtual_time
async def test_it_lies_in_its_origins_shard() -> None:
    async with serving() as house:
        key = await failed(house)
        house.node.shard_of = lambda each: sum(each.instance.encode()) % 8 if each != key else 0
        made = await house.calls.fork(asked(key, instance=None, request_id="r"))
        assert house.node.shard_of(made.key) == 0
        away = next(id for id in "abcdefgh" if house.node.shard_of(key._replace(instance=InstanceId(id))) != 0)
        with pytest.raises(InvalidArgumentError, match="of another") as caught:
            await house.calls.fork(asked(key, instance=InstanceId(away)))
        assert caught.value.metadata["field"] == "instance_id"


@on_virtual_time
async def test_who_watches_sees_what_is_new() -> None:
    async with serving() as house:
        key = await failed(house, LARGE)
        seen = await house.calls.fork(asked(key))
        watched: list[Happening] = []

        async def watch() -> None:
            async for _, happening in house.calls.watch(seen.key, ""):
                watched.append(happening)

        watching = asyncio.create_task(watch())
        guest = await house.guest(2)
        guest.say(m.Result(1, "charge", 1, 1, 10), payload=b"2")
        guest.say(m.Returned(1), payload=b"2")
        guest.say(m.Closed(1))
        await watching
        assert [each.type for each in watched] == ["created", "started", "stepCompleted", "completed"]


@on_virtual_time
async def test_one_tenants_forks_are_made_one_at_a_time() -> None:
    async with serving() as house:
        key = await failed(house)
        first = forking_apart(house, asked(key, digest=NEW))
        guest = await replaying(house)
        second = forking_apart(house, asked(key, instance=InstanceId("three")))
        await asyncio.sleep(1)
        assert not second.done()
        guest.say(m.Replayed(1, "run waits for step 'charge' (call 1)"), m.Closed(1))
        assert {(await first).key.instance, (await second).key.instance} == {"two", "three"}
