"""Instances and steps as the API's messages: protobuf types begin here and in the servicer."""

from __future__ import annotations

from typing import Final, assert_never

from data_plane.journal.store import InstanceKey, Listing
from data_plane.logs.reading import LogEntry
from data_plane.logs.store import Stream
from data_plane.replaying import Differs, Matches, Unchecked, Verdict
from rpc.resource_names import instance_name, version_name
from rpc.times import timestamp
from stepwell.client.workflow_terms import retention_message
from stepwell.engine.instance import Instance, Step, StepStatus
from stepwell.engine.received import EventState, Received, resend_id
from stepwell.engine.records import Completed, Errored, Failure, Kind, Origin, RolledBack, Terminated
from stepwell.engine.status import InstanceStatus, status_of
from stepwell.names import Digest, InstanceId, TenantId, WorkflowId
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import resources_pb2

STATUSES: Final[dict[InstanceStatus, pb.InstanceStatus.ValueType]] = {
    "queued": pb.INSTANCE_STATUS_QUEUED,
    "running": pb.INSTANCE_STATUS_RUNNING,
    "paused": pb.INSTANCE_STATUS_PAUSED,
    "waiting": pb.INSTANCE_STATUS_WAITING,
    "waitingForPause": pb.INSTANCE_STATUS_WAITING_FOR_PAUSE,
    "complete": pb.INSTANCE_STATUS_COMPLETE,
    "errored": pb.INSTANCE_STATUS_ERRORED,
    "terminated": pb.INSTANCE_STATUS_TERMINATED,
}

STATUS_NAMES: Final[dict[int, InstanceStatus]] = {number: name for name, number in STATUSES.items()}

_STEP_STATUSES: Final[dict[StepStatus, pb.StepStatus.ValueType]] = {
    "running": pb.STEP_STATUS_RUNNING,
    "retrying": pb.STEP_STATUS_RETRYING,
    "waiting": pb.STEP_STATUS_WAITING,
    "complete": pb.STEP_STATUS_COMPLETE,
    "errored": pb.STEP_STATUS_ERRORED,
    "cancelled": pb.STEP_STATUS_CANCELLED,
}

_LOG_STREAMS: Final[dict[Stream, pb.LogStream.ValueType]] = {
    0: pb.LOG_STREAM_UNSPECIFIED,
    1: pb.LOG_STREAM_STDOUT,
    2: pb.LOG_STREAM_STDERR,
}

_STEP_KINDS: Final[dict[Kind, pb.StepKind.ValueType]] = {
    "do": pb.STEP_KIND_DO,
    "sleep": pb.STEP_KIND_SLEEP,
    "waitForEvent": pb.STEP_KIND_WAIT_FOR_EVENT,
    "rollback": pb.STEP_KIND_ROLLBACK,
}

STEP_KIND_NAMES: Final[dict[int, Kind]] = {number: kind for kind, number in _STEP_KINDS.items()}

_EVENT_STATES: Final[dict[EventState, pb.EventState.ValueType]] = {
    "buffered": pb.EVENT_STATE_BUFFERED,
    "taken": pb.EVENT_STATE_TAKEN,
    "dead": pb.EVENT_STATE_DEAD,
}

EVENT_STATE_NAMES: Final[dict[int, EventState]] = {number: name for name, number in _EVENT_STATES.items()}

_FOREIGN: Final = "StepError:"
"""A guest puts it before the class of an error that it could not rebuild; users know the class."""


def instance_message(
    tenant: TenantId,
    workflow: WorkflowId,
    instance_id: InstanceId,
    instance: Instance,
    *,
    params: bytes,
    output: bytes | None,
) -> pb.Instance:
    message = pb.Instance(
        name=instance_name(tenant, workflow, instance_id),
        uid=instance.uid,
        status=STATUSES[status_of(instance)],
        version=version_name(tenant, instance.digest),
        params=params,
        create_time=timestamp(instance.created_at),
        buffered_events=0 if instance.outcome is not None else instance.buffered_events,
        dead_events=instance.dead_events,
        retention=retention_message(instance.retention),
    )
    if isinstance(instance.outcome, Completed) and output is not None:
        message.output = output
    failure = instance.outcome.failure if isinstance(instance.outcome, Errored) else None
    if instance.paused is not None:
        failure = instance.paused.failure
    if failure is not None:
        message.error.CopyFrom(failure_message(failure))
    if isinstance(instance.outcome, Errored | Terminated) and instance.outcome.rolled_back is not None:
        _tell_rollback(message.rollback, instance.outcome.rolled_back)
    if instance.origin is not None:
        _tell_origin(message.forked_from, tenant, workflow, instance.origin)
    if instance.started_at is not None:
        message.start_time.CopyFrom(timestamp(instance.started_at))
    if instance.ended_at is not None:
        message.end_time.CopyFrom(timestamp(instance.ended_at))
    if instance.schedule is not None:
        message.schedule.cron = instance.schedule.cron
        message.schedule.scheduled_time.CopyFrom(timestamp(instance.schedule.scheduled_at))
    if instance.expires_at is not None:
        message.expire_time.CopyFrom(timestamp(instance.expires_at))
    if instance.parent is not None:
        message.parent = instance_name(tenant, instance.parent.workflow, instance.parent.instance)
    if instance.cancelling is not None:
        message.cancel_time.CopyFrom(timestamp(instance.cancelling.request.at))
        message.cancel_reason = instance.cancelling.request.reason
    return message


def _tell_rollback(message: pb.Rollback, rolled_back: RolledBack) -> None:
    message.outcome = pb.ROLLBACK_OUTCOME_COMPLETE
    if rolled_back.failure is not None:
        message.outcome = pb.ROLLBACK_OUTCOME_FAILED
        message.error.CopyFrom(failure_message(rolled_back.failure))


def _tell_origin(message: pb.ForkedFrom, tenant: TenantId, workflow: WorkflowId, origin: Origin) -> None:
    message.name, message.uid = instance_name(tenant, workflow, origin.instance), origin.uid
    message.step_name, message.step_count = origin.step.name, origin.step.count
    message.step_kind = _STEP_KINDS[origin.step.kind]


def listing_message(tenant: TenantId, listing: Listing) -> pb.Instance:
    """What a list shows: no params, no output."""
    message = pb.Instance(
        name=instance_name(tenant, listing.key.workflow, listing.key.instance),
        uid=listing.uid,
        status=STATUSES.get(listing.status, pb.INSTANCE_STATUS_UNSPECIFIED),  # type: ignore[call-overload]
        version=version_name(tenant, Digest(listing.digest)),
        create_time=timestamp(listing.created_at),
    )
    if listing.started_at is not None:
        message.start_time.CopyFrom(timestamp(listing.started_at))
    if listing.ended_at is not None:
        message.end_time.CopyFrom(timestamp(listing.ended_at))
    return message


def step_message(step: Step, output: bytes | None = None, *, truncated: bool = False) -> pb.Step:
    message = pb.Step(
        step_name=step.key.name,
        count=step.key.count,
        kind=_STEP_KINDS[step.key.kind],
        status=_STEP_STATUSES[step.status],
        attempts=step.attempts,
        start_time=timestamp(step.started_at),
        output_truncated=truncated,
    )
    if output is not None:
        message.output = output
    if step.failure is not None:
        message.error.CopyFrom(failure_message(step.failure))
    if step.ended_at is not None:
        message.end_time.CopyFrom(timestamp(step.ended_at))
    return message


def event_message(instance: Instance, received: Received, payload: bytes | None) -> pb.ReceivedEvent:
    """An event that the instance received; without its payload where that is None."""
    event, step = received.event, received.step
    return pb.ReceivedEvent(
        number=event.number,
        event_id=event.event_id,
        type=event.event_type,
        payload=payload,
        payload_truncated=payload is None,
        state=_EVENT_STATES[received.state],
        receive_time=timestamp(event.at),
        step_name=step.name if step is not None else "",
        step_count=step.count if step is not None else 0,
        resend_id=resend_id(instance, event),
    )


def log_message(entry: LogEntry) -> pb.LogEntry:
    line = entry.line
    return pb.LogEntry(
        cursor=entry.cursor,
        log_time=timestamp(line.at),
        step_name=line.step,
        count=line.count,
        attempt=line.attempt,
        stream=_LOG_STREAMS[line.stream],
        text=line.text,
        dropped=line.dropped,
    )


def replay_message(tenant: TenantId, key: InstanceKey, digest: Digest, verdict: Verdict) -> pb.Replay:
    message = pb.Replay(name=instance_name(tenant, key.workflow, key.instance), version=version_name(tenant, digest))
    match verdict:
        case Matches():
            message.verdict, message.next = pb.REPLAY_VERDICT_MATCHES, verdict.next
        case Differs():
            message.verdict, message.position = pb.REPLAY_VERDICT_DIFFERS, verdict.position
            message.expected, message.got = verdict.expected, verdict.got
        case Unchecked():
            message.verdict, message.reason = pb.REPLAY_VERDICT_UNCHECKED, verdict.reason
        case _:
            assert_never(verdict)
    return message


def failure_message(failure: Failure) -> resources_pb2.Failure:
    return resources_pb2.Failure(
        type=failure.type.removeprefix(_FOREIGN), message=failure.message, traceback=failure.traceback
    )
