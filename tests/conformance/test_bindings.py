"""Other workflows, from inside one."""

from __future__ import annotations

import pytest

from stepwell.errors import NotFoundError
from stepwell.v1 import instances_pb2 as pb
from tests.conformance.calls import ONE_SERVER, TENANT, Calls

pytestmark = ONE_SERVER


def named(workflow: str, id: str) -> str:
    return f"tenants/{TENANT}/workflows/{workflow}/instances/{id}"


async def test_a_binding_creates_an_instance_of_another_workflow(calls: Calls) -> None:
    assert await calls.output("parents.creates_in_a_step", child="bound-1") == "bound-1"
    assert await calls.instances.result(named("steps", "bound-1")) == "done"


async def test_a_binding_refuses_an_id_that_is_taken(calls: Calls) -> None:
    await calls.create("steps.declared", id="bound-2")
    assert await calls.output("parents.names_a_taken_id", child="bound-2") == "taken"


async def test_a_binding_does_not_find_what_is_not_there(calls: Calls) -> None:
    assert await calls.output("parents.gets_what_is_not_there") == "not found"


async def test_a_binding_sends_events(calls: Calls) -> None:
    child = await calls.output("parents.steers", sends=True)
    await calls.until(named("waiting", child), pb.INSTANCE_STATUS_COMPLETE)


async def test_a_binding_terminates(calls: Calls) -> None:
    child = await calls.output("parents.steers", sends=False)
    await calls.until(named("waiting", child), pb.INSTANCE_STATUS_TERMINATED)


async def test_a_binding_terminates_with_rollback(calls: Calls) -> None:
    child = await calls.output("parents.rolls_back")
    ended = await calls.until(named("waiting", child), pb.INSTANCE_STATUS_TERMINATED)
    assert ended.rollback.outcome == pb.ROLLBACK_OUTCOME_COMPLETE


async def test_a_binding_deletes(calls: Calls) -> None:
    with pytest.raises(NotFoundError):
        await calls.instances.get(named("waiting", await calls.output("parents.deletes")))


async def test_who_deletes_itself_goes_no_further(calls: Calls) -> None:
    name = await calls.create("parents.deletes_itself", id="deleted-by-itself")
    with pytest.raises(NotFoundError):
        await calls.instances.result(name)


async def test_a_binding_deletes_a_batch_and_tells_of_each(calls: Calls) -> None:
    deleted, errors = await calls.output("parents.deletes_a_batch")
    assert deleted == [{"id": "batch-1"}, {"id": "batch-2"}, {"id": "batch-1"}]
    assert [(error["id"], error["type"]) for error in errors] == [("no id", "InvalidArgumentError")]


async def test_a_binding_restarts_from_a_step(calls: Calls) -> None:
    name = named("waiting", await calls.output("parents.restarts_from_a_step"))
    assert await calls.instances.result(name) == "went"
    completed = [event.step.step_name async for event in calls.instances.watch(name) if event.type == "stepCompleted"]
    assert completed == ["first", "second", "second", "go"]


async def test_a_binding_says_how_long_an_instance_is_kept(calls: Calls) -> None:
    for child, days in zip(await calls.output("parents.keeps"), (3, 10), strict=True):
        found = await calls.until(named("steps", child), pb.INSTANCE_STATUS_COMPLETE)
        assert (found.expire_time.ToDatetime() - found.end_time.ToDatetime()).days == days


async def test_a_binding_tells_the_status(calls: Calls) -> None:
    assert await calls.output("parents.asks_for_its_status") == "terminated"


async def test_a_binding_creates_a_batch(calls: Calls) -> None:
    assert await calls.output("parents.batches", ids=["bound-3", "bound-4"]) == ["bound-3", "bound-4"]


async def test_a_childs_result_is_awaited(calls: Calls) -> None:
    assert await calls.output("parents.awaits") == "done"
