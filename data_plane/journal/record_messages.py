"""Records ↔ their messages of stepwell.storage.v1, field by field.

Messages are filled in place: built from keyword arguments, the same one takes upb twice as long, and this is the step
path. A record type is known here when it is in both tables below; a test holds them to the union of all records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from stepwell.names import Digest, InstanceUid


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


# One pair a record type, in the order of the union


def _write_step_completed(m: pb.StepCompleted, record: r.StepCompleted) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.attempt = record.attempt
    m.started_at = record.started_at
    write_payload(m.result, record.result)


def _read_step_completed(m: pb.StepCompleted) -> r.StepCompleted:
    return r.StepCompleted(m.at, read_key(m.key), m.attempt, m.started_at, read_payload(m.result))


def _write_sleep_started(m: pb.SleepStarted, record: r.SleepStarted) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.due = record.due


def _read_sleep_started(m: pb.SleepStarted) -> r.SleepStarted:
    return r.SleepStarted(m.at, read_key(m.key), m.due)


def _write_at_and_key(
    m: pb.SleepFired | pb.WaitTimedOut | pb.StepCancelled, record: r.SleepFired | r.WaitTimedOut | r.StepCancelled
) -> None:
    m.at = record.at
    write_key(m.key, record.key)


def _read_sleep_fired(m: pb.SleepFired) -> r.SleepFired:
    return r.SleepFired(m.at, read_key(m.key))


def _write_wait_started(m: pb.WaitStarted, record: r.WaitStarted) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.event_type = record.event_type
    if record.due is not None:
        m.due = record.due


def _read_wait_started(m: pb.WaitStarted) -> r.WaitStarted:
    return r.WaitStarted(m.at, read_key(m.key), m.event_type, m.due if m.HasField("due") else None)


def _read_wait_timed_out(m: pb.WaitTimedOut) -> r.WaitTimedOut:
    return r.WaitTimedOut(m.at, read_key(m.key))


def _write_event_received(m: pb.EventReceived, record: r.EventReceived) -> None:
    m.at = record.at
    m.number = record.number
    m.event_type = record.event_type
    write_payload(m.payload, record.payload)
    m.request_id = record.request_id
    m.event_id = record.event_id


def _read_event_received(m: pb.EventReceived) -> r.EventReceived:
    return r.EventReceived(m.at, m.number, m.event_type, read_payload(m.payload), m.request_id, m.event_id)


def _write_event_matched(m: pb.EventMatched, record: r.EventMatched) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.number = record.number


def _read_event_matched(m: pb.EventMatched) -> r.EventMatched:
    return r.EventMatched(m.at, read_key(m.key), m.number)


def _read_step_cancelled(m: pb.StepCancelled) -> r.StepCancelled:
    return r.StepCancelled(m.at, read_key(m.key))


def _write_attempt_failed(m: pb.AttemptFailed, record: r.AttemptFailed) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.attempt = record.attempt
    m.started_at = record.started_at
    write_failure(m.failure, record.failure)
    m.retry_at = record.retry_at


def _read_attempt_failed(m: pb.AttemptFailed) -> r.AttemptFailed:
    return r.AttemptFailed(m.at, read_key(m.key), m.attempt, m.started_at, read_failure(m.failure), m.retry_at)


def _write_step_failed(m: pb.StepFailed, record: r.StepFailed) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.attempt = record.attempt
    m.started_at = record.started_at
    write_failure(m.failure, record.failure)


def _read_step_failed(m: pb.StepFailed) -> r.StepFailed:
    return r.StepFailed(m.at, read_key(m.key), m.attempt, m.started_at, read_failure(m.failure))


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
    write_retention(m, record.retention)
    write_limits(m, record.limits)


def _read_created(m: pb.Created) -> r.Created:
    return r.Created(
        m.at,
        InstanceUid(m.uid),
        Digest(m.digest),
        m.entrypoint,
        read_payload(m.params),
        m.request_id,
        m.trace,
        read_retention(m),
        read_limits(m),
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


def _read_nothing_to_do(m: pb.NothingToDo) -> r.NothingToDo:
    return r.NothingToDo(m.at, m.resume, m.request_id)


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
    r.StepCompleted: ("step_completed", _write_step_completed),
    r.SleepStarted: ("sleep_started", _write_sleep_started),
    r.SleepFired: ("sleep_fired", _write_at_and_key),
    r.WaitStarted: ("wait_started", _write_wait_started),
    r.WaitTimedOut: ("wait_timed_out", _write_at_and_key),
    r.EventReceived: ("event_received", _write_event_received),
    r.EventMatched: ("event_matched", _write_event_matched),
    r.StepCancelled: ("step_cancelled", _write_at_and_key),
    r.AttemptFailed: ("attempt_failed", _write_attempt_failed),
    r.StepFailed: ("step_failed", _write_step_failed),
    r.Activated: ("activated", _write_activated),
    r.ActivationEnded: ("activation_ended", _write_activation_ended),
    r.SandboxDied: ("sandbox_died", _write_sandbox_died),
    r.Created: ("created", _write_created),
    r.Paused: ("paused", _write_paused),
    r.Resumed: ("resumed", _write_resumed),
    r.Restarted: ("restarted", _write_restarted),
    r.RollbackBegun: ("rollback_begun", _write_rollback_begun),
    r.Migrated: ("migrated", _write_migrated),
    r.NothingToDo: ("nothing_to_do", _write_nothing_to_do),
    r.Completed: ("completed", _write_completed),
    r.Errored: ("errored", _write_errored),
    r.Terminated: ("terminated", _write_terminated),
    r.Deleting: ("deleting", _write_deleting),
}
_READERS: dict[str, Callable[[Any], r.Record]] = {
    "step_completed": _read_step_completed,
    "sleep_started": _read_sleep_started,
    "sleep_fired": _read_sleep_fired,
    "wait_started": _read_wait_started,
    "wait_timed_out": _read_wait_timed_out,
    "event_received": _read_event_received,
    "event_matched": _read_event_matched,
    "step_cancelled": _read_step_cancelled,
    "attempt_failed": _read_attempt_failed,
    "step_failed": _read_step_failed,
    "activated": _read_activated,
    "activation_ended": _read_activation_ended,
    "sandbox_died": _read_sandbox_died,
    "created": _read_created,
    "paused": _read_paused,
    "resumed": _read_resumed,
    "restarted": _read_restarted,
    "rollback_begun": _read_rollback_begun,
    "migrated": _read_migrated,
    "nothing_to_do": _read_nothing_to_do,
    "completed": _read_completed,
    "errored": _read_errored,
    "terminated": _read_terminated,
    "deleting": _read_deleting,
}
