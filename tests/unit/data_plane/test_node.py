"""A node with a store in memory and guests that the test speaks for, on virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from itertools import count
from typing import Any, cast

import pytest

from data_plane.calls import InstanceCalls, RoutedVersion
from data_plane.engine.limits import EngineLimits
from data_plane.engine.records import Activated, Created, Record, Resumed, StepCompleted
from data_plane.history import Happening
from data_plane.journal.chain import chain
from data_plane.journal.store import InstanceKey
from data_plane.listing import status_of
from data_plane.node import Node, NodeSettings
from data_plane.resident import Resident
from data_plane.shard import Shard
from loader import messages as m
from stepwell.errors import (
    AlreadyExistsError,
    BundleRefusedError,
    InvalidArgumentError,
    NotFoundError,
    SandboxUnavailableError,
    UnavailableError,
    WrongStateError,
)
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId
from tests.unit.data_plane.fakes import FakeGuest, FakeLoader, MemoryStore
from tests.unit.data_plane.virtual_loop import VirtualLoop, run, until

TENANT, FLOW = TenantUid("tenant-1"), WorkflowId("flow")


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def sync(*args: Any, **kwargs: Any) -> None:
        run(lambda: test(*args, **kwargs))

    return sync


class Routes:
    async def routed(self, tenant: TenantUid, workflow: WorkflowId) -> RoutedVersion:
        if workflow != FLOW:
            raise NotFoundError("no route")
        return RoutedVersion(Digest("sha256-1"), "main:Flow")


class House:
    """One owner of the shard."""

    def __init__(self, store: MemoryStore, epoch: int, tasks: asyncio.TaskGroup, settings: NodeSettings) -> None:
        loop = cast(VirtualLoop, asyncio.get_running_loop())
        self.owned = True
        self.store = store
        self.loader = FakeLoader()
        self.node = Node(
            store,
            self.loader,
            Shard(0, epoch, lambda: self.owned),
            clock=loop.clock,
            limits=EngineLimits(),
            settings=settings,
        )
        minted = count(1)
        self.calls = InstanceCalls(self.node, Routes(), mint=lambda: f"minted-{epoch}-{next(minted)}")
        self.tasks = tasks

    async def create(self, name: str = "one", **more: Any) -> InstanceKey:
        seen = await self.calls.create(TENANT, FLOW, InstanceId(name), b"null", more.get("request_id", ""))
        return seen.key

    async def guest(self, number: int) -> FakeGuest:
        """The guest of the activation `number`, from 1, once it was told to start."""
        await until(lambda: len(self.loader.leases) >= number)
        guest = self.loader.leases[number - 1].guest
        await until(lambda: guest.told("start"))
        return guest

    async def status(self, key: InstanceKey) -> str:
        return status_of((await self.calls.get(key)).instance)

    def records(self, key: InstanceKey) -> list[Record]:
        rows = [put.row for _, put in sorted(self.store.rows.get(key, {}).items())]
        return [record for row in chain(rows) for record in row.records]

    async def asleep(self) -> None:
        await until(lambda: self.node.resident_count == 0)


@asynccontextmanager
async def serving(
    store: MemoryStore | None = None, epoch: int = 1, settings: NodeSettings | None = None
) -> AsyncIterator[House]:
    """A node that owns the shard until the block ends, and then dies as by SIGKILL."""
    async with asyncio.TaskGroup() as tasks:
        house = House(store or MemoryStore(), epoch, tasks, settings or NodeSettings())
        await house.node.start(tasks)
        try:
            yield house
        finally:
            house.owned = False
            house.node.close()


def sleeping(guest: FakeGuest, duration_ms: int, act: int = 1) -> None:
    guest.say(m.Sleep(act, "nap", 1, duration_ms, None), m.Idle(act, 0))
    guest.say(m.Closed(act))


# -------------------------------------------------------------------- a life
@on_virtual_time
async def test_created_activated_run_and_completed() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        ((_, _, entrypoint, about, recorded, opened),) = (frame[:6] for frame in guest.told("start"))
        assert (entrypoint, about["id"], recorded, opened) == ("main:Flow", "one", 0, [])
        guest.say(m.Result(1, "fetch", 1, 1, 5_000), payload=b'"page"')
        await until(lambda: guest.told("completion"))
        assert guest.told("completion")[0][6] == "held"
        guest.say(m.Returned(1), payload=b'"done"')
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "complete"
        assert house.loader.leases[0].released == 1
        listing = house.store.listings[key, (await house.calls.get(key)).instance.uid].listing
        assert listing.status == "complete"


@on_virtual_time
async def test_a_create_is_answered_only_when_it_is_durable() -> None:
    async with serving() as house:
        key = await house.create()
        assert isinstance(house.records(key)[0], Created)


@on_virtual_time
async def test_hibernation_forgets_the_instance_and_a_wake_brings_it_back() -> None:
    async with serving() as house:
        key = await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
        assert await house.status(key) == "waiting"
        guest = await house.guest(2)
        start = guest.told("start")[0]
        assert start[4:6] == [1, []]
        assert guest.told("completion")[0][6] == "fired"
        guest.say(m.Returned(1), payload=b"null")
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "complete"


@on_virtual_time
async def test_a_short_sleep_keeps_its_activation() -> None:
    async with serving() as house:
        await house.create()
        guest = await house.guest(1)
        guest.say(m.Sleep(1, "nap", 1, 200, None), m.Idle(1, 0))
        await until(lambda: guest.told("completion"))
        assert len(house.loader.leases) == 1


@on_virtual_time
async def test_a_retry_after_hibernation_starts_the_next_attempt() -> None:
    async with serving() as house:
        await house.create()
        guest = await house.guest(1)
        error = m.GuestError("builtins", "ValueError", "boom")
        guest.say(m.Failed(1, "fetch", 1, 1, 10, True, 5, 60_000, "constant", error), m.Idle(1, 0))
        guest.say(m.Closed(1))
        await house.asleep()
        guest = await house.guest(2)
        await until(lambda: guest.told("go"))
        assert guest.told("go") == [["go", 1, "fetch", 1, 2]]


@on_virtual_time
async def test_a_retry_that_waits_for_a_sandbox_leaves_the_node_its_time() -> None:
    async with serving() as house:
        await house.create()
        guest = await house.guest(1)
        error = m.GuestError("builtins", "ValueError", "boom")
        guest.say(m.Failed(1, "fetch", 1, 1, 10, True, 5, 60_000, "constant", error), m.Idle(1, 0))
        guest.say(m.Closed(1))
        await house.asleep()
        house.loader.refusals = [SandboxUnavailableError("none is free") for _ in range(5)]
        await house.guest(2)
        assert house.loader.refusals == []


@on_virtual_time
async def test_an_event_wakes_the_instance_that_waits_for_it() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Wait(1, "approval", 1, "approve", None), m.Idle(1, 0))
        guest.say(m.Closed(1))
        await house.asleep()
        await house.calls.send_event(key, "approve", b'"yes"', "")
        guest = await house.guest(2)
        assert [(frame[6], payload) for frame, payload in guest.frames if frame[0] == "completion"] == [
            ("event", b'"yes"')
        ]


# -------------------------------------------------------------------- calls
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
        guest.say(m.Quiet(1))
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
        with pytest.raises(WrongStateError):
            await house.calls.delete(key, "")
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


# -------------------------------------------------------------------- crashes
@on_virtual_time
async def test_a_new_epoch_goes_on_where_the_old_one_died() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Result(1, "fetch", 1, 1, 10), payload=b'"page"')
        await until(lambda: guest.told("completion"))
    async with serving(store, epoch=2) as house:
        guest = await house.guest(1)
        assert guest.told("start")[0][4] == 1
        assert guest.told("completion")[0][6] == "value"
        guest.say(m.Returned(1), payload=b"null")
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "complete"
        assert sum(isinstance(record, Activated) for record in house.records(key)) == 2


@on_virtual_time
async def test_a_sleeper_is_woken_by_a_later_epoch() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
    async with serving(store, epoch=2) as house:
        guest = await house.guest(1)
        assert guest.told("completion")[0][6] == "fired"


@on_virtual_time
async def test_a_sandbox_that_dies_is_replaced_and_the_third_death_ends_the_instance() -> None:
    async with serving() as house:
        key = await house.create()
        for number in (1, 2, 3):
            (await house.guest(number)).die("exit 137")
        await house.asleep()
        assert await house.status(key) == "errored"
        assert house.loader.alone == [False, False, True]
        assert [lease.released for lease in house.loader.leases] == [1, 1, 1]


@on_virtual_time
async def test_a_sandbox_that_dies_before_its_start_is_durable_leaves_nothing_behind() -> None:
    async with serving() as house:
        house.loader.doomed = 3
        key = await house.create()
        await until(lambda: len(house.loader.leases) == 3)
        await house.asleep()
        assert await house.status(key) == "errored"


@on_virtual_time
async def test_a_guest_that_breaks_the_protocol_loses_its_sandbox_and_no_other() -> None:
    async with serving() as house:
        await house.create("bad")
        await house.create("good")
        bad, good = await house.guest(1), await house.guest(2)
        bad.say(m.Result(1, "fetch", 1, 7, 10), payload=b"1")
        assert "attempt 7, 1 is next" in bad.killed[0]
        good.say(m.Result(1, "fetch", 1, 1, 10), payload=b"1")
        await until(lambda: good.told("completion"))
        assert good.killed == []
        await house.guest(3)


@on_virtual_time
async def test_a_bundle_that_does_not_load_pauses_its_instance_and_no_other() -> None:
    async with serving() as house:
        house.loader.refusals = [BundleRefusedError("main.py, line 3: no such module")]
        bad = await house.create("bad")
        await house.asleep()
        assert await house.status(bad) == "paused"
        paused = (await house.calls.get(bad)).instance.paused
        assert paused is not None
        assert paused.failure is not None
        assert "line 3" in paused.failure.message
        await house.create("good")
        await house.guest(1)


@on_virtual_time
async def test_a_fault_in_one_instances_work_takes_nothing_else_down() -> None:
    async with serving() as house:
        house.loader.refusals = [RuntimeError("a bug of ours") for _ in range(3)]
        began = asyncio.get_running_loop().time()
        await house.create("bad")
        await until(lambda: len(house.loader.refusals) < 3)
        house.loader.refusals, later = [], house.loader.refusals
        await house.create("good")
        good = await house.guest(1)
        assert good.told("start")[0][3]["id"] == "good"
        house.loader.refusals = later
        bad = await house.guest(2)
        assert bad.told("start")[0][3]["id"] == "bad"
        assert asyncio.get_running_loop().time() - began > 1.0, "it is not tried again and again without a pause"


@on_virtual_time
async def test_a_store_that_fails_to_read_once_loses_no_wake() -> None:
    async with serving() as house:
        await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
        house.store.reads_fail_next = 1
        await house.guest(2)


@on_virtual_time
async def test_wakes_that_could_not_be_read_once_are_read_again() -> None:
    async with serving() as house:
        await house.create()
        house.store.wake_reads_fail_next = 3
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
        await house.guest(2)
        assert house.store.wake_reads_fail_next == 0


@on_virtual_time
async def test_writes_whose_outcome_is_unknown_are_sent_again() -> None:
    async with serving() as house:
        house.store.unknown_next = 5
        key = await house.create()
        guest = await house.guest(1)
        house.store.unknown_next = 3
        guest.say(m.Result(1, "fetch", 1, 1, 10), payload=b"1")
        await until(lambda: guest.told("completion"))
        assert sum(isinstance(record, StepCompleted) for record in house.records(key)) == 1


# -------------------------------------------------------------------- one instance in memory, and only one
@on_virtual_time
async def test_callers_that_come_together_meet_one_resident() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
    async with serving(store, epoch=2) as house:
        await asyncio.gather(*(house.calls.send_event(key, "approve", b"1", f"call-{n}") for n in range(20)))
        assert (await house.calls.get(key)).instance.events_received == 20
        positions = [put.row.position for put in sorted(store.rows[key].values(), key=lambda put: put.row.position)]
        assert len(positions) == len(set(positions))


@on_virtual_time
async def test_a_caller_never_gets_an_instance_that_was_forgotten_while_it_waited() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
    async with serving(store, epoch=2) as house:
        node = house.node
        got: list[bool] = []

        async def first() -> None:
            async with node.resident(key):
                pass

        async def second() -> None:
            async with node.resident(key) as resident:
                got.append(node.peek(key) is resident)

        await asyncio.gather(first(), second(), second())
        assert got == [True, True]


@on_virtual_time
async def test_a_caller_that_gives_up_while_it_loads_takes_no_other_with_it() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
    async with serving(store, epoch=2) as house:
        impatient = asyncio.ensure_future(house.calls.send_event(key, "approve", b"1", ""))
        patient = asyncio.ensure_future(house.calls.send_event(key, "approve", b"2", ""))
        await asyncio.sleep(0)
        impatient.cancel()
        await patient
        assert (await house.calls.get(key)).instance.events_received == 1


@on_virtual_time
async def test_ten_thousand_sleepers_leave_no_resident() -> None:
    async with serving(settings=NodeSettings(activations_max=50)) as house:
        number = 10_000

        async def live(name: str) -> None:
            await house.create(name)

        for start in range(0, number, 500):
            await asyncio.gather(*(live(f"i-{n}") for n in range(start, start + 500)))
            served = 0
            while served < 500:
                await until(lambda: any(lease.guest.told("start") for lease in house.loader.leases))
                for lease in [lease for lease in house.loader.leases if lease.guest.told("start")]:
                    sleeping(lease.guest, 86_400_000)
                    house.loader.leases.remove(lease)
                    served += 1
        await house.asleep()
        gc.collect()
        left = [each for each in gc.get_objects() if isinstance(each, Resident)]
        assert left == []
        assert house.node._slots._value == 50


# -------------------------------------------------------------------- the end of a node
@on_virtual_time
async def test_a_draining_node_ends_activations_in_good_order_and_refuses_work() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        guest = await house.guest(1)
        await house.node.drain(5.0)
        assert guest.told("stop")
        with pytest.raises(UnavailableError):
            await house.create("two")
        with pytest.raises(UnavailableError):
            await house.calls.pause(key, "")
    async with serving(store, epoch=2) as house:
        await house.guest(1)
        assert (await house.calls.get(key)).instance.activations == 1, "a drain is no death"


@on_virtual_time
async def test_a_caller_is_told_when_the_shard_is_lost_under_its_call() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        calling = asyncio.ensure_future(house.calls.send_event(key, "approve", b"1", ""))
        await asyncio.sleep(0)
        house.owned = False
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(calling, 60)
        assert guest.killed == ["the shard moved to another node"]
        assert house.node.resident_count == 0


# -------------------------------------------------------------------- watch
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
