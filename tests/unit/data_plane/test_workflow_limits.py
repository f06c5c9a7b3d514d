"""What a workflow's version says of how many of its instances run at once, and of how many steps one may make."""

from __future__ import annotations

import asyncio

from data_plane.due import DueInstances
from data_plane.journal.store import InstanceKey
from data_plane.loads import LOADS_PER_TENANT_MAX, QUEUED_PER_TENANT_MAX
from data_plane.workflow_turns import Workflow, WorkflowTurns
from loader import messages as m
from stepwell.engine.records import Created, Migrated
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import FLOW, TENANT, House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until

ONE_AT_ONCE, OTHER = WorkflowLimits(concurrency=1), WorkflowId("other")


def key(name: str, workflow: WorkflowId = FLOW, tenant: TenantUid = TENANT) -> InstanceKey:
    return InstanceKey(tenant, workflow, InstanceId(name))


async def ends(house: House, number: int) -> None:
    guest = await house.guest(number)
    guest.say(m.Returned(1), m.Closed(1), payload=b"null")


async def stands_still(house: House, leases: int) -> None:
    """No further guest is asked for."""
    await asyncio.sleep(600)
    assert len(house.loader.leases) == leases


# -------------------------------------------------------------------- turns
@on_virtual_time
async def test_so_many_enter_and_the_others_in_their_order() -> None:
    turns, entered = WorkflowTurns(), list[str]()

    async def enter(name: str, most: int | None) -> None:
        if await turns.enter(key(name), most):
            entered.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name, most in (("a", 2), ("b", 2), ("c", 2), ("d", 2), ("free", None)):
            tasks.create_task(enter(name, most))
        await asyncio.sleep(0)
        assert entered == ["a", "b", "free"], "one whose version says nothing waits for nobody, and counts"
        assert not turns.is_long(Workflow(TENANT, FLOW)), "two wait, and three run"
        assert (turns.waiting_in_all, turns.waiting_of(TENANT), turns.waiting(Workflow(TENANT, FLOW))) == (2, 2, 2)
        assert await turns.enter(key("x", OTHER), 1), "another workflow's"
        turns.leave(key("a"))
        await asyncio.sleep(0)
        assert entered == ["a", "b", "free"], "two run still"
        turns.leave(key("free"))
        await asyncio.sleep(0)
        assert entered[3:] == ["c"]
        turns.withdraw(key("d"))
        turns.withdraw(key("d"))
    assert entered[3:] == ["c"]
    for name in ("b", "c"):
        turns.leave(key(name))
    turns.leave(key("x", OTHER))
    assert (turns._taken.total(), turns._lines, turns.waiting_in_all) == (0, {}, 0)


@on_virtual_time
async def test_one_that_is_cancelled_takes_no_place() -> None:
    turns = WorkflowTurns()
    assert await turns.enter(key("a"), 1)
    waiting = [asyncio.ensure_future(turns.enter(key(name), 1)) for name in ("b", "c")]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    turns.leave(key("a"))
    assert await waiting[1]
    third = asyncio.ensure_future(turns.enter(key("d"), 1))
    await asyncio.sleep(0)
    turns.leave(key("c"))
    third.cancel()
    await asyncio.wait([third])
    assert (turns._taken.total(), turns._lines) == (0, {})


def test_a_workflow_that_is_full_holds_up_no_other_that_is_due() -> None:
    full = {(TENANT, FLOW)}
    due = DueInstances(lambda _: True, lambda *workflow: workflow in full)
    for number in range(3):
        due.add(key(f"f{number}"))
        due.add(key(f"o{number}", OTHER))
    theirs = key("t0", FLOW, TenantUid("tenant-2"))
    due.add(theirs)
    assert [due.take() for _ in range(5)] == [key("o0", OTHER), theirs, key("o1", OTHER), key("o2", OTHER), None]
    full.clear()
    assert [due.take() for _ in range(4)] == [key("f0"), key("f1"), key("f2"), None]
    assert len(due) == 0


# -------------------------------------------------------------------- a node
@on_virtual_time
async def test_no_more_run_at_once_than_their_workflow_says_and_the_others_are_queued() -> None:
    async with serving() as house:
        house.routes.limits = ONE_AT_ONCE
        house.routes.workflows = frozenset({FLOW, OTHER})
        keys = [await house.create(name) for name in ("one", "two", "three")]
        await house.guest(1)
        await stands_still(house, 1)
        assert [await house.status(each) for each in keys] == ["running", "queued", "queued"]
        assert (house.node.activations, house.node.queued) == (1, 2)
        house.routes.limits = UNLIMITED
        await house.create("other", workflow=OTHER)
        await house.guest(2)
        await ends(house, 1)
        await house.guest(3)
        await stands_still(house, 3)
        assert [await house.status(each) for each in keys] == ["complete", "running", "queued"]
        await ends(house, 3)
        await ends(house, 4)
        await until(lambda: house.node.resident_count == 1)
        assert [await house.status(each) for each in keys] == ["complete"] * 3


@on_virtual_time
async def test_one_that_waits_for_time_does_not_count() -> None:
    async with serving() as house:
        house.routes.limits = ONE_AT_ONCE
        await house.create("one")
        await house.create("two")
        sleeping(await house.guest(1), 90_000)
        second = await house.guest(2)
        await asyncio.sleep(100)
        assert len(house.loader.leases) == 2, "it is due, and the other runs"
        second.say(m.Returned(1), m.Closed(1), payload=b"null")
        await house.guest(3)


@on_virtual_time
async def test_one_that_is_ended_while_it_waits_is_in_nobodys_way() -> None:
    async with serving() as house:
        house.routes.limits = ONE_AT_ONCE
        await house.create("one")
        waiting = await house.create("two")
        await house.create("three")
        await house.guest(1)
        await house.calls.terminate(waiting, "")
        await house.calls.delete(waiting, "")
        assert not house.store.rows[waiting], "and what is left of it goes at once"
        await ends(house, 1)
        await house.guest(2)
        assert await house.status(key("three")) == "running"


@on_virtual_time
async def test_one_that_is_paused_while_it_waits_runs_in_its_turn_once_it_is_resumed() -> None:
    async with serving() as house:
        house.routes.limits = ONE_AT_ONCE
        await house.create("one")
        waiting = await house.create("two")
        await house.guest(1)
        await house.calls.pause(waiting, "")
        await until(lambda: house.node.queued == 0)
        await house.calls.resume(waiting, "")
        await stands_still(house, 1)
        await ends(house, 1)
        await house.guest(2)
        assert await house.status(waiting) == "running"


@on_virtual_time
async def test_a_shard_that_is_lost_leaves_nobody_in_line() -> None:
    async with serving() as house:
        house.routes.limits = ONE_AT_ONCE
        await house.create("one")
        await house.create("two")
        await house.guest(1)
        house.node.drop(0)
        await until(lambda: house.node.queued == 0)
        assert house.node.resident_count == 0


@on_virtual_time
async def test_the_next_owner_holds_to_it() -> None:
    store = MemoryStore()
    async with serving(store) as house:
        house.routes.limits = ONE_AT_ONCE
        for name in ("one", "two"):
            await house.create(name)
        await house.guest(1)
    async with serving(store, epoch=2) as house:
        await house.guest(1)
        await stands_still(house, 1)
        await ends(house, 1)
        await house.guest(2)


@on_virtual_time
async def test_sleepers_of_a_full_workflow_stay_on_the_disk_and_hold_up_no_other() -> None:
    many = 3 * QUEUED_PER_TENANT_MAX
    async with serving() as house:
        house.routes.workflows = frozenset({FLOW, OTHER})
        house.routes.limits = ONE_AT_ONCE
        for number in range(many):
            await house.create(f"s{number}")
            sleeping(await house.guest(number + 1), 3_600_000)
            await house.asleep()
        await asyncio.sleep(3_500)
        house.routes.limits = UNLIMITED
        await house.create("other", workflow=OTHER)
        sleeping(await house.guest(many + 1), 3_600_000)
        await asyncio.sleep(200)
        assert house.node.resident_count <= LOADS_PER_TENANT_MAX + 2, "of all that are due"
        await house.guest(many + 2)
        await asyncio.sleep(3_600)
        await house.guest(many + 3)
        waking = house.loader.leases[many + 2].guest.told("start")[0]
        assert waking[3]["workflow"] == OTHER, "though the first one of the others runs still"


@on_virtual_time
async def test_a_guest_is_told_its_workflows_steps_and_a_migration_brings_the_new_versions() -> None:
    async with serving() as house:
        house.routes.limits = WorkflowLimits(steps=5)
        one = await house.create()
        guest = await house.guest(1)
        assert guest.told("start")[0][3]["stepsMax"] == 5
        created = house.records(one)[0]
        assert isinstance(created, Created)
        assert created.limits == WorkflowLimits(steps=5)
        house.routes.limits = WorkflowLimits(steps=9)
        migrating = house.tasks.create_task(house.calls.migrate(one, Digest("sha256-2"), ""))
        await until(lambda: len(house.loader.leases) == 2)
        replay = house.loader.leases[1].guest
        await until(lambda: replay.told("replay"))
        assert replay.told("replay")[0][3]["stepsMax"] == 9
        replay.say(m.Replayed(1, "it goes on"), m.Closed(1))
        await migrating
        (migrated,) = (record for record in house.records(one) if isinstance(record, Migrated))
        assert migrated.limits == WorkflowLimits(steps=9)
