"""What a node does for one instance after another: lives, residence, the end."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from data_plane.activation import STOP_GRACE_S
from data_plane.journal.store import PutRow
from data_plane.node import NodeSettings
from data_plane.quotas import TenantLimits
from data_plane.resident import Resident
from loader import messages as m
from stepwell.engine.records import Created
from stepwell.errors import (
    SandboxUnavailableError,
    UnavailableError,
)
from tests.unit.data_plane.fakes import KEY, MemoryStore
from tests.unit.data_plane.house import SHARD, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until


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
        assert guest.told("go") == [["go", 1, "do", "fetch", 1, 2]]


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
        node = house.server
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
    limits = TenantLimits(creates_a_second_max=10_000)
    async with serving(settings=NodeSettings(activations_max=50), tenant_limits=limits) as house:
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
        left = [each for each in gc.get_objects() if isinstance(each, Resident) and each.server is house.server]
        assert left == []
        assert house.node.guests._room._taken_in_all == 0


@on_virtual_time
async def test_a_draining_node_ends_activations_in_good_order_and_refuses_work() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        key = await house.create()
        guest = await house.guest(1)
        await house.server.drain(5.0)
        assert guest.told("stop")
        with pytest.raises(UnavailableError):
            await house.create("two")
        with pytest.raises(UnavailableError):
            await house.calls.pause(key, "")
    async with serving(store, epoch=2) as house:
        await house.guest(1)
        assert (await house.calls.get(key)).instance.activations == 1, "a drain is no death"


@on_virtual_time
async def test_a_drain_does_not_wait_for_what_left_memory_meanwhile() -> None:
    async with serving() as house:
        loop = asyncio.get_running_loop()
        slow = await house.create("slow")
        await house.guest(1)
        await house.create("quick")
        guest = await house.guest(2)
        house.store.holds = lambda mutation: isinstance(mutation, PutRow) and mutation.key == slow
        sleeping(guest, 90_000)
        loop.call_later(0.5, house.store.let_go)
        began = loop.time()
        await house.server.drain(10.0)
        assert loop.time() - began < 1.0


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
        assert house.node.resident_count == 0
        assert guest.told("stop"), "it ends in good order"


@on_virtual_time
async def test_a_shard_that_is_lost_takes_no_sandbox_from_instances_of_others() -> None:
    async with serving() as house:
        await house.create()
        guest = await house.guest(1)
        rows = len(house.records(KEY))
        house.owned = False
        house.node.drop(SHARD)
        guest.say(m.Returned(1), payload=b"1")
        guest.say(m.Closed(1))
        assert guest.closed == [1]
        assert guest.killed == []
        await asyncio.sleep(2 * STOP_GRACE_S)
        assert guest.killed == []
        assert len(house.records(KEY)) == rows, "what it said late was not recorded"


@on_virtual_time
async def test_an_activation_that_goes_on_after_its_shard_was_lost_ends_with_its_sandbox() -> None:
    async with serving() as house:
        await house.create()
        guest = await house.guest(1)
        house.owned = False
        house.node.drop(SHARD)
        await asyncio.sleep(2 * STOP_GRACE_S)
        assert guest.killed == ["an activation did not stop in time"]
        assert house.loader.leases[0].released == 1


@on_virtual_time
async def test_what_hibernates_leaves_memory_without_a_garbage_collection() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        resident = house.server.peek(key)
        assert resident is not None
        gone = weakref.ref(resident)
        del resident
        gc.disable()
        try:
            sleeping(guest, 86_400_000)
            await house.asleep()
            del guest
            house.loader.leases.clear()
            assert gone() is None
        finally:
            gc.enable()
