"""What several records have in them ↔ its messages of stepwell.storage.v1: keys, payloads, failures, rollbacks,
retentions, limits."""

from __future__ import annotations

from data_plane.journal.v1 import journal_pb2 as pb
from stepwell.engine import records as r
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits


class UnknownRecordError(Exception):
    """The message says something that no record of this program stands for."""


_KINDS: dict[r.Kind, pb.Kind.ValueType] = {
    "do": pb.KIND_DO,
    "sleep": pb.KIND_SLEEP,
    "waitForEvent": pb.KIND_WAIT_FOR_EVENT,
    "timer": pb.KIND_TIMER,
    "rollback": pb.KIND_ROLLBACK,
    "cancel": pb.KIND_CANCEL,
}
_KIND_NAMES: dict[int, r.Kind] = {number: kind for kind, number in _KINDS.items()}


def write_key(message: pb.StepKey, key: r.StepKey) -> None:
    message.kind = _KINDS[key.kind]
    message.name = key.name
    message.count = key.count


def read_key(message: pb.StepKey) -> r.StepKey:
    kind = _KIND_NAMES.get(message.kind)
    if kind is None:
        raise UnknownRecordError(f"a step of the unknown kind {message.kind}")
    return r.StepKey(kind, message.name, message.count)


def write_payload(message: pb.Payload, payload: r.Payload) -> None:
    if isinstance(payload, bytes):
        message.inline = payload
    else:
        message.blob.id = payload.id
        message.blob.size_bytes = payload.size_bytes


def read_payload(message: pb.Payload) -> r.Payload:
    match message.WhichOneof("place"):
        case "inline":
            return message.inline
        case "blob":
            return r.BlobRef(message.blob.id, message.blob.size_bytes)
        case None:
            raise UnknownRecordError("a payload in an unknown place")


def write_failure(message: pb.Failure, failure: r.Failure) -> None:
    _write_one_failure(message, failure)
    cause = failure.cause
    while cause is not None:
        _write_one_failure(message.causes.add(), cause)
        cause = cause.cause


def _write_one_failure(message: pb.Failure, failure: r.Failure) -> None:
    message.module = failure.module
    message.type = failure.type
    message.message = failure.message
    message.traceback = failure.traceback


def read_failure(message: pb.Failure) -> r.Failure:
    cause: r.Failure | None = None
    for each in reversed(message.causes):
        cause = r.Failure(each.module, each.type, each.message, each.traceback, cause)
    return r.Failure(message.module, message.type, message.message, message.traceback, cause)


def write_rolled_back(message: pb.Errored | pb.Terminated, record: r.Errored | r.Terminated) -> None:
    if record.rolled_back is not None:
        message.rolled_back.SetInParent()
        if record.rolled_back.failure is not None:
            write_failure(message.rolled_back.failure, record.rolled_back.failure)


def read_rolled_back(message: pb.Errored | pb.Terminated) -> r.RolledBack | None:
    if not message.HasField("rolled_back"):
        return None
    rolled_back = message.rolled_back
    return r.RolledBack(read_failure(rolled_back.failure) if rolled_back.HasField("failure") else None)


def write_retention(message: pb.Created, retention: Retention) -> None:
    if retention.success_ms is not None:
        message.retention.success_ms = retention.success_ms
    if retention.error_ms is not None:
        message.retention.error_ms = retention.error_ms


def read_retention(message: pb.Created) -> Retention:
    if not message.HasField("retention"):
        return NOT_SAID
    retention = message.retention
    return Retention(
        retention.success_ms if retention.HasField("success_ms") else None,
        retention.error_ms if retention.HasField("error_ms") else None,
    )


def write_limits(message: pb.Created | pb.Migrated, limits: WorkflowLimits) -> None:
    if limits.steps is not None:
        message.limits.steps = limits.steps
    if limits.concurrency is not None:
        message.limits.concurrency = limits.concurrency


def read_limits(message: pb.Created | pb.Migrated) -> WorkflowLimits:
    if not message.HasField("limits"):
        return UNLIMITED
    limits = message.limits
    return WorkflowLimits(
        limits.steps if limits.HasField("steps") else None,
        limits.concurrency if limits.HasField("concurrency") else None,
    )


def write_expiry(
    message: pb.Completed | pb.Errored | pb.Terminated, record: r.Completed | r.Errored | r.Terminated
) -> None:
    if record.expires_at is not None:
        message.expires_at = record.expires_at


def read_expiry(message: pb.Completed | pb.Errored | pb.Terminated) -> int | None:
    return message.expires_at if message.HasField("expires_at") else None
