"""The documents of `-o json`, from the messages of the API: the contract that scripts rely on (docs: CLI).

What is absent is null, never missing; times are RFC 3339 in UTC; statuses are spelt as Cloudflare's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.descriptor import EnumValueDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from stepwell.cli.json_text import Json, value
from stepwell.client.migrating import MigratedAll
from stepwell.client.resource_names import id_in
from stepwell.errors import ApiError
from stepwell.v1 import instances_pb2, nodes_pb2, resources_pb2, tenants_pb2, workflows_pb2


def camel(enum_name: str, prefix: str) -> str:
    """INSTANCE_STATUS_WAITING_FOR_PAUSE as waitingForPause."""
    first, *rest = enum_name.removeprefix(prefix).split("_")
    return first.lower() + "".join(word.capitalize() for word in rest)


def status_text(status: instances_pb2.InstanceStatus.ValueType) -> str:
    """queued, running, paused, waiting, waitingForPause, complete, errored, terminated"""
    return enum_text(instances_pb2.InstanceStatus.DESCRIPTOR.values_by_number, status, "INSTANCE_STATUS_")


def status_number(text: str) -> instances_pb2.InstanceStatus.ValueType:
    """The status that is spelt so."""
    numbers = instances_pb2.InstanceStatus.values()
    return next(number for number in numbers if status_text(number) == text)


def step_status_text(status: instances_pb2.StepStatus.ValueType) -> str:
    """running, retrying, waiting, complete, errored, cancelled"""
    return enum_text(instances_pb2.StepStatus.DESCRIPTOR.values_by_number, status, "STEP_STATUS_")


def step_kind_text(kind: instances_pb2.StepKind.ValueType) -> str:
    """do, sleep, waitForEvent, rollback"""
    return enum_text(instances_pb2.StepKind.DESCRIPTOR.values_by_number, kind, "STEP_KIND_")


def event_state_text(state: instances_pb2.EventState.ValueType) -> str:
    """buffered, taken, dead"""
    return enum_text(instances_pb2.EventState.DESCRIPTOR.values_by_number, state, "EVENT_STATE_")


def event_state_number(text: str) -> instances_pb2.EventState.ValueType:
    """The state that is spelt so."""
    return next(number for number in instances_pb2.EventState.values() if event_state_text(number) == text)


def log_stream_text(stream: instances_pb2.LogStream.ValueType) -> str | None:
    """stdout, stderr; None for no line at all"""
    if stream == instances_pb2.LOG_STREAM_UNSPECIFIED:
        return None
    return enum_text(instances_pb2.LogStream.DESCRIPTOR.values_by_number, stream, "LOG_STREAM_")


def datetime_of(stamp: Timestamp) -> datetime:
    """In UTC, to the microsecond."""
    return stamp.ToDatetime(tzinfo=UTC)


def instance(message: instances_pb2.Instance, steps: Sequence[instances_pb2.Step] | None, more: str = "") -> Json:
    """An instance; steps are null where they were not asked for, `more` is the token of the next page of them."""
    return {
        "tenant": id_in(message.name, "tenants"),
        "workflow": id_in(message.name, "workflows"),
        "id": id_in(message.name, "instances"),
        "uid": message.uid or None,
        "status": status_text(message.status),
        "version": id_in(message.version, "versions"),
        "params": value(message.params),
        "output": value(message.output) if message.HasField("output") else None,
        "error": failure(message.error) if message.HasField("error") else None,
        "forkedFrom": forked_from(message.forked_from) if message.HasField("forked_from") else None,
        "rollback": rollback(message.rollback) if message.HasField("rollback") else None,
        "steps": None if steps is None else [step(each) for each in steps],
        "stepsNextPageToken": more or None,
        "createTime": time_text(message, "create_time"),
        "startTime": time_text(message, "start_time"),
        "endTime": time_text(message, "end_time"),
        "cancelTime": time_text(message, "cancel_time"),
        "cancelReason": message.cancel_reason or None,
        "parent": instance_reference(message.parent) if message.parent else None,
        "retention": retention(message.retention) if message.HasField("retention") else None,
        "expireTime": time_text(message, "expire_time"),
        "bufferedEvents": message.buffered_events if message.HasField("buffered_events") else None,
        "deadEvents": message.dead_events if message.HasField("dead_events") else None,
        "schedule": {"cron": message.schedule.cron, "scheduledTime": time_text(message.schedule, "scheduled_time")}
        if message.HasField("schedule")
        else None,
    }


def retention(message: resources_pb2.Retention) -> Json:
    """How long what has ended is kept."""
    return {
        "successMs": message.success_ms if message.HasField("success_ms") else None,
        "errorMs": message.error_ms if message.HasField("error_ms") else None,
    }


def step(message: instances_pb2.Step) -> Json:
    return {
        "name": message.step_name,
        "count": message.count,
        "kind": step_kind_text(message.kind),
        "status": step_status_text(message.status),
        "attempts": message.attempts,
        "output": value(message.output) if message.HasField("output") else None,
        "outputTruncated": message.output_truncated,
        "error": failure(message.error) if message.HasField("error") else None,
        "startTime": time_text(message, "start_time"),
        "endTime": time_text(message, "end_time"),
    }


def forked_from(message: instances_pb2.ForkedFrom) -> Json:
    return {
        "id": id_in(message.name, "instances"),
        "uid": message.uid,
        "step": message.step_name,
        "kind": step_kind_text(message.step_kind),
        "count": message.step_count,
    }


def rollback(message: instances_pb2.Rollback) -> Json:
    outcomes = instances_pb2.RollbackOutcome.DESCRIPTOR.values_by_number
    return {
        "outcome": enum_text(outcomes, message.outcome, "ROLLBACK_OUTCOME_"),
        "error": failure(message.error) if message.HasField("error") else None,
    }


def failure(message: resources_pb2.Failure) -> Json:
    return {"type": message.type, "message": message.message, "traceback": message.traceback or None}


def event(message: instances_pb2.InstanceEvent) -> Json:
    """A line of `watch`."""
    return {
        "cursor": message.cursor,
        "time": time_text(message, "event_time"),
        "type": message.type,
        "status": status_text(message.status),
        "step": step(message.step) if message.HasField("step") else None,
    }


def received_event(message: instances_pb2.ReceivedEvent) -> Json:
    """A line of `events`; `step` is the wait that took it."""
    return {
        "number": message.number,
        "eventId": message.event_id or None,
        "type": message.type,
        "payload": value(message.payload) if message.HasField("payload") else None,
        "payloadTruncated": message.payload_truncated,
        "state": event_state_text(message.state),
        "step": message.step_name or None,
        "count": message.step_count or None,
        "resendId": message.resend_id or None,
        "receiveTime": time_text(message, "receive_time"),
    }


def log_entry(message: instances_pb2.LogEntry) -> Json:
    """A line of `logs`; one that only tells of missing lines has neither stream nor text."""
    stream = log_stream_text(message.stream)
    return {
        "cursor": message.cursor,
        "time": time_text(message, "log_time"),
        "step": message.step_name or None,
        "count": message.count or None,
        "attempt": message.attempt or None,
        "stream": stream,
        "text": None if stream is None else message.text,
        "dropped": message.dropped,
    }


def instance_reference(name: str, **more: Json) -> Json:
    """Which instance a call without an answer was about. The tenant is null where the token alone knows it."""
    return {
        "tenant": id_in(name, "tenants"),
        "workflow": id_in(name, "workflows"),
        "id": id_in(name, "instances"),
        **more,
    }


def migrated_all(tenant: str | None, workflow: str, version: str, done: MigratedAll) -> Json:
    """Of `instances migrate --all`."""
    return {
        "tenant": tenant,
        "workflow": workflow,
        "version": version,
        "migrated": done.migrated,
        "refused": done.refused,
        "refusals": [
            {"id": id_in(name, "instances"), "reason": error.reason, "message": error.message}
            for name, error in done.refusals
        ],
    }


def deleted_several(tenant: str | None, workflow: str, outcomes: Sequence[tuple[str, ApiError | None]]) -> Json:
    """Of `instances delete` with several ids."""
    return {
        "tenant": tenant,
        "workflow": workflow,
        "deleted": [id for id, error in outcomes if error is None],
        "refusals": [
            {"id": id, "reason": error.reason, "message": error.message} for id, error in outcomes if error is not None
        ],
    }


def workflow(message: workflows_pb2.Workflow) -> Json:
    return {
        "tenant": id_in(message.name, "tenants"),
        "name": id_in(message.name, "workflows"),
        "version": id_in(message.version, "versions"),
        "entrypoint": message.entrypoint,
        "targets": _targets(message.targets),
        "createTime": time_text(message, "create_time"),
        "updateTime": time_text(message, "update_time"),
    }


def route(message: workflows_pb2.Route) -> Json:
    return {
        "tenant": id_in(message.name, "tenants"),
        "workflow": id_in(message.name, "workflows"),
        "version": id_in(message.version, "versions"),
        "entrypoint": message.entrypoint,
        "targets": _targets(message.targets),
        "previousTargets": _targets(message.previous_targets) or None,
        "etag": message.etag,
        "updateTime": time_text(message, "update_time"),
    }


def changed_route(message: workflows_pb2.PromoteRouteResponse | workflows_pb2.RollBackRouteResponse) -> Json:
    """A route, and from what it was changed."""
    return {"route": route(message.route), "replacedTargets": _targets(message.replaced_targets)}


def tenant(message: tenants_pb2.Tenant) -> Json:
    return {
        "tenant": id_in(message.name, "tenants"),
        "uid": message.uid or None,
        "spread": message.spread or 1,
        "createTime": time_text(message, "create_time"),
    }


def token(message: tenants_pb2.Token) -> dict[str, Json]:
    """Its tenant and its scopes are null where it is an operator's."""
    return {
        "tenant": id_in(message.name, "tenants"),
        "token": id_in(message.name, "tokens"),
        "scopes": [scope_text(scope) for scope in message.scopes] or None,
        "createTime": time_text(message, "create_time"),
    }


def new_token(message: tenants_pb2.CreateTokenResponse) -> Json:
    """The one document that ever has a secret."""
    return {**token(message.token), "secret": message.secret}


def token_reference(tenant: str | None, token_id: str, **more: Json) -> Json:
    """Which token a call without an answer was about."""
    return {"tenant": tenant, "token": token_id, **more}


def scope_text(scope: tenants_pb2.TokenScope.ValueType) -> str:
    """read, run, deploy"""
    return enum_text(tenants_pb2.TokenScope.DESCRIPTOR.values_by_number, scope, "TOKEN_SCOPE_")


def scope_number(text: str) -> tenants_pb2.TokenScope.ValueType:
    """The scope that is spelt so."""
    return next(number for number in tenants_pb2.TokenScope.values() if scope_text(number) == text)


def nodes(message: nodes_pb2.ListNodesResponse) -> Json:
    """A page of processes. What a node does is null where it did not tell, or does nothing of the kind."""
    items: list[Json] = []
    for each in message.nodes:
        load = each.load if each.HasField("load") else None
        items.append(
            {
                "node": id_in(each.name, "nodes"),
                "role": node_role(each.role),
                "address": each.address,
                "ownedShards": each.owned_shards,
                "activeInstances": None if load is None else load.active_instances,
                "queuedInstances": None if load is None else load.queued_instances,
                "overdueMs": None if load is None else load.overdue_ms,
            }
        )
    return {
        "items": items,
        "nextPageToken": message.next_page_token or None,
        "shardCount": message.shard_count,
        "unownedShards": message.unowned_shards,
    }


def node_role(number: int) -> str:
    return enum_text(nodes_pb2.NodeRole.DESCRIPTOR.values_by_number, number, "NODE_ROLE_")


def page(items: Sequence[Json], next_page_token: str) -> Json:
    """What every list prints."""
    return {"items": items, "nextPageToken": next_page_token or None}


def _targets(targets: Iterable[workflows_pb2.RouteTarget]) -> Json:
    return [
        {"version": id_in(each.version, "versions"), "weight": each.weight, "entrypoint": each.entrypoint}
        for each in targets
    ]


def enum_text(values: Mapping[int, EnumValueDescriptor], number: int, prefix: str) -> str:
    """An enum's value; one that this release doesn't know yet shows as its number."""
    known = values.get(number)
    return camel(known.name, prefix) if known is not None else str(number)


def time_text(message: Message, field: str) -> str | None:
    """None where the field is absent."""
    stamp: Timestamp = getattr(message, field)
    return stamp.ToJsonString() if message.HasField(field) else None
