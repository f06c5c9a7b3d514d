"""The API on gVisor, call by call: one server, a tenant a test."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import pytest

from stepwell.client import connect
from stepwell.errors import InvalidArgumentError, WrongStateError
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import tenants_pb2
from tests.e2e.api import BUNDLES, Api, reason_of
from tests.e2e.server import Server

_numbers = itertools.count(1)


@pytest.fixture
async def api(running: Server) -> AsyncIterator[Api]:
    async with Api(running.endpoint, running.token) as api:
        yield api


@pytest.fixture
async def tenant(api: Api) -> str:
    """A new one that has deployed bundles/behaviours."""
    tenant = f"tenant-{next(_numbers)}"
    await api.create_tenant(tenant)
    await api.deploy(tenant, BUNDLES / "behaviours")
    return tenant


@pytest.fixture
def workflow(tenant: str) -> str:
    return f"tenants/{tenant}/workflows/behaviours"


def seconds(instance: pb.Instance) -> float:
    """From its creation to its end."""
    return (instance.end_time.ToMilliseconds() - instance.create_time.ToMilliseconds()) / 1000


async def test_an_id_is_taken_until_its_instance_is_deleted(api: Api, workflow: str) -> None:
    first = await api.create(workflow, {"do": "nothing"}, id="one")
    again = pb.CreateInstanceRequest(parent=workflow, instance_id="one", params=b'{"do": "nothing"}')
    assert await api.refused(api.instances.CreateInstance, again) == (
        grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS",
    )  # fmt: skip
    await api.ended(first.name)
    await api.call(api.instances.DeleteInstance, pb.DeleteInstanceRequest(name=first.name))
    assert (await api.refused(api.instances.GetInstance, pb.GetInstanceRequest(name=first.name)))[1] == "NOT_FOUND"
    assert await api.listed(workflow) == []
    second = await api.create(workflow, {"do": "nothing", "turn": 2}, id="one")
    assert second.uid != first.uid
    assert json.loads((await api.ended(second.name)).output)["turn"] == 2


async def test_a_delete_ends_what_goes_on_and_whoever_watches_sees_that(api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "sleep", "ms": 60_000})
    await api.reached(instance.name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)
    async with aclosing(api.watch(instance.name)) as events:
        assert (await anext(events)).type == "created"
        await api.call(api.instances.DeleteInstance, pb.DeleteInstanceRequest(name=instance.name))
        assert [event.type async for event in events][-1] == "terminated"
    asked = pb.GetInstanceRequest(name=instance.name)
    assert await api.refused(api.instances.GetInstance, asked) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_a_pause_shifts_a_sleep_by_its_length(api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "sleep", "ms": 2_500})
    await api.reached(instance.name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)
    paused = await api.call(api.instances.PauseInstance, pb.PauseInstanceRequest(name=instance.name))
    assert paused.status == pb.INSTANCE_STATUS_PAUSED
    await asyncio.sleep(3)
    assert (await api.get(instance.name)).status == pb.INSTANCE_STATUS_PAUSED
    await api.call(api.instances.ResumeInstance, pb.ResumeInstanceRequest(name=instance.name))
    ended = await api.ended(instance.name)
    assert json.loads(ended.output) == "awake"
    assert seconds(ended) >= 5.5


async def test_a_pause_waits_for_the_step_that_runs_and_keeps_its_result(api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "slow", "s": 1.5})
    await one_step_runs(api, instance.name)
    pausing = await api.call(api.instances.PauseInstance, pb.PauseInstanceRequest(name=instance.name))
    assert pausing.status == pb.INSTANCE_STATUS_WAITING_FOR_PAUSE
    await api.reached(instance.name, lambda each: each.status == pb.INSTANCE_STATUS_PAUSED)
    assert [(step.step_name, step.output) for step in await api.steps(instance.name)] == [("slow", b'"slow is done"')]
    await api.call(api.instances.ResumeInstance, pb.ResumeInstanceRequest(name=instance.name))
    assert json.loads((await api.ended(instance.name)).output) == ["slow is done", "next is done"]
    assert [step.attempts for step in await api.steps(instance.name)] == [1, 1]


async def test_a_terminated_instance_stays_so_and_drops_the_result_of_its_step(api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "slow", "s": 0.5})
    await one_step_runs(api, instance.name)
    request = pb.TerminateInstanceRequest(name=instance.name, request_id="stop")
    assert (await api.call(api.instances.TerminateInstance, request)).status == pb.INSTANCE_STATUS_TERMINATED
    await asyncio.sleep(1)
    assert (await api.call(api.instances.TerminateInstance, request)).status == pb.INSTANCE_STATUS_TERMINATED
    assert pb.STEP_STATUS_COMPLETE not in {step.status for step in await api.steps(instance.name)}
    event = pb.SendEventRequest(name=instance.name, type="go")
    assert await api.refused(api.instances.SendEvent, event) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")


async def test_a_cancelled_instance_cleans_up_and_ends_as_it_says(api: Api, workflow: str) -> None:
    for how, status in (("returns", pb.INSTANCE_STATUS_COMPLETE), ("lets it out", pb.INSTANCE_STATUS_TERMINATED)):
        name = (await api.create(workflow, {"do": "cancelled", "then": how})).name
        await api.reached(name, lambda found: found.status == pb.INSTANCE_STATUS_WAITING)
        request = pb.CancelInstanceRequest(name=name, request_id="c", reason="enough")
        await api.call(api.instances.CancelInstance, request)
        ended = await api.ended(name)
        assert (ended.status, ended.cancel_reason, ended.HasField("cancel_time")) == (status, "enough", True)
        assert [(step.step_name, step.status) for step in await api.steps(name)] == [
            ("go", pb.STEP_STATUS_CANCELLED), ("undo", pb.STEP_STATUS_COMPLETE),
        ]  # fmt: skip
        await api.call(api.instances.CancelInstance, request)  # as if its answer had been lost
        request.request_id = "d"
        assert (await api.refused(api.instances.CancelInstance, request))[1] == "WRONG_STATE"


async def test_a_restart_runs_all_of_it_again_or_from_a_step_on(api: Api, workflow: str) -> None:
    name = (await api.create(workflow, {"do": "slow", "s": 0.1})).name
    before = await api.ended(name)
    first = await api.steps(name)
    again = pb.RestartInstanceRequest(name=name, request_id="again", step_name="next")
    assert (await api.call(api.instances.RestartInstance, again)).uid == before.uid
    assert (await api.ended(name)).output == before.output
    second = await api.steps(name)
    assert [step.step_name for step in second] == ["slow", "next"]
    assert second[0] == first[0]
    assert second[1].start_time.ToMilliseconds() > first[1].start_time.ToMilliseconds()
    await api.call(api.instances.RestartInstance, again)  # as if its answer had been lost: it is the same restart
    assert await api.steps(name) == second
    await api.call(api.instances.RestartInstance, pb.RestartInstanceRequest(name=name))
    assert (await api.ended(name)).output == before.output
    third = await api.steps(name)
    assert third[0].start_time.ToMilliseconds() > second[1].start_time.ToMilliseconds()
    unknown = pb.RestartInstanceRequest(name=name, step_name="nobody")
    assert await api.refused(api.instances.RestartInstance, unknown) == (
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT",
    )  # fmt: skip


async def test_all_instances_of_a_workflow_are_ended_at_once(api: Api, running: Server, workflow: str) -> None:
    tenant, name = workflow.split("/")[1], workflow.rpartition("/")[2]
    asleep = [(await api.create(workflow, {"do": "sleep", "ms": 60_000})).name for _ in range(23)]
    done = await api.ended((await api.create(workflow, {"do": "nothing"})).name)
    async with connect(running.endpoint, running.token) as client:
        assert await client.instances.terminate_all(tenant, name) == len(asleep)
        assert await client.instances.terminate_all(tenant, name) == 0
    ends = {**dict.fromkeys(asleep, pb.INSTANCE_STATUS_TERMINATED), done.name: pb.INSTANCE_STATUS_COMPLETE}
    await api.until_listed(workflow, ends)


async def one_step_runs(api: Api, name: str) -> None:
    while [step.status for step in await api.steps(name)] != [pb.STEP_STATUS_RUNNING]:
        await asyncio.sleep(0.02)


async def test_lists_are_newest_first_by_status_and_in_pages(api: Api, workflow: str) -> None:
    done = [await api.create(workflow, {"do": "nothing"}, id=f"done-{number}") for number in range(5)]
    for each in done:
        await api.ended(each.name)
    asleep = [await api.create(workflow, {"do": "sleep", "ms": 60_000}, id=f"asleep-{number}") for number in range(3)]
    for each in asleep:
        await api.reached(each.name, lambda instance: instance.status == pb.INSTANCE_STATUS_WAITING)
    statuses = dict.fromkeys((each.name for each in done), pb.INSTANCE_STATUS_COMPLETE)
    await api.until_listed(workflow, {**statuses, **{each.name: pb.INSTANCE_STATUS_WAITING for each in asleep}})
    everything = [each.name for each in (*done, *asleep)][::-1]
    assert [each.name for each in await api.listed(workflow)] == everything
    assert [each.name for each in await api.listed(workflow, page_size=3)] == everything
    complete = await api.listed(workflow, [pb.INSTANCE_STATUS_COMPLETE], page_size=2)
    assert [each.name for each in complete] == [each.name for each in done][::-1]
    waiting = await api.listed(workflow, [pb.INSTANCE_STATUS_WAITING, pb.INSTANCE_STATUS_PAUSED])
    assert [each.name for each in waiting] == [each.name for each in asleep][::-1]


async def test_a_watch_tells_history_then_what_happens_and_ends_with_the_instance(api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "events", "ms": 300})
    await api.reached(instance.name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)
    live = asyncio.Event()
    told: list[pb.InstanceEvent] = []

    async def follow() -> None:
        async for event in api.watch(instance.name):
            told.append(event)
            if event.type == "stepStarted" and event.step.step_name == "go":
                live.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        await live.wait()
        for number in range(2):
            await api.send_event(instance.name, "go", number)
    assert (told[0].type, told[-1].type) == ("created", "completed")
    assert len({event.cursor for event in told}) == len(told)
    assert [event async for event in api.watch(instance.name)] == told
    for at, event in enumerate(told):
        assert [each async for each in api.watch(instance.name, event.cursor)] == told[at + 1 :]


async def test_events_sent_early_are_kept_in_order_and_once_for_each_request_id(api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "events", "ms": 1_200})
    for payload in ("first", "second"):
        for _ in range(2):
            await api.send_event(instance.name, "go", payload, request_id=payload)
    await api.send_event(instance.name, "other", "not waited for")
    assert json.loads((await api.ended(instance.name)).output) == ["first", "second"]
    changed = pb.SendEventRequest(name=instance.name, type="go", payload=b'"another"', request_id="first")
    code, _ = await api.refused(api.instances.SendEvent, changed)
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


async def test_dead_events_are_told_and_sent_again_once(running: Server, api: Api, workflow: str) -> None:
    large = "x" * 50_000
    async with connect(running.endpoint, running.token) as client:
        calls = client.instances
        dead, heir = [await api.create(workflow, {"do": "events", "ms": 0}) for _ in range(2)]
        await calls.send_event(dead.name, "other", large, event_id="delivery-1")
        await calls.send_event(dead.name, "other", large, event_id="delivery-1")
        await calls.send_event(dead.name, "go", 1)
        with pytest.raises(InvalidArgumentError, match="delivery-1"):
            await calls.send_event(dead.name, "other", "another", event_id="delivery-1")
        await api.reached(dead.name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)
        await calls.terminate(dead.name)
        assert (await calls.get(dead.name)).dead_events == 1
        listed = (await calls.list_events(dead.name)).events
        assert [(each.number, each.type, each.state, each.step_name) for each in listed] == [
            (1, "other", pb.EVENT_STATE_DEAD, ""),
            (2, "go", pb.EVENT_STATE_TAKEN, "go"),
        ]
        assert (listed[0].payload_truncated, listed[1].payload) == (True, b"1")
        assert json.loads((await calls.get_event(dead.name, 1)).payload) == large
        for _ in range(2):
            await calls.resend_event(dead.name, 1, heir.name)
            await calls.resend_event(dead.name, 2, heir.name)
        ended = await api.create(workflow, {"do": "nothing"})
        await api.ended(ended.name)
        with pytest.raises(WrongStateError):
            await calls.resend_event(dead.name, 1, ended.name)
        await calls.send_event(heir.name, "go", 2)
        assert await calls.result(heir.name) == [1, 2]
        received = (await calls.list_events(heir.name)).events
        assert [each.event_id for each in received] == ["delivery-1", f"{dead.uid}.2", ""]


async def test_the_end_of_a_child_is_told_and_not_sent_again(running: Server, api: Api, tenant: str) -> None:
    await api.deploy(tenant, BUNDLES / "bound")
    workflow = f"tenants/{tenant}/workflows/family"
    parent, other = [await api.create(workflow, {"do": "steers", "id": id}) for id in ("named", "other")]
    for each in (parent, other):
        await api.ended(each.name)
    async with connect(running.endpoint, running.token) as client:
        calls = client.instances
        first = (await calls.list_events(parent.name)).events[0]
        assert (first.type, first.state, first.resend_id) == ("child/named", pb.EVENT_STATE_TAKEN, "")
        assert json.loads(first.payload) == {"status": "complete", "output": {"a": 1}}
        for to in (parent, other):
            with pytest.raises(InvalidArgumentError, match="the end of child/named"):
                await calls.resend_event(parent.name, first.number, to.name)
        with pytest.raises(InvalidArgumentError, match="not an event type"):
            await calls.send_event(other.name, first.type, first.payload)
        await calls.restart(parent.name)
        assert (await api.ended(parent.name)).status == pb.INSTANCE_STATUS_COMPLETE
        assert (await calls.list_events(parent.name)).events[0].state == pb.EVENT_STATE_TAKEN


async def test_a_broadcast_reaches_those_who_wait_and_each_of_them_once(
    running: Server, api: Api, tenant: str, workflow: str
) -> None:
    waiting = [await api.create(workflow, {"do": "events", "ms": 0}) for _ in range(3)]
    asleep = await api.create(workflow, {"do": "sleep", "ms": 60_000})
    for each in (*waiting, asleep):
        await api.reached(each.name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)
    page = pb.BroadcastEventRequest(parent=workflow, type="go", payload=b"1", event_id="round-1", page_size=2)
    first = await api.call(api.instances.BroadcastEvent, page)
    assert (first.sent + first.skipped, first.failed) == (2, 0)
    async with connect(running.endpoint, running.token) as client:
        assert (await client.instances.broadcast_event(tenant, "behaviours", "go", 1, event_id="round-1")).sent == 3
        for each in waiting:
            await api.reached(each.name, lambda each: each.status == pb.INSTANCE_STATUS_WAITING)
        again = await client.instances.broadcast_event(tenant, "behaviours", "go", 2)
        assert (again.sent, again.skipped, again.failed) == (3, 1, 0)
        for each in waiting:
            assert await client.instances.result(each.name) == [1, 2]
        over = await client.instances.broadcast_event(tenant, "behaviours", "go", 3)
        assert over.sent == 0  # the list may still have those that have ended
        assert (await client.instances.get(asleep.name)).buffered_events == 0


async def test_a_tenant_sees_nothing_of_another(running: Server, api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "nothing"}, id="mine")
    await api.create_tenant("stranger")
    request = tenants_pb2.CreateTokenRequest(parent="tenants/stranger")
    secret = (await api.call(api.tenants.CreateToken, request)).secret
    async with Api(running.endpoint, secret) as stranger:
        calls = stranger.instances
        there = [
            (calls.GetInstance, pb.GetInstanceRequest(name=instance.name)),
            (calls.ListSteps, pb.ListStepsRequest(parent=instance.name)),
            (calls.ListInstances, pb.ListInstancesRequest(parent=workflow)),
            (calls.CreateInstance, pb.CreateInstanceRequest(parent=workflow)),
            (calls.SendEvent, pb.SendEventRequest(name=instance.name, type="go")),
            (calls.TerminateInstance, pb.TerminateInstanceRequest(name=instance.name)),
        ]
        missing = pb.GetInstanceRequest(name=instance.name + "-not-there")
        answers = {await stranger.refused(method, asked) for method, asked in [*there, (calls.GetInstance, missing)]}
        assert answers == {(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            _ = [event async for event in stranger.watch(instance.name)]
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_without_a_token_nothing_is_answered(running: Server, workflow: str) -> None:
    async with Api(running.endpoint, "swk_nobody_nothing") as nobody:
        refused = await nobody.refused(nobody.instances.ListInstances, pb.ListInstancesRequest(parent=workflow))
    assert refused == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("params", "instance_id"),
    [
        (b"{nope", ""),
        (b'{"a": NaN}', ""),
        (b"\xff", ""),
        (b"1 2", ""),
        (b"null", "-dash"),
        (b"null", "latest"),
        (b"null", "x" * 101),
        (b"null", "a/b"),
    ],
    ids=lambda value: repr(value[:12]),
)
async def test_what_is_malformed_is_refused_as_such(api: Api, workflow: str, params: bytes, instance_id: str) -> None:
    request = pb.CreateInstanceRequest(parent=workflow, params=params, instance_id=instance_id)
    refused = await api.refused(api.instances.CreateInstance, request)
    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "params", [json.dumps("x" * (1024 * 1024 + 1)).encode(), b"[" * 5_000 + b"]" * 5_000], ids=["too large", "too deep"]
)
async def test_params_over_a_limit_are_refused(api: Api, workflow: str, params: bytes) -> None:
    request = pb.CreateInstanceRequest(parent=workflow, params=params)
    refused = await api.refused(api.instances.CreateInstance, request)
    assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")


async def test_prints_reach_the_instances_log_and_not_the_protocol(running: Server, api: Api, workflow: str) -> None:
    instance = await api.create(workflow, {"do": "prints"})
    assert json.loads((await api.ended(instance.name)).output) == "quiet"
    asked = pb.ListLogsRequest(parent=instance.name)
    wanted = {("noisy", 1, "said in a step"), ("noisy", 1, "said to stderr"), ("", 0, "said in run \x1b[31m")}
    async with asyncio.timeout(5):
        while {
            (e.step_name, e.count, e.text) for e in (await api.call(api.instances.ListLogs, asked)).entries
        } != wanted:
            await asyncio.sleep(0.05)
    log = running.log.read_text(errors="replace")
    assert "\x1b" not in log
    assert "\x00" not in log


async def test_an_import_error_names_file_and_line(api: Api, tenant: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.deploy(tenant, BUNDLES / "broken")
    assert reason_of(refused.value) == "BUNDLE_REFUSED"
    details = refused.value.details() or ""
    assert "deeper.py" in details
    assert "line 4" in details or "deeper.py:4" in details
    assert "nobody_defined_this" in details
    assert "/tmp" not in details
    missing = pb.CreateInstanceRequest(parent=f"tenants/{tenant}/workflows/broken")
    assert (await api.refused(api.instances.CreateInstance, missing))[1] == "NOT_FOUND"
