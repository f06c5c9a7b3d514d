"""What is well formed and can't be done as things stand: what is unknown, taken, ended, said twice, or cut off."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from loader.bundles import staging
from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import tenants_pb2 as t
from stepwell.v1 import workflows_pb2 as w
from tests.api.methods import METHODS, Field, Method
from tests.api.requests import IN_INSTANCE, IN_WORKFLOW, NAMES, RUNNING, WORKFLOW, meaning, request
from tests.api.world import ENDED, PATIENCE_S, World, deploy

Part = w.DeployVersionRequest

UNKNOWN = {
    "workflow": "tenants/acme/workflows/unknown",
    "route": "tenants/acme/workflows/unknown/route",
    "instance": "tenants/acme/workflows/order/instances/unknown",
    "version": "tenants/acme/versions/sha256-" + "0" * 64,
    "token": "tenants/acme/tokens/" + "0" * 16,
}

EMPTY_LISTS = frozenset(
    {
        ("InstanceService.ListInstances", "parent"),
        ("InstanceService.BatchDeleteInstances", "parent"),
        ("InstanceService.BroadcastEvent", "parent"),
    }
)
"""What has no instances has none, whether or not it was ever deployed."""


NAMING = [(method, field) for method in METHODS for field in method.fields if meaning(field) in NAMES]


@pytest.mark.parametrize("method", dict.fromkeys(method for method, _ in NAMING), ids=lambda method: method.name)
def test_an_unknown_tenant_is_not_found(world: World, method: Method) -> None:
    asked = request(method, {**world.ours.values, "tenant": "nobody"})
    assert world.server.refused(method.path, asked, world.server.operator).reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "field"),
    [
        pytest.param(method, field, id=f"{method.name}-{field.path}")
        for method, field in NAMING
        if meaning(field) in UNKNOWN and (method.name, field.path) not in EMPTY_LISTS
    ],
)
def test_what_is_unknown_is_not_found(world: World, method: Method, field: Field) -> None:
    asked = request(method, world.ours.values, {field.path: UNKNOWN[meaning(field)]})
    error = world.server.refused(method.path, asked, world.server.operator)
    assert error.reason == "NOT_FOUND", error.message


def test_a_workflow_that_has_no_instances_lists_none(world: World) -> None:
    asked = i.ListInstancesRequest(parent=UNKNOWN["workflow"]).SerializeToString()
    (answer,) = world.server.call("/stepwell.v1.InstanceService/ListInstances", asked, world.ours.token)
    assert i.ListInstancesResponse.FromString(answer) == i.ListInstancesResponse()


def path_of(name: str) -> str:
    (found,) = (method.path for method in METHODS if method.name == f"InstanceService.{name}")
    return found


WRONG_STATES = [
    ("SendEvent", i.SendEventRequest(type="go"), ENDED),
    ("PauseInstance", i.PauseInstanceRequest(), ENDED),
    ("ResumeInstance", i.ResumeInstanceRequest(), ENDED),
    ("CancelInstance", i.CancelInstanceRequest(), ENDED),
    ("TerminateInstance", i.TerminateInstanceRequest(), ENDED),
]


@pytest.mark.parametrize(("name", "asked", "instance"), WRONG_STATES, ids=[name for name, _, _ in WRONG_STATES])
def test_what_the_state_does_not_allow_is_refused(
    world: World, name: str, asked: i.PauseInstanceRequest, instance: str
) -> None:
    asked.name = IN_INSTANCE.format_map(world.ours.values).replace(RUNNING, instance)
    error = world.server.refused(path_of(name), asked.SerializeToString(), world.ours.token)
    assert error.reason == "WRONG_STATE"


def test_a_step_is_told_by_its_name(world: World) -> None:
    name = IN_INSTANCE.format_map(world.ours.values)
    for asked in (
        i.RestartInstanceRequest(name=name, step_kind=i.STEP_KIND_DO),
        i.RestartInstanceRequest(name=name, step_count=1),
    ):
        error = world.server.refused(path_of("RestartInstance"), asked.SerializeToString(), world.ours.token)
        assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "step_name")


@pytest.mark.parametrize("name", ["RestartInstance", "ForkInstance"])
def test_a_step_that_the_instance_has_not_come_to_is_told_by_the_field_that_named_it(world: World, name: str) -> None:
    request = i.RestartInstanceRequest if name == "RestartInstance" else i.ForkInstanceRequest
    asked = request(name=IN_INSTANCE.format_map(world.ours.values), step_name="nowhere")
    error = world.server.refused(path_of(name), asked.SerializeToString(), world.ours.token)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "step_name")


def test_a_number_that_no_event_has_is_not_found(world: World) -> None:
    asked = i.GetEventRequest(name=IN_INSTANCE.format_map(world.ours.values), number=2**62)
    assert world.server.refused(path_of("GetEvent"), asked.SerializeToString(), world.ours.token).reason == "NOT_FOUND"


def test_an_id_that_is_taken_is_refused(world: World) -> None:
    parent = IN_WORKFLOW.format_map(world.ours.values)
    for asked in (
        i.CreateInstanceRequest(parent=parent, instance_id=RUNNING),
        i.CreateInstanceRequest(parent=parent, instance_id=RUNNING, request_id="another"),
    ):
        error = world.server.refused(path_of("CreateInstance"), asked.SerializeToString(), world.ours.token)
        assert error.reason == "ALREADY_EXISTS"
    tenant = t.CreateTenantRequest(tenant_id=world.ours.id).SerializeToString()
    error = world.server.refused("/stepwell.v1.TenantService/CreateTenant", tenant, world.server.operator)
    assert error.reason == "ALREADY_EXISTS"


def test_each_item_of_a_batch_has_an_outcome_of_its_own(world: World) -> None:
    parent = IN_WORKFLOW.format_map(world.ours.values)
    items = [
        i.BatchCreateInstancesRequest.Item(instance_id="of-a-batch", params=b"1"),
        i.BatchCreateInstancesRequest.Item(instance_id=RUNNING, params=b"2"),
        i.BatchCreateInstancesRequest.Item(params=b"3"),
    ]

    def outcomes(*items: i.BatchCreateInstancesRequest.Item) -> list[Any]:
        asked = i.BatchCreateInstancesRequest(parent=parent, items=items, request_id="batch")
        (data,) = world.server.call(path_of("BatchCreateInstances"), asked.SerializeToString(), world.ours.token)
        answer = i.BatchCreateInstancesResponse.FromString(data)
        return [getattr(each, str(each.WhichOneof("outcome"))) for each in answer.results]

    first, taken, minted = outcomes(*items)
    assert (first.name, first.params) == (f"{parent}/instances/of-a-batch", b"")
    assert (taken.code, taken.reason) == (grpc.StatusCode.ALREADY_EXISTS.value[0], "ALREADY_EXISTS")
    assert RUNNING in taken.message
    again = outcomes(*items)
    assert [each.name for each in (again[0], again[2])] == [first.name, minted.name]
    assert [each.uid for each in (again[0], again[2])] == [first.uid, minted.uid]
    items[0].params = b"4"
    changed, *_ = outcomes(*items)
    assert (changed.reason, changed.metadata["field"]) == ("INVALID_ARGUMENT", "request_id")


@pytest.mark.parametrize("ids", [[], ["twice", "once", "twice"]])
def test_a_batch_of_none_or_of_one_id_twice_is_refused_whole(world: World, ids: list[str]) -> None:
    parent = IN_WORKFLOW.format_map(world.ours.values)
    items = [i.BatchCreateInstancesRequest.Item(instance_id=id) for id in ids]
    asked = i.BatchCreateInstancesRequest(parent=parent, items=items)
    error = world.server.refused(path_of("BatchCreateInstances"), asked.SerializeToString(), world.ours.token)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "items[2].instance_id" if ids else "items")
    gone = i.GetInstanceRequest(name=f"{parent}/instances/once").SerializeToString()
    assert world.server.refused(path_of("GetInstance"), gone, world.ours.token).reason == "NOT_FOUND"


def test_each_id_of_a_batch_is_deleted_or_told_why_not(world: World) -> None:
    parent = IN_WORKFLOW.format_map(world.ours.values)
    for id in ("to-go", "goes-on"):
        create = i.CreateInstanceRequest(parent=parent, instance_id=id, request_id=id)
        world.server.call(path_of("CreateInstance"), create.SerializeToString(), world.ours.token)
    end = i.TerminateInstanceRequest(name=f"{parent}/instances/to-go")
    world.server.call(path_of("TerminateInstance"), end.SerializeToString(), world.ours.token)
    ids = ["to-go", "goes-on", "never-was"]
    batch = i.BatchDeleteInstancesRequest(parent=parent, instance_ids=ids, request_id="batch-delete")
    for first in ("", "NOT_FOUND"):
        (data,) = world.server.call(path_of("BatchDeleteInstances"), batch.SerializeToString(), world.ours.token)
        reasons = [each.error.reason for each in i.BatchDeleteInstancesResponse.FromString(data).results]
        assert reasons == [first, first, "NOT_FOUND"]


def test_a_request_id_that_was_used_for_something_else_is_refused(world: World) -> None:
    create, send, pause = (path_of(name) for name in ("CreateInstance", "SendEvent", "PauseInstance"))
    parent = IN_WORKFLOW.format_map(world.ours.values)
    name = f"{parent}/instances/reuse"
    first = i.CreateInstanceRequest(parent=parent, instance_id="reuse", params=b"1", request_id="c")
    event = i.SendEventRequest(name=name, type="go", payload=b"1", request_id="e")
    for path, asked in ((create, first), (create, first), (send, event), (send, event)):
        world.server.call(path, asked.SerializeToString(), world.ours.token)
    again = [
        (create, i.CreateInstanceRequest(parent=parent, instance_id="reuse", params=b"2", request_id="c")),
        (send, i.SendEventRequest(name=name, type="go", payload=b"2", request_id="e")),
        (send, i.SendEventRequest(name=name, type="stop", payload=b"1", request_id="e")),
        (pause, i.PauseInstanceRequest(name=name, request_id="e")),
    ]
    tenant = "/stepwell.v1.TenantService/CreateTenant"
    made = t.CreateTenantRequest(tenant_id="umbrella", request_id="t").SerializeToString()
    assert world.server.call(tenant, made, world.server.operator) == world.server.call(
        tenant, made, world.server.operator
    )
    for path, changed in again:
        error = world.server.refused(path, changed.SerializeToString(), world.ours.token)
        assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "request_id")
    other = t.CreateTenantRequest(tenant_id="hooli", request_id="t").SerializeToString()
    error = world.server.refused(tenant, other, world.server.operator)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "request_id")


def test_a_page_token_is_of_the_times_that_its_list_was_of(world: World) -> None:
    parent = IN_WORKFLOW.format_map(world.ours.values)
    for number in range(2):
        create = i.CreateInstanceRequest(parent=parent, instance_id=f"paged-{number}")
        world.server.call(path_of("CreateInstance"), create.SerializeToString(), world.ours.token)
    asked = i.ListInstancesRequest(parent=parent, page_size=1)
    (answer,) = world.server.call(path_of("ListInstances"), asked.SerializeToString(), world.ours.token)
    asked.page_token = i.ListInstancesResponse.FromString(answer).next_page_token
    world.server.call(path_of("ListInstances"), asked.SerializeToString(), world.ours.token)
    asked.created_from.seconds = 1
    error = world.server.refused(path_of("ListInstances"), asked.SerializeToString(), world.ours.token)
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "page_token")


def test_what_continues_an_instance_does_not_continue_another_of_its_id(world: World) -> None:
    parent = IN_WORKFLOW.format_map(world.ours.values)
    name = f"{parent}/instances/again"
    steps = i.ListStepsRequest(parent=name, page_size=1)
    logs = i.ListLogsRequest(parent=name, page_size=1)

    def call(method: str, asked: Message) -> bytes:
        return world.server.call(path_of(method), asked.SerializeToString(), world.ours.token)[0]

    def next_page(method: str, asked: Message, answer: Any) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not answer.next_page_token:
            assert time.monotonic() < deadline, f"{method} has one page alone"
            answer.ParseFromString(call(method, asked))
        return str(answer.next_page_token)

    call("CreateInstance", i.CreateInstanceRequest(parent=parent, instance_id="again"))
    cursor = i.InstanceEvent.FromString(call("WatchInstance", i.WatchInstanceRequest(name=name))).cursor
    line = i.LogEntry.FromString(call("WatchLogs", i.WatchLogsRequest(name=name))).cursor
    logs.page_token = next_page("ListLogs", logs, i.ListLogsResponse())
    assert next_page("ListSteps", steps, i.ListStepsResponse())
    call("TerminateInstance", i.TerminateInstanceRequest(name=name))
    call("DeleteInstance", i.DeleteInstanceRequest(name=name))
    call("CreateInstance", i.CreateInstanceRequest(parent=parent, instance_id="again"))
    for method, asked, field in (
        ("WatchInstance", i.WatchInstanceRequest(name=name, cursor=cursor), "cursor"),
        ("WatchLogs", i.WatchLogsRequest(name=name, cursor=line), "cursor"),
        ("ListLogs", logs, "page_token"),
    ):
        error = world.server.refused(path_of(method), asked.SerializeToString(), world.ours.token)
        assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", field)


BEGIN, FILE, CHUNK = [Part.FromString(part) for part in deploy("tenants/-", b"code")]
TWICE = w.Manifest(workflows=[w.WorkflowEntry(workflow_id=WORKFLOW, entrypoint="main:Order")] * 2)
MANY = w.Manifest(workflows=[w.WorkflowEntry(workflow_id=f"w{n}", entrypoint="main:Order") for n in range(101)])
OFTEN, DOUBLY = (
    w.Manifest(
        workflows=[
            w.WorkflowEntry(
                workflow_id="w", entrypoint="main:Order", schedules=[w.Schedule(cron=f"{each} 0 * * *") for each in at]
            )
        ]
    )
    for at in (range(11), (1, 1))
)


def manifest(manifest: w.Manifest) -> Part:
    return Part(header=Part.Header(parent="tenants/-", manifest=manifest))


def file(path: str) -> Part:
    return Part(file=Part.File(path=path))


STREAMS: dict[str, tuple[list[Part], str, dict[str, str]]] = {
    "nothing": ([], "INVALID_ARGUMENT", {"field": "header"}),
    "a part of nothing": ([Part()], "INVALID_ARGUMENT", {"field": "header"}),
    "a file before the header": ([FILE, BEGIN, CHUNK], "INVALID_ARGUMENT", {"field": "header"}),
    "a chunk before the header": ([CHUNK, BEGIN, FILE], "INVALID_ARGUMENT", {"field": "header"}),
    "the header twice": ([BEGIN, BEGIN], "INVALID_ARGUMENT", {"field": "header"}),
    "the header again, later": ([BEGIN, FILE, CHUNK, BEGIN], "INVALID_ARGUMENT", {"field": "header"}),
    "a part of nothing, later": ([BEGIN, FILE, Part(), CHUNK], "INVALID_ARGUMENT", {"field": "part"}),
    "a chunk before a file": ([BEGIN, CHUNK], "BUNDLE_REFUSED", {}),
    "no file": ([BEGIN], "BUNDLE_REFUSED", {}),
    "a file twice": ([BEGIN, FILE, FILE], "BUNDLE_REFUSED", {}),
    "a file in two spellings": ([BEGIN, FILE, file("Main.py")], "BUNDLE_REFUSED", {}),
    "a file that is a folder": ([BEGIN, file("a"), file("a/b")], "BUNDLE_REFUSED", {}),
    "a folder that is a file": ([BEGIN, file("a/b"), file("a")], "BUNDLE_REFUSED", {}),
    "no workflow": ([manifest(w.Manifest()), FILE, CHUNK], "BUNDLE_REFUSED", {}),
    "a workflow twice": ([manifest(TWICE), FILE, CHUNK], "BUNDLE_REFUSED", {}),
    "workflows without end": ([manifest(MANY), FILE, CHUNK], "LIMIT_EXCEEDED", {"limit": "manifest_workflows_max"}),
    "schedules without end": ([manifest(OFTEN), FILE, CHUNK], "LIMIT_EXCEEDED", {"limit": "manifest_schedules_max"}),
    "a schedule twice": ([manifest(DOUBLY), FILE, CHUNK], "BUNDLE_REFUSED", {"workflow": "w"}),
    "files without end": (
        [BEGIN, *(file(f"f{n}") for n in range(10_001))],
        "LIMIT_EXCEEDED",
        {"limit": "bundle_files_max"},
    ),
    "bytes without end": (
        [BEGIN, FILE, *[Part(chunk=b"x" * 1024 * 1024)] * 9],
        "LIMIT_EXCEEDED",
        {"limit": "bundle_bytes_max"},
    ),
}


@pytest.mark.parametrize(("parts", "reason", "metadata"), STREAMS.values(), ids=STREAMS.keys())
def test_a_stream_that_is_no_deploy_leaves_nothing(
    world: World,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    parts: list[Part],
    reason: str,
    metadata: dict[str, str],
) -> None:
    monkeypatch.setattr(staging, "BUNDLE_BYTES_MAX", 8 * 1024 * 1024)
    before = kept(folder)
    stream = [part.SerializeToString() for part in parts]
    error = world.server.refused("/stepwell.v1.WorkflowService/DeployVersion", stream, world.ours.token)
    assert error.reason == reason, error.message
    assert error.metadata.items() >= metadata.items()
    assert (reason == "LIMIT_EXCEEDED") == ({"limit", "value", "seen"} <= error.metadata.keys())
    assert kept(folder) == before


def kept(folder: Path) -> set[str]:
    """What the server keeps of bundles, whole or not."""
    bundles = folder / "data" / "bundles"
    return {str(path.relative_to(bundles)) for path in bundles.rglob("*") if path.name != ".staging"}
