"""How long what has ended is kept: a wake on a disk until then, and nothing in memory; afterwards nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from data_plane.calling import Seen
from data_plane.journal.store import DeleteInstance, InstanceKey, PutRow
from data_plane.logs.store import LogKey
from data_plane.payloads import INLINE_BYTES_MAX
from data_plane.shard_server import ShardServer
from loader import messages as m
from stepwell.engine import events
from stepwell.engine.records import Created, Deleting
from stepwell.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from stepwell.names import InstanceId
from stepwell.retention import Retention
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
KEPT = Retention(HOUR_MS, DAY_MS)


async def ended(house: House, name: str = "one", *, output: bytes = b"1", **more: Any) -> InstanceKey:
    """An instance that is complete, and that memory has forgotten."""
    number = len(house.loader.leases) + 1
    key = await house.create(name, **{"retention": KEPT, **more})
    guest = await house.guest(number)
    guest.say(m.Returned(1), payload=output)
    guest.say(m.Closed(1))
    await house.asleep()
    return key


def is_left(store: MemoryStore, key: InstanceKey) -> bool:
    """Anything of it but wakes, which lead to nothing."""
    return bool(store.rows.get(key) or [each for each in (*store.blobs, *store.listings) if each[0] == key])


@on_virtual_time
async def test_it_waits_as_a_wake_alone_and_is_gone_when_its_time_has_come() -> None:
    async with serving() as house:
        key = await ended(house, output=b'"' + b"x" * INLINE_BYTES_MAX + b'"')
        expires_at = house.node.clock() + HOUR_MS
        (wake,) = [wake for _, wake in house.store.wakes if wake.due > house.node.clock()]
        assert (wake.key, abs(wake.due - expires_at) < 1_000) == (key, True)
        assert (await house.calls.get(key)).instance.expires_at == wake.due
        await house.asleep()
        await asyncio.sleep(HOUR_MS / 1000 - 5)
        assert await house.status(key) == "complete"
        await house.asleep()
        await asyncio.sleep(10)
        assert not is_left(house.store, key)
        assert house.node.resident_count == 0
        with pytest.raises(NotFoundError):
            await house.calls.get(key)
        assert await house.create() == key


@on_virtual_time
async def test_what_it_printed_goes_with_it() -> None:
    async with serving() as house:
        key = await ended(house)
        uid = (await house.calls.get(key)).instance.uid
        forgotten: list[LogKey] = []
        real = house.node.forget_logs

        def forget(log: LogKey, then: Callable[[], None]) -> None:
            forgotten.append(log)
            real(log, then)

        house.server._removals._forget_logs = forget
        await house.asleep()
        await asyncio.sleep(HOUR_MS / 1000 + 5)
        assert forgotten == [LogKey(TENANT, uid)]


@on_virtual_time
async def test_one_that_somebody_holds_in_memory_expires_too() -> None:
    async with serving() as house:
        key = await ended(house)
        async with house.server.resident(key) as resident:
            await asyncio.sleep(HOUR_MS / 1000 + 5)
            assert isinstance(house.records(key)[-1], Deleting)
            with pytest.raises(NotFoundError):
                await house.calls.get(key)
            assert not [each for each in house.store.log if isinstance(each, DeleteInstance)], "under its user"
            assert resident.uses == 1
        await until(lambda: not is_left(house.store, key))


@on_virtual_time
async def test_the_next_owner_deletes_what_expired_while_nobody_was_there() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await ended(house)
    await asyncio.sleep(2 * HOUR_MS / 1000)
    async with serving(store, epoch=2) as house:
        await until(lambda: not is_left(store, key))
        await house.asleep()


@on_virtual_time
async def test_the_next_owner_knows_when_it_expires() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await ended(house)
        expires_at = (await house.calls.get(key)).instance.expires_at
    async with serving(store, epoch=2) as house:
        assert (await house.calls.get(key)).instance.expires_at == expires_at
        await house.asleep()
        await asyncio.sleep(HOUR_MS / 1000 + 5)
        assert not is_left(store, key)


@on_virtual_time
async def test_a_deletion_that_its_owner_did_not_live_to_finish_is_finished() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await ended(house)
        store.holds = lambda mutation: isinstance(mutation, DeleteInstance)
        await asyncio.sleep(HOUR_MS / 1000 + 5)
        assert store.held
        with pytest.raises(NotFoundError):
            await house.calls.get(key)
    store.held.clear()
    store.holds = None
    async with serving(store, epoch=2) as house:
        await until(lambda: not is_left(store, key))
        await house.asleep()


@on_virtual_time
async def test_an_owner_that_lost_the_shard_as_it_expired_deletes_nothing() -> None:
    async with serving() as house:
        key = await ended(house)
        house.store.holds = lambda mutation: isinstance(mutation, PutRow)
        await asyncio.sleep(HOUR_MS / 1000 + 5)
        house.owned = False
        house.store.let_go()
        await asyncio.sleep(60)
        assert is_left(house.store, key)
        assert not [each for each in house.store.log if isinstance(each, DeleteInstance)]


@on_virtual_time
async def test_a_restart_takes_it_back_and_its_next_end_counts() -> None:
    async with serving() as house:
        key = await ended(house)
        await asyncio.sleep(HOUR_MS / 2000)
        await house.calls.restart(key, None, "")
        guest = await house.guest(2)
        await asyncio.sleep(HOUR_MS / 1000)
        assert (await house.calls.get(key)).instance.expires_at is None
        error = m.GuestError("builtins", "ValueError", "boom")
        guest.say(m.Raised(1, error), m.Closed(1))
        await house.asleep()
        instance = (await house.calls.get(key)).instance
        assert instance.ended_at is not None
        assert instance.expires_at == instance.ended_at + DAY_MS
        await asyncio.sleep(2 * HOUR_MS / 1000)
        assert await house.status(key) == "errored"
        await asyncio.sleep(DAY_MS / 1000)
        assert not is_left(house.store, key)


@on_virtual_time
async def test_its_create_comes_before_its_workflow_and_a_later_version_changes_nothing() -> None:
    async with serving() as house:
        house.routes.retention = Retention(DAY_MS, DAY_MS)
        said = await house.create("said", retention=Retention(success_ms=HOUR_MS))
        unsaid = await house.create("unsaid")
        house.routes.retention = Retention(1, 1)
        for key, retention in ((said, Retention(HOUR_MS, DAY_MS)), (unsaid, Retention(DAY_MS, DAY_MS))):
            assert (await house.calls.get(key)).instance.retention == retention
            created = house.records(key)[0]
            assert isinstance(created, Created)
            assert created.retention == retention


@on_virtual_time
async def test_a_repeated_create_has_the_same_retention_or_says_nothing() -> None:
    async with serving() as house:
        key = await house.create(request_id="call-1", retention=Retention(success_ms=HOUR_MS))
        uid = (await house.calls.get(key)).instance.uid
        house.routes.retention = Retention(error_ms=1)
        for again in (Retention(success_ms=HOUR_MS), Retention()):
            await house.create(request_id="call-1", retention=again)
        with pytest.raises(InvalidArgumentError, match="another retention"):
            await house.create(request_id="call-1", retention=Retention(success_ms=DAY_MS))
        with pytest.raises(InvalidArgumentError, match="another retention"):
            await house.create(request_id="call-1", retention=Retention(error_ms=DAY_MS))
        assert (await house.calls.get(key)).instance.uid == uid


@on_virtual_time
async def test_a_create_that_finds_its_id_being_deleted_makes_another() -> None:
    async with serving() as house:
        key = await ended(house, request_id="call-1")
        before = (await house.calls.get(key)).instance.uid
        real = house.calls._seen

        async def seen(server: ShardServer, key: InstanceKey) -> Seen:
            async with server.resident(key) as resident:
                resident.step(events.DeleteRequested(house.node.clock(), ""))
                await server.flushed(resident)
            house.calls._seen = real  # type: ignore[method-assign]
            return await real(server, key)

        house.calls._seen = seen  # type: ignore[method-assign]
        await house.create(request_id="call-1")
        assert (await house.calls.get(key)).instance.uid != before
        with pytest.raises(AlreadyExistsError):
            await house.create(request_id="call-2")


@on_virtual_time
async def test_a_payload_that_went_while_it_was_asked_for_is_an_instance_that_is_not_there() -> None:
    async with serving() as house:
        params = b'"' + b"x" * INLINE_BYTES_MAX + b'"'
        seen = await house.calls.create(TENANT, FLOW, InstanceId("large"), params, "call-1")
        assert await house.calls.payload(seen.key, seen.instance, seen.instance.params) == params
        house.store.blobs.clear()
        with pytest.raises(NotFoundError, match="no instance 'large'"):
            await house.calls.payload(seen.key, seen.instance, seen.instance.params)


@on_virtual_time
async def test_many_that_expire_at_once_go_and_nobody_waits_for_them() -> None:
    async with serving() as house:
        keys = [await ended(house, f"i{number}") for number in range(40)]
        await asyncio.sleep(HOUR_MS / 1000)
        other = await house.create("other")
        await house.guest(41)
        await until(lambda: not any(is_left(house.store, key) for key in keys))
        assert await house.status(other) == "running"
        assert house.node.resident_count == 1
