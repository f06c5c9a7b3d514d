"""What callers may do to instances, and what watchers see."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from data_plane.history import Happening
from data_plane.journal.store import DeleteInstance, InstanceKey, Mutation, Position, PutRow, Row
from data_plane.resident import DURABLE_ROWS_MAX
from loader import messages as m
from stepwell.engine import events
from stepwell.engine.records import Completed, Created, Paused, Resumed, StepCompleted, Terminated
from stepwell.engine.status import status_of
from stepwell.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    WrongStateError,
)
from stepwell.names import InstanceId
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until


@on_virtual_time
async def test_an_id_is_taken_once_and_a_repeated_create_is_the_same_create() -> None:
    async with serving() as house:
        key = await house.create(request_id="call-1")
        first = (await house.calls.get(key)).instance.uid
        await house.create(request_id="call-1")
        assert (await house.calls.get(key)).instance.uid == first
        with pytest.raises(AlreadyExistsError):
            await house.create(request_id="call-2")
        with pytest.raises(InvalidArgumentError):
            await house.calls.create(TENANT, FLOW, InstanceId("one"), b"1", "call-1")


@on_virtual_time
async def test_two_creates_of_one_id_at_once_make_one_instance() -> None:
    async with serving() as house:
        results = await asyncio.gather(house.create(), house.create(), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["AlreadyExistsError", "InstanceKey"]
        assert sum(isinstance(record, Created) for record in house.records(InstanceKey(TENANT, FLOW, "one"))) == 1  # type: ignore[arg-type]


@on_virtual_time
async def test_pause_waits_for_the_guest_and_resume_goes_on() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Started(1, "fetch", 1, 1, 0))
        await house.calls.pause(key, "")
        assert await house.status(key) == "waitingForPause"
        guest.say(m.Result(1, "fetch", 1, 1, 10), payload=b"1")
        guest.say(m.Quiet(1, 1))
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "paused"
        await house.calls.resume(key, "")
        assert (await house.guest(2)).told("completion")[0][6] == "value"
        assert sum(isinstance(record, Resumed) for record in house.records(key)) == 1


@on_virtual_time
async def test_terminate_stops_the_guest_and_drops_what_it_says() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        await house.calls.terminate(key, "")
        assert guest.told("stop")
        guest.say(m.Result(1, "fetch", 1, 1, 10), payload=b"1")
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "terminated"
        assert not any(isinstance(record, StepCompleted) for record in house.records(key))
        with pytest.raises(WrongStateError):
            await house.calls.send_event(key, "approve", b"1", "")


@on_virtual_time
async def test_a_delete_frees_the_id() -> None:
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        await house.calls.terminate(key, "")
        house.loader.guest.say(m.Closed(1))
        await house.calls.delete(key, "")
        with pytest.raises(NotFoundError):
            await house.calls.get(key)
        await house.create()
        await house.guest(2)
        assert await house.status(key) == "running"
        assert len([record for record in house.records(key) if isinstance(record, Created)]) == 1


@on_virtual_time
async def test_a_delete_ends_what_goes_on() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        await house.calls.delete(key, "")
        assert guest.told("stop")
        with pytest.raises(NotFoundError):
            await house.calls.get(key)
        guest.say(m.Closed(1))
        await until(lambda: house.records(key) == [])


@on_virtual_time
async def test_it_has_ended_before_it_is_deleted() -> None:
    async with serving() as house:
        key = await house.create()
        await house.guest(1)
        house.store.holds = rows_but_first
        deleting = asyncio.ensure_future(house.calls.delete(key, "call-1"))
        await until(lambda: bool(house.store.held))
        ((held, _),) = house.store.held
        assert isinstance(held, PutRow)
        assert [type(record) for record in held.row.records] == [Terminated]
        await unanswered_until_durable(house, deleting)
        await deleting


class SlowToDelete(MemoryStore):
    """What is to go stays for a second."""

    def write(self, mutation: Mutation, done: Callable[[Exception | None], None]) -> None:
        if isinstance(mutation, DeleteInstance):
            asyncio.get_running_loop().call_later(1, super().write, mutation, done)
        else:
            super().write(mutation, done)


@on_virtual_time
async def test_a_deleted_instance_is_in_no_list_once_the_delete_is_answered() -> None:
    async with serving(SlowToDelete()) as house:
        key = await house.create()
        await house.guest(1)
        await house.calls.terminate(key, "")
        assert house.store.listings
        await house.calls.delete(key, "")
        assert house.store.listings == {}


@on_virtual_time
async def test_what_does_not_exist_is_not_found_and_leaves_nothing() -> None:
    async with serving() as house:
        key = InstanceKey(TENANT, FLOW, InstanceId("nobody"))
        for call in (
            house.calls.get(key),
            house.calls.pause(key, ""),
            house.calls.resume(key, ""),
            house.calls.terminate(key, ""),
            house.calls.delete(key, ""),
            house.calls.send_event(key, "approve", b"1", ""),
        ):
            with pytest.raises(NotFoundError):
                await call
        assert house.node.resident_count == 0
        assert house.store.rows == {}


@on_virtual_time
async def test_a_large_payload_goes_round_as_a_blob() -> None:
    large = b'"' + b"x" * 100_000 + b'"'
    async with serving() as house:
        await house.create()
        guest = await house.guest(1)
        guest.say(m.Result(1, "fetch", 1, 1, 10), payload=large)
        await until(lambda: guest.told("completion"))
        guest.die("gone")
        guest = await house.guest(2)
        await until(lambda: guest.told("completion"))
        assert [payload for frame, payload in guest.frames if frame[0] == "completion"] == [large]
        assert len(house.store.blobs) == 1


class SlowToRead(MemoryStore):
    """A journal takes five seconds to read."""

    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        await asyncio.sleep(5)
        return await super().read_journal(key, since=since, rows_max=rows_max)


@on_virtual_time
async def test_a_pause_begins_when_the_instance_is_loaded_and_not_before() -> None:
    store = SlowToRead()
    async with serving(store) as house:
        key = await house.create()
        sleeping(await house.guest(1), 86_400_000)
        await house.asleep()
    async with serving(store, epoch=2) as house:
        asked_at = house.node.clock()
        await house.calls.pause(key, "")
        (paused,) = [record for record in house.records(key) if isinstance(record, Paused)]
        assert paused.at >= asked_at + 5_000


async def watched(house: House, key: InstanceKey, cursor: str = "", **more: Any) -> list[tuple[str, Happening]]:
    return [each async for each in house.calls.watch(key, cursor, **more)]


@on_virtual_time
async def test_a_watch_gives_the_history_then_what_happens_then_ends() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Result(1, "fetch", 1, 1, 10), payload=b"1")
        await until(lambda: guest.told("completion"))
        watching = asyncio.ensure_future(watched(house, key))
        await asyncio.sleep(1)
        assert not watching.done()
        guest.say(m.Result(1, "store", 1, 1, 10), payload=b"1")
        guest.say(m.Returned(1), payload=b"null")
        seen = await watching
        assert [happening.type for _, happening in seen] == [
            "created",
            "started",
            "stepCompleted",
            "stepCompleted",
            "completed",
        ]
        again = await watched(house, key, seen[2][0])
        assert [cursor for cursor, _ in again] == [cursor for cursor, _ in seen[3:]]
        status_only = await watched(house, key, status_only=True)
        assert [happening.type for _, happening in status_only] == ["created", "started", "completed"]
        assert house.node.watchers._by_key == {}


@on_virtual_time
async def test_a_watch_refuses_what_is_not_there_and_cursors_of_others() -> None:
    async with serving() as house:
        key = await house.create()
        for cursor in ("nonsense", "minted-9.x", "minted-9."):
            with pytest.raises(InvalidArgumentError):
                await watched(house, key, cursor)
        with pytest.raises(InvalidArgumentError):
            await watched(house, key, "another-uid.1")
        with pytest.raises(NotFoundError):
            await watched(house, key._replace(instance=InstanceId("nobody")))
        await house.guest(1)
        await house.calls.terminate(key, "")
        await house.calls.delete(key, "")
        with pytest.raises(NotFoundError):
            await watched(house, key)


@on_virtual_time
async def test_a_young_instance_in_memory_is_shown_without_reading_its_journal() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Result(1, "fetch", 1, 1, 0), payload=b"1")
        await until(lambda: guest.told("completion"))
        house.store.reads_fail_next = 1
        seen = await house.calls.get(key)
        assert [step.output for step in seen.instance.steps.values()] == [b"1"]
        for number in range(DURABLE_ROWS_MAX):
            guest.say(m.Result(1, f"step {number}", 1, 1, 0), payload=b"2")
            await until(lambda told=number + 2: len(guest.told("completion")) == told)  # type: ignore[misc]
        with pytest.raises(OSError, match="the disk is gone"):
            await house.calls.get(key)
        assert len((await house.calls.get(key)).instance.steps) == 1 + DURABLE_ROWS_MAX


@on_virtual_time
async def test_what_is_shown_from_memory_is_durable() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        await until(lambda: house.records(key)[-1:] != [])
        house.store.holds = lambda mutation: isinstance(mutation, PutRow)
        guest.say(m.Result(1, "fetch", 1, 1, 0), payload=b"1")
        await until(lambda: house.store.held)
        assert (await house.calls.get(key)).instance.steps == {}
        house.store.let_go()
        await until(lambda: guest.told("completion"))
        assert len((await house.calls.get(key)).instance.steps) == 1


@on_virtual_time
async def test_a_create_reads_nothing_for_an_id_that_was_just_minted() -> None:
    async with serving() as house:
        house.store.reads_fail_next = 1
        seen = await house.calls.create(TENANT, FLOW, None, b"null", "")
        assert len(house.records(seen.key)) == 1
        with pytest.raises(OSError, match="the disk is gone"):
            await house.calls.create(TENANT, FLOW, None, b"null", "call-1")


def rows_but_first(mutation: Mutation) -> bool:
    return isinstance(mutation, PutRow) and mutation.row.position.seq > 0


async def unanswered_until_durable(house: House, calling: asyncio.Future[Any]) -> None:
    """The call waits for what the store holds; then it ends, somehow."""
    await asyncio.sleep(5)
    assert not calling.done()
    house.store.let_go()
    await asyncio.wait([calling])


@on_virtual_time
async def test_a_repeated_create_waits_for_the_first_ones_row() -> None:
    async with serving() as house:
        house.store.holds = lambda mutation: isinstance(mutation, PutRow)
        first = asyncio.ensure_future(house.create(request_id="call-1"))
        await asyncio.sleep(1)
        repeated = asyncio.ensure_future(house.create(request_id="call-1"))
        await unanswered_until_durable(house, repeated)
        assert repeated.result() == await first


@on_virtual_time
async def test_a_create_of_a_taken_id_is_not_refused_before_that_is_durable() -> None:
    async with serving() as house:
        house.store.holds = lambda mutation: isinstance(mutation, PutRow)
        first = asyncio.ensure_future(house.create())
        await asyncio.sleep(1)
        second = asyncio.ensure_future(house.create())
        await unanswered_until_durable(house, second)
        assert isinstance(second.exception(), AlreadyExistsError)
        await first


@on_virtual_time
async def test_a_call_is_not_refused_by_an_end_that_is_not_durable() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        house.store.holds = rows_but_first
        guest.say(m.Returned(1), payload=b"1")
        sending = asyncio.ensure_future(house.calls.send_event(key, "approve", b"1", ""))
        await unanswered_until_durable(house, sending)
        assert isinstance(sending.exception(), WrongStateError)
        assert await house.status(key) == "complete"


@on_virtual_time
async def test_an_instance_is_not_said_to_be_paused_before_its_last_result_is_durable() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Started(1, "fetch", 1, 1, 0))
        await house.calls.pause(key, "")
        house.store.holds = rows_but_first
        guest.say(m.Result(1, "fetch", 1, 1, 10), payload=b"1")
        guest.say(m.Quiet(1, 1))
        guest.say(m.Closed(1))
        await until(lambda: house.store.held)
        asking = asyncio.ensure_future(house.calls.get(key))
        await unanswered_until_durable(house, asking)
        assert status_of(asking.result().instance) == "paused"
        assert len(asking.result().instance.steps) == 1


@on_virtual_time
async def test_a_deletion_is_not_denied_by_another_that_is_not_durable() -> None:
    async with serving() as house:
        key = await house.create()
        (await house.guest(1)).say(m.Returned(1), payload=b"1")
        await until(lambda: any(isinstance(record, Completed) for record in house.records(key)))
        house.store.holds = rows_but_first
        deleting = asyncio.ensure_future(house.calls.delete(key, "call-1"))
        await asyncio.sleep(1)
        again = asyncio.ensure_future(house.calls.delete(key, "call-2"))
        await unanswered_until_durable(house, again)
        assert isinstance(again.exception(), NotFoundError)
        await deleting


@on_virtual_time
async def test_a_call_that_loses_its_shard_as_it_writes_leaves_no_unheard_error() -> None:
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
    async with serving() as house:
        key = await house.create()
        async with house.server.resident(key) as resident:
            resident.step(events.EventSent(house.node.clock(), "approve", b"1", ""))
            house.owned = False
            with pytest.raises(UnavailableError):
                await house.server.flushed(resident)
        gc.collect()
        await asyncio.sleep(1)
    assert unheard == []
