"""Every limit that a caller can meet is told by its name, its value and what was seen, and has a test that meets it."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from control_plane.limits import ControlLimits
from data_plane import forking
from data_plane.quotas import TenantLimits
from rpc import guard
from rpc.limits import RpcLimits
from stepwell.engine.limits import EngineLimits
from stepwell.errors import ApiError
from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import tenants_pb2 as t
from stepwell.v1 import workflows_pb2 as w
from tests.api.bad_values import BAD
from tests.api.methods import METHODS
from tests.api.requests import WORKFLOW, meaning
from tests.api.running import CALL_S_MAX, bearer, running, told
from tests.api.test_states import STREAMS
from tests.api.world import World, deploy, made
from tests.architecture.sources import PACKAGES, ROOT, written
from tests.architecture.tables import rows

CREATE = "/stepwell.v1.InstanceService/CreateInstance"
DEPLOY = "/stepwell.v1.WorkflowService/DeployVersion"
FORK = "/stepwell.v1.InstanceService/ForkInstance"
GET = "/stepwell.v1.InstanceService/GetInstance"
SEND = "/stepwell.v1.InstanceService/SendEvent"
WATCH = "/stepwell.v1.InstanceService/WatchInstance"
ONE = "tenants/-/workflows/order/instances/one"

GRPCS_OWN = {"receive_bytes_max", "send_bytes_max", "metadata_bytes_max", "calls_max", "client_message_bytes_max"}
"""gRPC refuses by these before Stepwell is asked; the client tells them as ours: tests/unit/rpc/test_error_table.py."""

THROUGH_BINDINGS = {"children_max", "depth_max", "binding_calls_max", "binding_calls_per_tenant_max"}
"""Instances' code meets these, and no caller: tests/unit/data_plane/test_bindings.py."""


def create(world: World, params: bytes = b"1") -> bytes:
    return i.CreateInstanceRequest(parent="tenants/-/workflows/order", params=params).SerializeToString()


def until_refused(world: World, path: str, request: bytes) -> ApiError:
    """The refusal of a call that is made over and over."""
    for _ in range(100):
        try:
            return world.server.refused(path, request, world.ours.token)
        except AssertionError:
            continue
    raise AssertionError("never refused")


def a_version_more(world: World) -> ApiError:
    return world.server.refused(DEPLOY, deploy("tenants/-", b"one more"), world.ours.token)


def a_workflow_more(world: World) -> ApiError:
    return world.server.refused(DEPLOY, deploy("tenants/-", b"more", "another"), world.ours.token)


def a_route_to_a_version_more(world: World) -> ApiError:
    targets = [w.RouteTarget(version=f"tenants/-/versions/sha256-{each:064}", weight=20) for each in range(5)]
    asked = w.SetRouteRequest(name=f"tenants/-/workflows/{WORKFLOW}/route", targets=targets).SerializeToString()
    return world.server.refused("/stepwell.v1.WorkflowService/SetRoute", asked, world.ours.token)


def a_token_more(world: World) -> ApiError:
    asked = t.CreateTokenRequest(parent=f"tenants/{world.ours.id}").SerializeToString()
    return world.server.refused("/stepwell.v1.TenantService/CreateToken", asked, world.server.operator)


def slow(over: threading.Event) -> Iterator[bytes]:
    """A deploy that begins, and goes no further."""
    yield next(deploy("tenants/-", b"slow"))
    over.wait()


def a_slow_upload(world: World) -> ApiError:
    over = threading.Event()
    try:
        return world.server.refused(DEPLOY, slow(over), world.ours.token)
    finally:
        over.set()


def a_deploy_beside_a_deploy(world: World) -> ApiError:
    over, ended = threading.Event(), queue.SimpleQueue[Any]()
    channel: Any = world.server.channel
    method = channel.stream_unary(DEPLOY)
    calls = [method.future(slow(over), metadata=bearer(world.ours.token), timeout=CALL_S_MAX) for _ in range(2)]
    try:
        for call in calls:
            call.add_done_callback(ended.put)
        return told(ended.get(timeout=CALL_S_MAX))
    finally:
        over.set()
        for call in calls:
            call.cancel()


def a_batch_of_too_many(world: World) -> ApiError:
    items = [i.BatchCreateInstancesRequest.Item()] * 101
    asked = i.BatchCreateInstancesRequest(parent=f"tenants/-/workflows/{WORKFLOW}", items=items).SerializeToString()
    return world.server.refused("/stepwell.v1.InstanceService/BatchCreateInstances", asked, world.ours.token)


def an_event_more(world: World) -> ApiError:
    return until_refused(world, SEND, i.SendEventRequest(name=ONE, type="go").SerializeToString())


def a_large_event(world: World) -> ApiError:
    asked = i.SendEventRequest(name=ONE, type="go", payload=b'"' + b"x" * 100_000 + b'"').SerializeToString()
    return world.server.refused(SEND, asked, world.ours.token)


def an_instance_more(world: World) -> ApiError:
    return until_refused(world, CREATE, create(world))


def a_large_instance_more(world: World) -> ApiError:
    return until_refused(world, CREATE, create(world, b'"' + b"x" * 10_000 + b'"'))


def a_fork_of_much(limit: str, *, params: bytes) -> Callable[[World], ApiError]:
    def a_fork_of_much(world: World) -> ApiError:
        parent = f"tenants/-/workflows/{WORKFLOW}"
        asked = i.CreateInstanceRequest(parent=parent, instance_id="much", params=params)
        world.server.call(CREATE, asked.SerializeToString(), world.ours.token)
        origin = f"{parent}/instances/much"
        world.until_it_has_steps(origin)
        fork = i.ForkInstanceRequest(name=origin, step_name="first", step_kind=i.STEP_KIND_SLEEP)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forking, limit, 10)
            return world.server.refused(FORK, fork.SerializeToString(), world.ours.token)

    return a_fork_of_much


def a_call_beside_a_watch(world: World) -> ApiError:
    watch = i.WatchInstanceRequest(name=ONE).SerializeToString()
    with world.server.opened(WATCH, watch, world.ours.token) as events:
        assert next(events)
        return world.server.refused(GET, i.GetInstanceRequest(name=ONE).SerializeToString(), world.ours.token)


def a_watch_beside_a_watch(world: World) -> ApiError:
    watch = i.WatchInstanceRequest(name=ONE).SerializeToString()
    with world.server.opened(WATCH, watch, world.ours.token) as events:
        assert next(events)
        return world.server.refused(WATCH, watch, world.ours.token)


def a_call_without_its_request(world: World) -> ApiError:
    over = threading.Event()

    def never() -> Iterator[bytes]:
        over.wait()
        yield b""

    try:
        return world.server.refused(GET, never(), world.ours.token)
    finally:
        over.set()


@dataclass(frozen=True, slots=True)
class Case:
    """A server whose limit is low, and a call that is over it. `seen` is left out where it is a matter of time."""

    limit: str
    config: dict[str, Any]
    over: Callable[[World], ApiError]
    value: str
    seen: str = ""
    reason: str = "LIMIT_EXCEEDED"


CASES = [
    Case("batch_items_max", {}, a_batch_of_too_many, "100", "101"),
    Case("versions_max", {"control_plane": ControlLimits(versions_max=2)}, a_version_more, "2", "3"),
    Case("versions_bytes_max", {"control_plane": ControlLimits(versions_bytes_max=16)}, a_version_more, "16", "20"),
    Case("workflows_max", {"control_plane": ControlLimits(workflows_max=2)}, a_workflow_more, "2", "3"),
    Case("targets_max", {}, a_route_to_a_version_more, "4", "5"),
    Case("tokens_max", {"control_plane": ControlLimits(tokens_max=2)}, a_token_more, "2", "3"),
    Case("upload_seconds_max", {"control_plane": ControlLimits(upload_seconds_max=0.05)}, a_slow_upload, "0.05"),
    Case(
        "deploys_at_once_max", {"control_plane": ControlLimits(deploys_at_once_max=1)}, a_deploy_beside_a_deploy,
        "1", "2",
    ),
    Case("buffered_events_max", {"engine": EngineLimits(buffered_events_max=2)}, an_event_more, "2", "3"),
    Case(
        "buffered_event_bytes_max", {"engine": EngineLimits(buffered_event_bytes_max=9)}, an_event_more,
        "9", "10",
    ),
    Case("records_max", {"engine": EngineLimits(records_max=20)}, an_event_more, "20", "19"),
    Case("instance_bytes_max", {"engine": EngineLimits(instance_bytes_max=50_000)}, a_large_event, "50000"),
    Case("stored_bytes_max", {"tenants": TenantLimits(stored_bytes_max=50_000)}, a_large_instance_more, "50000"),
    Case("fork_row_bytes_max", {}, a_fork_of_much("FORK_ROW_BYTES_MAX", params=b"12345678901"), "10"),
    Case(
        "fork_blob_bytes_max", {}, a_fork_of_much("FORK_BLOB_BYTES_MAX", params=b'"' + b"x" * 20_000 + b'"'),
        "10", "20002",
    ),
    Case("queued_max", {"tenants": TenantLimits(activations_max=1, queued_max=4)}, an_instance_more, "4", "5"),
    Case(
        "creates_a_second_max", {"tenants": TenantLimits(creates_a_second_max=5)}, an_instance_more, "5", "6",
        reason="RATE_LIMITED",
    ),
    Case("calls_per_tenant_max", {"rpc": RpcLimits(calls_per_tenant_max=1)}, a_call_beside_a_watch, "1", "2"),
    Case("request_seconds_max", {"rpc": RpcLimits(request_seconds_max=0)}, a_call_without_its_request, "0", "1"),
    Case("watches_per_tenant_max", {"rpc": RpcLimits(watches_per_tenant_max=1)}, a_watch_beside_a_watch, "1", "2"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.limit}-{case.over.__name__}")
def test_what_is_over_a_setting_is_refused_with_it(tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "READ_OUT_SECONDS_MAX", 0.01)
    with running(tmp_path, **case.config) as server:
        error = case.over(made(server))
        assert server.log.faults == []
    assert error.reason == case.reason
    assert (error.metadata["limit"], error.metadata["value"]) == (case.limit, case.value)
    assert error.metadata["seen"] == case.seen if case.seen else float(error.metadata["seen"]) >= float(case.value)


def met() -> set[str]:
    """The limits that a test has met."""
    meanings = {meaning(field) for method in METHODS for field in method.fields}
    fixed = {bad.metadata["limit"] for each in meanings for bad in BAD[each] if "limit" in bad.metadata}
    streams = {metadata["limit"] for _, _, metadata in STREAMS.values() if "limit" in metadata}
    return fixed | streams | {case.limit for case in CASES}


def test_every_limit_that_a_call_is_refused_by_is_met_by_a_test_and_documented() -> None:
    sources = [source.text for source in written(*PACKAGES) if source.is_python]
    named = {name for text in sources for name in re.findall(r'"([a-z]\w+_max)"', text)}
    assert named == met() | GRPCS_OWN | THROUGH_BINDINGS
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert {row["limit"].strip("`") for row in rows(page, "That a call is refused by")} == named
