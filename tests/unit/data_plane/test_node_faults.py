"""Crashes, dead sandboxes, guests that break the protocol, stores that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from data_plane.journal.store import PutListing, PutRow, WriteUnknownError
from loader import messages as m
from stepwell.engine.records import Activated, StepCompleted
from stepwell.errors import (
    BundleRefusedError,
    UnavailableError,
)
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import FLOW, TENANT, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until

ALL: Any = {"limit": 10, "token": "", "statuses": frozenset()}


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
async def test_a_create_that_never_took_effect_is_in_no_list() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        store.holds = lambda mutation: isinstance(mutation, PutRow)
        creating = asyncio.create_task(house.create(request_id="r"))
        await until(lambda: bool(store.held))
        house.owned = False
        creating.cancel()
    store.held, store.holds = [], None
    async with serving(store, epoch=2) as house:
        await house.create(request_id="r")
        assert [listing.uid for listing in (await house.calls.list(TENANT, FLOW, **ALL)).listings] == ["minted-2-1"]


@on_virtual_time
async def test_a_create_is_answered_once_it_is_in_the_list() -> None:
    async with serving() as house:
        house.store.holds = lambda mutation: isinstance(mutation, PutListing)
        creating = asyncio.create_task(house.create())
        await until(lambda: bool(house.store.held))
        assert house.store.rows
        await asyncio.sleep(1)
        assert not creating.done()
        house.store.let_go()
        await creating
        assert len((await house.calls.list(TENANT, FLOW, **ALL)).listings) == 1


@on_virtual_time
async def test_a_create_of_which_nobody_knows_whether_it_is_listed_is_not_answered() -> None:
    async with serving() as house:
        house.store.holds = lambda mutation: isinstance(mutation, PutListing)
        creating = asyncio.create_task(house.create(request_id="r"))
        await until(lambda: bool(house.store.held))
        house.store.let_go(WriteUnknownError("timed out"))
        with pytest.raises(UnavailableError, match="the list of instances"):
            await creating
        await house.create(request_id="r")
        assert len((await house.calls.list(TENANT, FLOW, **ALL)).listings) == 1


@on_virtual_time
async def test_a_create_that_comes_again_is_answered_once_it_is_in_the_list() -> None:
    """The owner that made it died before it had it listed."""
    store = MemoryStore()
    async with serving(store) as house:
        store.holds = lambda mutation: isinstance(mutation, PutListing)
        creating = asyncio.create_task(house.create(request_id="r"))
        await until(lambda: bool(store.held))
        creating.cancel()
    store.held, store.holds = [], None
    async with serving(store, epoch=2) as house:
        await house.create(request_id="r")
        assert [listing.uid for listing in (await house.calls.list(TENANT, FLOW, **ALL)).listings] == ["minted-1-1"]


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


@on_virtual_time
async def test_a_sandbox_that_comes_after_the_node_began_to_drain_is_given_back() -> None:
    async with serving() as house:
        house.loader.held = asyncio.Event()
        await house.create()
        await until(lambda: house.loader.waiting > 0)
        await house.server.drain(1.0)
        house.loader.held.set()
        await until(lambda: bool(house.loader.leases) and house.loader.leases[0].released)
        assert not house.loader.leases[0].guest.told("start")
