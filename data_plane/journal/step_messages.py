"""Of the records' messages, those of steps, sleeps, waits and events."""

from __future__ import annotations

from data_plane.journal.record_parts import (
    read_failure,
    read_key,
    read_payload,
    write_failure,
    write_key,
    write_payload,
)
from data_plane.journal.v1 import journal_pb2 as pb
from stepwell.engine import records as r


def write_step_completed(m: pb.StepCompleted, record: r.StepCompleted) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.attempt = record.attempt
    m.started_at = record.started_at
    write_payload(m.result, record.result)


def read_step_completed(m: pb.StepCompleted) -> r.StepCompleted:
    return r.StepCompleted(m.at, read_key(m.key), m.attempt, m.started_at, read_payload(m.result))


def write_sleep_started(m: pb.SleepStarted, record: r.SleepStarted) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.due = record.due


def read_sleep_started(m: pb.SleepStarted) -> r.SleepStarted:
    return r.SleepStarted(m.at, read_key(m.key), m.due)


def write_at_and_key(
    m: pb.SleepFired | pb.WaitTimedOut | pb.StepCancelled, record: r.SleepFired | r.WaitTimedOut | r.StepCancelled
) -> None:
    m.at = record.at
    write_key(m.key, record.key)


def read_sleep_fired(m: pb.SleepFired) -> r.SleepFired:
    return r.SleepFired(m.at, read_key(m.key))


def write_wait_started(m: pb.WaitStarted, record: r.WaitStarted) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.event_type = record.event_type
    if record.due is not None:
        m.due = record.due


def read_wait_started(m: pb.WaitStarted) -> r.WaitStarted:
    return r.WaitStarted(m.at, read_key(m.key), m.event_type, m.due if m.HasField("due") else None)


def read_wait_timed_out(m: pb.WaitTimedOut) -> r.WaitTimedOut:
    return r.WaitTimedOut(m.at, read_key(m.key))


def write_event_received(m: pb.EventReceived, record: r.EventReceived) -> None:
    m.at = record.at
    m.number = record.number
    m.event_type = record.event_type
    write_payload(m.payload, record.payload)
    m.request_id = record.request_id
    m.event_id = record.event_id


def read_event_received(m: pb.EventReceived) -> r.EventReceived:
    return r.EventReceived(m.at, m.number, m.event_type, read_payload(m.payload), m.request_id, m.event_id)


def write_event_matched(m: pb.EventMatched, record: r.EventMatched) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.number = record.number


def read_event_matched(m: pb.EventMatched) -> r.EventMatched:
    return r.EventMatched(m.at, read_key(m.key), m.number)


def read_step_cancelled(m: pb.StepCancelled) -> r.StepCancelled:
    return r.StepCancelled(m.at, read_key(m.key))


def write_attempt_failed(m: pb.AttemptFailed, record: r.AttemptFailed) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.attempt = record.attempt
    m.started_at = record.started_at
    write_failure(m.failure, record.failure)
    m.retry_at = record.retry_at


def read_attempt_failed(m: pb.AttemptFailed) -> r.AttemptFailed:
    return r.AttemptFailed(m.at, read_key(m.key), m.attempt, m.started_at, read_failure(m.failure), m.retry_at)


def write_step_failed(m: pb.StepFailed, record: r.StepFailed) -> None:
    m.at = record.at
    write_key(m.key, record.key)
    m.attempt = record.attempt
    m.started_at = record.started_at
    write_failure(m.failure, record.failure)


def read_step_failed(m: pb.StepFailed) -> r.StepFailed:
    return r.StepFailed(m.at, read_key(m.key), m.attempt, m.started_at, read_failure(m.failure))
