"""Instances that tests look at."""

from __future__ import annotations

from typing import Any

from stepwell.v1 import instances_pb2 as i
from stepwell.v1.resources_pb2 import Failure
from tests.unit.cli.fake_server import DIGEST, FakeServer

ORDER = "tenants/acme/workflows/order/instances/o-1"


def step(
    name: str,
    kind: i.StepKind.ValueType = i.STEP_KIND_DO,
    status: i.StepStatus.ValueType = i.STEP_STATUS_COMPLETE,
    output: bytes | None = None,
    error: Failure | None = None,
    attempts: int = 1,
    ended: bool = True,
) -> i.Step:
    made = i.Step(step_name=name, count=1, kind=kind, status=status, output=output, error=error, attempts=attempts)
    made.start_time.FromJsonString("2026-01-02T03:04:06Z")
    if ended:
        made.end_time.FromJsonString("2026-01-02T03:04:07.500Z")
    return made


def event(cursor: int, type: str, status: i.InstanceStatus.ValueType, step: i.Step | None = None) -> i.InstanceEvent:
    made = i.InstanceEvent(cursor=str(cursor), type=type, status=status, step=step)
    made.event_time.FromJsonString(f"2026-01-02T03:04:{cursor:02}Z")
    return made


def log_entry(cursor: int, text: str, **more: Any) -> i.LogEntry:
    made = i.LogEntry(cursor=str(cursor), text=text, **({"stream": i.LOG_STREAM_STDOUT} | more))
    made.log_time.FromJsonString(f"2026-01-02T03:04:{cursor:02}Z")
    return made


def put_errored_order(server: FakeServer, message: str = "card refused") -> i.Instance:
    """An instance with a step that worked, one that failed and a wait."""
    failure = Failure(type="CardError", message=message, traceback="Traceback (most recent call last):\n  File …\n")
    order = i.Instance(
        name=ORDER,
        uid="iu1",
        status=i.INSTANCE_STATUS_ERRORED,
        version=f"tenants/acme/versions/{DIGEST}",
        params=b'{"price": 1.10}',
        error=failure,
    )
    order.create_time.FromJsonString("2026-01-02T03:04:05Z")
    order.start_time.FromJsonString("2026-01-02T03:04:06Z")
    order.end_time.FromJsonString("2026-01-02T03:04:36Z")
    server.instances[ORDER] = order
    server.steps[ORDER] = [
        step("reserve", output=b'{"id": 12345678901234567890.50}'),
        step("wait for approval", i.STEP_KIND_WAIT_FOR_EVENT, i.STEP_STATUS_COMPLETE, output=b"true"),
        step("charge", status=i.STEP_STATUS_ERRORED, error=failure, attempts=6),
    ]
    return order


def received_event(number: int, state: i.EventState.ValueType, payload: bytes = b"1", **more: Any) -> i.ReceivedEvent:
    made = i.ReceivedEvent(number=number, type="paid", state=state, payload=payload, **more)
    made.receive_time.FromJsonString(f"2026-01-02T03:04:{number:02}Z")
    return made
