"""Instances and steps as the API's messages: protobuf types begin here and in the servicer."""

from __future__ import annotations

from typing import Final

from data_plane.journal.store import Listing
from data_plane.logs.reading import LogEntry
from data_plane.logs.store import Stream
from rpc.resource_names import instance_name, version_name
from rpc.times import timestamp
from stepwell.engine.instance import Instance, Step, StepStatus
from stepwell.engine.records import Completed, Errored, Failure, Kind
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
}

STEP_KIND_NAMES: Final[dict[int, Kind]] = {number: kind for kind, number in _STEP_KINDS.items()}

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
    )
    if isinstance(instance.outcome, Completed) and output is not None:
        message.output = output
    failure = instance.outcome.failure if isinstance(instance.outcome, Errored) else None
    if instance.paused is not None:
        failure = instance.paused.failure
    if failure is not None:
        message.error.CopyFrom(failure_message(failure))
    if instance.started_at is not None:
        message.start_time.CopyFrom(timestamp(instance.started_at))
    if instance.ended_at is not None:
        message.end_time.CopyFrom(timestamp(instance.ended_at))
    if instance.schedule is not None:
        message.schedule.cron = instance.schedule.cron
        message.schedule.scheduled_time.CopyFrom(timestamp(instance.schedule.scheduled_at))
    return message


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


def failure_message(failure: Failure) -> resources_pb2.Failure:
    return resources_pb2.Failure(
        type=failure.type.removeprefix(_FOREIGN), message=failure.message, traceback=failure.traceback
    )
