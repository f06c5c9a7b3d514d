"""Statuses, and what callers may do to an instance."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.errors import NotFoundError, WrongStateError
from stepwell.v1 import instances_pb2 as pb
from tests.conformance.calls import ONE_SERVER, TENANT, Calls
from tests.conformance.conftest import BUNDLE
from tests.e2e.api import Api
from tests.e2e.server import Server
from tests.e2e.shell import Shell

pytestmark = ONE_SERVER


def test_the_statuses_are_cloudflares_but_unknown() -> None:
    values = pb.InstanceStatus.DESCRIPTOR.values
    names = {value.name.removeprefix("INSTANCE_STATUS_") for value in values}
    assert names - {"UNSPECIFIED"} == {
        "QUEUED", "RUNNING", "PAUSED", "ERRORED", "TERMINATED", "COMPLETE", "WAITING", "WAITING_FOR_PAUSE",
    }  # fmt: skip


async def test_an_instance_that_only_waits_is_waiting(calls: Calls) -> None:
    name = await calls.create("waiting.wait")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)


async def test_the_output_is_shown_once_it_is_complete(calls: Calls) -> None:
    name = await calls.create("steps.declared")
    done = await calls.until(name, pb.INSTANCE_STATUS_COMPLETE)
    assert done.output == b'"done"'


async def test_an_instance_without_params_gets_none(calls: Calls) -> None:
    made = await calls.instances.create(TENANT, "plain")
    assert await calls.instances.result(made.name) is None


async def test_pause_while_a_step_runs_waits_for_it_and_keeps_its_result(calls: Calls) -> None:
    name = await calls.create("waiting.holds", s=0.5)
    await calls.until_runs(name, "long")
    assert (await calls.instances.pause(name)).status == pb.INSTANCE_STATUS_WAITING_FOR_PAUSE
    await calls.until(name, pb.INSTANCE_STATUS_PAUSED)
    assert [each.step_name for each in await calls.steps(name)] == ["long"]
    await calls.instances.resume(name)
    assert await calls.instances.result(name) == ["long is done", "next is done"]


async def test_resume_of_a_running_instance_does_nothing(calls: Calls) -> None:
    name = await calls.create("waiting.holds", s=0.5)
    await calls.until_runs(name, "long")
    assert (await calls.instances.resume(name)).status == pb.INSTANCE_STATUS_RUNNING
    assert await calls.instances.result(name) == ["long is done", "next is done"]


async def test_a_paused_instance_keeps_events(calls: Calls) -> None:
    name = await calls.create("waiting.wait")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.pause(name)
    await calls.until(name, pb.INSTANCE_STATUS_PAUSED)
    await calls.instances.send_event(name, "approval", 1)
    assert (await calls.instances.get(name)).status == pb.INSTANCE_STATUS_PAUSED
    await calls.instances.resume(name)
    assert (await calls.instances.result(name))[0] == 1


async def test_terminate_ends_an_instance_for_good(calls: Calls) -> None:
    name = await calls.create("waiting.holds", s=60)
    await calls.until_runs(name, "long")
    assert (await calls.instances.terminate(name)).status == pb.INSTANCE_STATUS_TERMINATED
    with pytest.raises(WrongStateError):
        await calls.instances.resume(name)


@pytest.mark.parametrize("behaviour", ["steps.declared", "waiting.uncaught"], ids=["complete", "errored"])
async def test_terminate_of_what_has_ended_is_an_error(calls: Calls, behaviour: str) -> None:
    name = await calls.create(behaviour)
    async for _ in calls.instances.watch(name, status_only=True):
        pass
    with pytest.raises(WrongStateError):
        await calls.instances.terminate(name)


async def test_restart_begins_again_and_forgets_what_was_done(calls: Calls) -> None:
    name = await calls.create("steps.remembered")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    before = (await calls.steps(name))[0].output
    await calls.instances.restart(name)
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    assert (await calls.steps(name))[0].output != before


async def test_restart_of_a_complete_instance_runs_it_again(calls: Calls) -> None:
    name = await calls.create("steps.named")
    await calls.instances.result(name)
    await calls.instances.restart(name)
    assert await calls.instances.result(name) == ["a", "b"]


async def test_restart_from_a_step_keeps_what_came_before(calls: Calls) -> None:
    name = await calls.create("waiting.steps_then_wait")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.restart(name, step_name="second")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "go", "went")
    assert await calls.instances.result(name) == "went"
    completed = [event.step.step_name async for event in calls.instances.watch(name) if event.type == "stepCompleted"]
    assert completed == ["first", "second", "second", "go"]


async def test_terminate_with_rollback_runs_handlers_first(calls: Calls) -> None:
    name = await calls.create("waiting.undoable")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.terminate(name, rollback=True)
    ended = await calls.until(name, pb.INSTANCE_STATUS_TERMINATED)
    assert ended.rollback.outcome == pb.ROLLBACK_OUTCOME_COMPLETE


async def test_get_of_no_instance_is_an_error(calls: Calls) -> None:
    with pytest.raises(NotFoundError):
        await calls.instances.get(f"tenants/{TENANT}/workflows/steps/instances/nobody")


async def test_delete_frees_the_id(calls: Calls) -> None:
    name = await calls.create("steps.declared", id="again")
    await calls.instances.result(name)
    await calls.instances.delete(name)
    with pytest.raises(NotFoundError):
        await calls.instances.get(name)
    assert await calls.create("steps.declared", id="again") == name


async def test_a_list_is_of_what_was_created_within_those_times(calls: Calls, served: Server) -> None:
    ids = ["timed-1", "timed-2", "timed-3"]
    for id in ids:
        await calls.create("steps.declared", id=id)
        await asyncio.sleep(0.01)
    times = [
        (await calls.instances.get(f"tenants/{TENANT}/workflows/steps/instances/{id}")).create_time.ToJsonString()
        for id in ids
    ]

    async def listed(*words: str) -> list[str]:
        found = await Shell(served).document("instances", "list", "steps", "--tenant", TENANT, *words)
        return [each["id"] for each in found["items"] if each["id"] in ids]

    assert await listed("--date-start", times[1]) == ["timed-3", "timed-2"]
    assert await listed("--date-end", times[1]) == ["timed-2", "timed-1"]
    assert await listed("--date-start", times[1], "--date-end", times[1]) == ["timed-2"]
    assert await listed("--date-start", "2000-01-01", "--date-end", "2000-01-31") == []


async def test_a_workflow_is_deleted_with_its_instances(calls: Calls, served: Server) -> None:
    async with Api(served.endpoint, served.token) as api:
        await api.create_tenant("deletes")
        await api.deploy("deletes", BUNDLE, {"COLOUR": "red"})
    waits = (await calls.instances.create("deletes", "waiting", {"do": "wait"})).name
    done = (await calls.instances.create("deletes", "waiting", {"do": "wait"})).name
    other = (await calls.instances.create("deletes", "steps", {"do": "declared"})).name
    await calls.until(waits, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(done, "approval")
    await calls.until(done, pb.INSTANCE_STATUS_COMPLETE)
    shell = Shell(served)
    deleted = await shell.document("workflows", "delete", "waiting", "--tenant", "deletes")
    assert deleted == {"tenant": "deletes", "workflow": "waiting", "deleted": True, "instances": 2}
    for name in (waits, done):
        with pytest.raises(NotFoundError):
            await calls.instances.get(name)
    with pytest.raises(NotFoundError):
        await calls.instances.create("deletes", "waiting", {"do": "wait"})
    assert await calls.instances.result(other) == "done"
    assert (await shell.refused("workflows", "delete", "waiting", "--tenant", "deletes"))["reason"] == "NOT_FOUND"


async def test_delete_of_an_instance_that_goes_on_ends_it(calls: Calls) -> None:
    name = await calls.create("waiting.wait")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.delete(name)
    with pytest.raises(NotFoundError):
        await calls.instances.get(name)
