"""Requests that a server answers, made for any call from what its fields mean; and the same with one field changed.

A field that means nothing here fails the tests that go over all calls: say what it means in FIELDS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.api.methods import Field, Method

WORKFLOW, RUNNING = "order", "one"
Value = str | bytes | int | bool | list[int] | list[str] | dict[str, str]

TENANT = "tenants/{tenant}"
IN_WORKFLOW = f"{TENANT}/workflows/{WORKFLOW}"
IN_INSTANCE = f"{IN_WORKFLOW}/instances/{RUNNING}"

KINDS: Mapping[str, Value] = {
    "tenant": TENANT,
    "owner": TENANT,
    "workflow": IN_WORKFLOW,
    "route": f"{IN_WORKFLOW}/route",
    "instance": IN_INSTANCE,
    "version": f"{TENANT}/versions/{{version}}",
    "version or none": f"{TENANT}/versions/{{version}}",
    "weight": 100,
    "told alone": "",
    "token": f"{TENANT}/tokens/{{token}}",
    "tenant id": "initech",
    "instance id": "",
    "instance ids": ["nobody"],
    "retention": 60_000,
    "workflow's retention": 60_000,
    "workflow's limit": 10,
    "request id": "",
    "event type": "go",
    "event id": "",
    "broadcast id": "broadcast-1",
    "event states": [],
    "event number": 1,
    "step name": "",
    "reason": "",
    "step to begin from": "first",
    "kind of that step": 2,
    "step kind": 0,
    "step count": 0,
    "json": b"null",
    "page size": 0,
    "page token": "",
    "cursor": "",
    "etag": "",
    "flag": False,
    "scopes": [],
    "spread": 2,
    "statuses": [],
    "workflow id": WORKFLOW,
    "entrypoint": "main:Order",
    "vars": {},
    "bindings": {},
    "path": "main.py",
    "chunk": b"1",
    "cron": "0 0 29 2 *",
    "time zone": "Europe/Berlin",
    "catch up": 0,
    "time": 0,
    "last time": 253_402_300_799,
    "nanoseconds": 0,
}
"""What a field can mean, each with a value that is in order."""

FIELDS: Mapping[str, str] = {
    "CreateTenantRequest.tenant_id": "tenant id",
    "CreateTenantRequest.spread": "spread",
    "GetTenantRequest.name": "tenant",
    "CreateTokenRequest.parent": "owner",
    "CreateTokenRequest.scopes": "scopes",
    "ListTokensRequest.parent": "owner",
    "RevokeTokenRequest.name": "token",
    "Header.parent": "tenant",
    "Header.no_route": "flag",
    "WorkflowEntry.workflow_id": "workflow id",
    "WorkflowEntry.entrypoint": "entrypoint",
    "Schedule.cron": "cron",
    "Schedule.timezone": "time zone",
    "Schedule.catch_up": "catch up",
    "header.manifest.workflows.retention.success_ms": "workflow's retention",
    "header.manifest.workflows.retention.error_ms": "workflow's retention",
    "WorkflowLimits.steps": "workflow's limit",
    "WorkflowLimits.concurrency": "workflow's limit",
    "Manifest.vars": "vars",
    "Manifest.bindings": "bindings",
    "File.path": "path",
    "File.executable": "flag",
    "DeployVersionRequest.chunk": "chunk",
    "GetGuestRuntimeRequest.parent": "tenant",
    "GetVersionRequest.name": "version",
    "ListVersionsRequest.parent": "tenant",
    "GetVersionUsageRequest.name": "version",
    "DrainVersionRequest.name": "version",
    "RetireVersionRequest.name": "version",
    "ListVersionFilesRequest.parent": "version",
    "GetWorkflowRequest.name": "workflow",
    "ListWorkflowsRequest.parent": "tenant",
    "DeleteWorkflowRequest.name": "workflow",
    "ListRoutesRequest.parent": "tenant",
    "SetRouteRequest.name": "route",
    "SetRouteRequest.version": "version or none",
    "RouteTarget.version": "version",
    "RouteTarget.entrypoint": "told alone",
    "RouteTarget.weight": "weight",
    "SetRouteRequest.etag": "etag",
    "PromoteRouteRequest.name": "route",
    "PromoteRouteRequest.version": "version or none",
    "PromoteRouteRequest.etag": "etag",
    "RollBackRouteRequest.name": "route",
    "RollBackRouteRequest.etag": "etag",
    "GetRouteRequest.name": "route",
    "ListSchedulesRequest.parent": "tenant",
    "PauseSchedulesRequest.name": "workflow",
    "ResumeSchedulesRequest.name": "workflow",
    "CreateInstanceRequest.parent": "workflow",
    "CreateInstanceRequest.instance_id": "instance id",
    "CreateInstanceRequest.params": "json",
    "BatchCreateInstancesRequest.parent": "workflow",
    "BatchDeleteInstancesRequest.parent": "workflow",
    "BatchDeleteInstancesRequest.instance_ids": "instance ids",
    "Item.instance_id": "instance id",
    "Item.params": "json",
    "Retention.success_ms": "retention",
    "Retention.error_ms": "retention",
    "GetInstanceRequest.name": "instance",
    "ListInstancesRequest.parent": "workflow",
    "ListInstancesRequest.statuses": "statuses",
    "ListStepsRequest.parent": "instance",
    "SendEventRequest.name": "instance",
    "SendEventRequest.type": "event type",
    "SendEventRequest.payload": "json",
    "SendEventRequest.event_id": "event id",
    "SendEventRequest.only_if_waiting": "flag",
    "BroadcastEventRequest.parent": "workflow",
    "BroadcastEventRequest.type": "event type",
    "BroadcastEventRequest.payload": "json",
    "BroadcastEventRequest.event_id": "broadcast id",
    "ListEventsRequest.parent": "instance",
    "ListEventsRequest.states": "event states",
    "GetEventRequest.name": "instance",
    "GetEventRequest.number": "event number",
    "PauseInstanceRequest.name": "instance",
    "ResumeInstanceRequest.name": "instance",
    "RestartInstanceRequest.name": "instance",
    "RestartInstanceRequest.step_kind": "step kind",
    "RestartInstanceRequest.step_count": "step count",
    "CancelInstanceRequest.name": "instance",
    "CancelInstanceRequest.reason": "reason",
    "ForkInstanceRequest.name": "instance",
    "ForkInstanceRequest.step_name": "step to begin from",
    "ForkInstanceRequest.step_kind": "kind of that step",
    "ForkInstanceRequest.step_count": "step count",
    "ForkInstanceRequest.instance_id": "instance id",
    "ForkInstanceRequest.version": "version or none",
    "ReplayInstanceRequest.name": "instance",
    "ReplayInstanceRequest.version": "version",
    "MigrateInstanceRequest.name": "instance",
    "MigrateInstanceRequest.version": "version",
    "TerminateInstanceRequest.name": "instance",
    "TerminateInstanceRequest.rollback": "flag",
    "DeleteInstanceRequest.name": "instance",
    "created_from.seconds": "time",
    "created_to.seconds": "last time",
    "Timestamp.nanos": "nanoseconds",
    "WatchInstanceRequest.name": "instance",
    "WatchInstanceRequest.status_only": "flag",
    "ListLogsRequest.parent": "instance",
    "WatchLogsRequest.name": "instance",
}
"""What each field means, by Message.field; by its path, where it is refused otherwise there."""

EVERYWHERE: Mapping[str, str] = {
    "request_id": "request id",
    "page_size": "page size",
    "page_token": "page token",
    "cursor": "cursor",
    "step_name": "step name",
}
"""Fields that mean the same in every message that does not say otherwise."""

NAMES = frozenset({"tenant", "owner", "workflow", "route", "instance", "version", "version or none", "token"})
"""Those that name things of a tenant."""


def meaning(field: Field) -> str:
    """What a field means. Raises KeyError for one that nobody has given a meaning."""
    return FIELDS.get(field.path) or FIELDS.get(field.name) or EVERYWHERE[field.descriptor.name]


def request(
    method: Method, values: Mapping[str, str], changed: Mapping[str, Value] | None = None
) -> bytes | list[bytes]:
    """A request in good order, its names filled in from `values`, but for the fields that are changed."""
    changed = changed or {}
    parts: dict[str, Any] = {}
    for field in method.fields:
        value = changed.get(field.path, KINDS[meaning(field)])
        if isinstance(value, str) and field.path not in changed:
            value = value.format_map(values)
        part = field.path.partition(".")[0] if method.streams_requests else ""
        _set(parts.setdefault(part, method.request()), field.path, value)
    messages = [part.SerializeToString() for part in parts.values()]
    return messages if method.streams_requests else messages[0]


def _set(message: Any, path: str, value: Value) -> None:
    *messages, last = path.split(".")
    for name in messages:
        message = getattr(message, name)
        if hasattr(message, "add"):
            message = message[0] if message else message.add()
    match value:
        case list():
            getattr(message, last).extend(value)
        case dict():
            getattr(message, last).update(value)
        case _:
            setattr(message, last, value)
