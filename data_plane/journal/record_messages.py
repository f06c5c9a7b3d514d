"""Records ↔ their messages of stepwell.storage.v1, field by field.

Messages are filled in place: built from keyword arguments, the same one takes upb twice as long, and this is the step
path. A record type is known here when it is in both tables below; a test holds them to the union of all records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data_plane.journal import families
from data_plane.journal import step_messages as steps
from data_plane.journal.record_parts import (
    UnknownRecordError,
    read_expiry,
    read_failure,
    read_key,
    read_limits,
    read_payload,
    read_retention,
    read_rolled_back,
    write_expiry,
    write_failure,
    write_key,
    write_limits,
    write_payload,
    write_retention,
    write_rolled_back,
)
from data_plane.journal.v1 import journal_pb2 as pb
from stepwell.engine import records as r
from stepwell.engine.schedule import Schedule
from stepwell.names import Digest, InstanceId, InstanceUid


def fill(message: pb.Record, record: r.Record) -> None:
    """Write the record into an empty message. Raises ValueError for a value that the message can't hold."""
    name, write = _WRITERS[type(record)]
    write(getattr(message, name), record)


def read(message: pb.Record) -> r.Record:
    """The record in the message. Raises UnknownRecordError."""
    name = message.WhichOneof("record")
    if name is None:
        raise UnknownRecordError("a record of an unknown type")
    return _READERS[name](getattr(message, name))


def stored_bytes(record: r.Record) -> int:
    """What it takes in a row, before that is compressed."""
    message = pb.Record()
    fill(message, record)
    return message.ByteSize()


# One pair a record type, in the order of the union


def _write_activated(m: pb.Activated, record: r.Activated) -> None:
    m.at = record.at
    m.runtime = record.runtime
    m.trace = record.trace


def _read_activated(m: pb.Activated) -> r.Activated:
    return r.Activated(m.at, m.runtime, m.trace)


def _write_activation_ended(m: pb.ActivationEnded, record: r.ActivationEnded) -> None:
    m.at = record.at
    m.runnable = record.runnable


def _read_activation_ended(m: pb.ActivationEnded) -> r.ActivationEnded:
    return r.ActivationEnded(m.at, m.runnable)


def _write_sandbox_died(m: pb.SandboxDied, record: r.SandboxDied) -> None:
    m.at = record.at
    m.reason = record.reason


def _read_sandbox_died(m: pb.SandboxDied) -> r.SandboxDied:
    return r.SandboxDied(m.at, m.reason)


def _write_created(m: pb.Created, record: r.Created) -> None:
    m.at = record.at
    m.uid = record.uid
    m.digest = record.digest
    m.entrypoint = record.entrypoint
    write_payload(m.params, record.params)
    m.request_id = record.request_id
    m.trace = record.trace
    families.write_parent(m, record)
    if record.schedule is not None:
        m.schedule.cron, m.schedule.scheduled_at = record.schedule.cron, record.schedule.scheduled_at
    write_retention(m, record.retention)
    write_limits(m, record.limits)
    if record.origin is not None:
        _write_origin(m.origin, record.origin)


def _read_created(m: pb.Created) -> r.Created:
    uid, digest, params = InstanceUid(m.uid), Digest(m.digest), read_payload(m.params)
    parent, depth = families.read_parent(m)
    origin = _read_origin(m.origin) if m.HasField("origin") else None
    schedule = Schedule(m.schedule.cron, m.schedule.scheduled_at) if m.HasField("schedule") else None
    return r.Created(
        m.at,
        uid,
        digest,
        m.entrypoint,
        params,
        m.request_id,
        m.trace,
        parent,
        depth,
        origin,
        schedule,
        read_retention(m),
        read_limits(m),
    )


def _write_origin(m: pb.Origin, origin: r.Origin) -> None:
    m.instance = origin.instance
    m.uid = origin.uid
    write_key(m.step, origin.step)
    m.digest = origin.digest
    m.created_at = origin.created_at
    if origin.started_at is not None:
        m.started_at = origin.started_at
    for each in origin.records:
        fill(m.records.add(), each)


def _read_origin(m: pb.Origin) -> r.Origin:
    return r.Origin(
        InstanceId(m.instance),
        InstanceUid(m.uid),
        read_key(m.step),
        m.digest,
        m.created_at,
        m.started_at if m.HasField("started_at") else None,
        tuple(map(read, m.records)),
    )


def _write_paused(m: pb.Paused, record: r.Paused) -> None:
    m.at = record.at
    if record.failure is not None:
        write_failure(m.failure, record.failure)
    m.request_id = record.request_id


def _read_paused(m: pb.Paused) -> r.Paused:
    return r.Paused(m.at, read_failure(m.failure) if m.HasField("failure") else None, m.request_id)


def _write_resumed(m: pb.Resumed, record: r.Resumed) -> None:
    m.at = record.at
    m.paused_for = record.paused_for
    m.request_id = record.request_id


def _read_resumed(m: pb.Resumed) -> r.Resumed:
    return r.Resumed(m.at, m.paused_for, m.request_id)


def _write_restarted(m: pb.Restarted, record: r.Restarted) -> None:
    m.at = record.at
    if record.step is not None:
        write_key(m.step, record.step)
    m.kept = record.kept
    m.events = record.events
    m.paused_for = record.paused_for
    m.request_id = record.request_id


def _read_restarted(m: pb.Restarted) -> r.Restarted:
    step = read_key(m.step) if m.HasField("step") else None
    return r.Restarted(m.at, step, m.kept, m.events, m.paused_for, m.request_id)


def _write_cancel_requested(m: pb.CancelRequested, record: r.CancelRequested) -> None:
    m.at = record.at
    m.due = record.due
    m.reason = record.reason
    m.request_id = record.request_id


def _read_cancel_requested(m: pb.CancelRequested) -> r.CancelRequested:
    return r.CancelRequested(m.at, m.due, m.reason, m.request_id)


def _write_rollback_begun(m: pb.RollbackBegun, record: r.RollbackBegun) -> None:
    m.at = record.at
    m.paused_for = record.paused_for
    m.request_id = record.request_id


def _read_rollback_begun(m: pb.RollbackBegun) -> r.RollbackBegun:
    return r.RollbackBegun(m.at, m.paused_for, m.request_id)


def _write_migrated(m: pb.Migrated, record: r.Migrated) -> None:
    m.at = record.at
    m.digest = record.digest
    m.entrypoint = record.entrypoint
    m.request_id = record.request_id
    write_limits(m, record.limits)


def _read_migrated(m: pb.Migrated) -> r.Migrated:
    return r.Migrated(m.at, Digest(m.digest), m.entrypoint, m.request_id, read_limits(m))


def _write_nothing_to_do(m: pb.NothingToDo, record: r.NothingToDo) -> None:
    m.at = record.at
    m.resume = record.resume
    m.request_id = record.request_id
    m.cancel = record.cancel


def _read_nothing_to_do(m: pb.NothingToDo) -> r.NothingToDo:
    return r.NothingToDo(m.at, m.resume, m.request_id, m.cancel)


def _write_completed(m: pb.Completed, record: r.Completed) -> None:
    m.at = record.at
    write_payload(m.output, record.output)
    write_expiry(m, record)


def _read_completed(m: pb.Completed) -> r.Completed:
    return r.Completed(m.at, read_payload(m.output), read_expiry(m))


def _write_errored(m: pb.Errored, record: r.Errored) -> None:
    m.at = record.at
    write_failure(m.failure, record.failure)
    write_rolled_back(m, record)
    write_expiry(m, record)


def _read_errored(m: pb.Errored) -> r.Errored:
    return r.Errored(m.at, read_failure(m.failure), read_rolled_back(m), read_expiry(m))


def _write_terminated(m: pb.Terminated, record: r.Terminated) -> None:
    m.at = record.at
    m.request_id = record.request_id
    write_rolled_back(m, record)
    write_expiry(m, record)


def _read_terminated(m: pb.Terminated) -> r.Terminated:
    return r.Terminated(m.at, m.request_id, read_rolled_back(m), read_expiry(m))


def _write_deleting(m: pb.Deleting, record: r.Deleting) -> None:
    m.at = record.at
    m.uid = record.uid
    m.created_at = record.created_at
    m.request_id = record.request_id


def _read_deleting(m: pb.Deleting) -> r.Deleting:
    return r.Deleting(m.at, InstanceUid(m.uid), m.created_at, m.request_id)


_WRITERS: dict[type[Any], tuple[str, Callable[[Any, Any], None]]] = {
    r.StepCompleted: ("step_completed", steps.write_step_completed),
    r.SleepStarted: ("sleep_started", steps.write_sleep_started),
    r.SleepFired: ("sleep_fired", steps.write_at_and_key),
    r.WaitStarted: ("wait_started", steps.write_wait_started),
    r.WaitTimedOut: ("wait_timed_out", steps.write_at_and_key),
    r.EventReceived: ("event_received", steps.write_event_received),
    r.EventMatched: ("event_matched", steps.write_event_matched),
    r.StepCancelled: ("step_cancelled", steps.write_at_and_key),
    r.AttemptFailed: ("attempt_failed", steps.write_attempt_failed),
    r.StepFailed: ("step_failed", steps.write_step_failed),
    r.Activated: ("activated", _write_activated),
    r.ActivationEnded: ("activation_ended", _write_activation_ended),
    r.SandboxDied: ("sandbox_died", _write_sandbox_died),
    r.Created: ("created", _write_created),
    r.ChildAdded: ("child_added", families.write_child_added),
    r.ParentTold: ("parent_told", families.write_parent_told),
    r.Paused: ("paused", _write_paused),
    r.Resumed: ("resumed", _write_resumed),
    r.Restarted: ("restarted", _write_restarted),
    r.CancelRequested: ("cancel_requested", _write_cancel_requested),
    r.RollbackBegun: ("rollback_begun", _write_rollback_begun),
    r.Migrated: ("migrated", _write_migrated),
    r.NothingToDo: ("nothing_to_do", _write_nothing_to_do),
    r.Completed: ("completed", _write_completed),
    r.Errored: ("errored", _write_errored),
    r.Terminated: ("terminated", _write_terminated),
    r.Deleting: ("deleting", _write_deleting),
}
_READERS: dict[str, Callable[[Any], r.Record]] = {
    "step_completed": steps.read_step_completed,
    "sleep_started": steps.read_sleep_started,
    "sleep_fired": steps.read_sleep_fired,
    "wait_started": steps.read_wait_started,
    "wait_timed_out": steps.read_wait_timed_out,
    "event_received": steps.read_event_received,
    "event_matched": steps.read_event_matched,
    "step_cancelled": steps.read_step_cancelled,
    "attempt_failed": steps.read_attempt_failed,
    "step_failed": steps.read_step_failed,
    "activated": _read_activated,
    "activation_ended": _read_activation_ended,
    "sandbox_died": _read_sandbox_died,
    "created": _read_created,
    "child_added": families.read_child_added,
    "parent_told": families.read_parent_told,
    "paused": _read_paused,
    "resumed": _read_resumed,
    "restarted": _read_restarted,
    "cancel_requested": _read_cancel_requested,
    "rollback_begun": _read_rollback_begun,
    "migrated": _read_migrated,
    "nothing_to_do": _read_nothing_to_do,
    "completed": _read_completed,
    "errored": _read_errored,
    "terminated": _read_terminated,
    "deleting": _read_deleting,
}
