"""What a guest says, as the engine's events; the envelopes are those of `stepwell.frames`.

A new message has one place here. One that is not known is a fault, never a message to skip.
"""

from __future__ import annotations

from typing import Any

from stepwell.engine import events
from stepwell.engine.events import Event, RetryPolicy
from stepwell.engine.records import Failure, Kind, RolledBack, StepKey


def event_of(message: list[Any], payload: bytes, at: int) -> Event | None:
    """The event that the message of an activation is at this time; None for its "closed", which ends it.

    Raises ValueError for a message that is not known here.
    """
    match message:
        case ["result", _, name, count, attempt, elapsed_us, *kind]:
            return events.StepSucceeded(at, _body_key(kind, name, count), attempt, elapsed_us // 1000, payload)
        case ["started", _, name, count, attempt, timeout_ms, *kind]:
            return events.StepStarted(at, _body_key(kind, name, count), attempt, timeout_ms)
        case ["idle", _, entered]:
            return events.GuestIdle(at, entered)
        case ["failed", _, name, count, attempt, elapsed_us, retryable, limit, delay_ms, backoff, error, *kind]:
            return events.StepAttemptFailed(
                at,
                _body_key(kind, name, count),
                attempt,
                elapsed_us // 1000,
                retryable,
                RetryPolicy(limit, delay_ms, backoff),
                failure_from(error),
            )
        case ["sleep", _, name, count, duration_ms, until_ms]:
            return events.SleepAsked(at, StepKey("sleep", name, count), duration_ms, until_ms)
        case ["wait", _, name, count, event_type, timeout_ms]:
            return events.WaitAsked(at, StepKey("waitForEvent", name, count), event_type, timeout_ms)
        case ["timer", _, count, when_ms]:
            return events.SleepAsked(at, StepKey("timer", "", count), None, when_ms)
        case ["cancel", _, kind, name, count]:
            return events.KeyCancelled(at, StepKey(kind, name, count))
        case ["quiet", _, hold]:
            return events.GuestQuiet(at, hold)
        case ["returned", _]:
            return events.RunReturned(at, payload)
        case ["raised", _, error]:
            return events.RunRaised(at, failure_from(error))
        case ["raised", _, error, True, rollback_error]:
            failed = None if rollback_error is None else failure_from(rollback_error)
            return events.RunRaised(at, failure_from(error), RolledBack(failed))
        case ["mismatch", _, position, expected, got]:
            return events.ReplayMismatched(at, position, expected, got)
        case ["closed", _]:
            return None
        case _:
            raise ValueError(f"the testing kit does not know what a guest means by {message[:2]!r}")


def _body_key(kind: list[Kind], name: str, count: int) -> StepKey:
    """Of what has a body: a step where nothing else is said."""
    return StepKey(kind[0] if kind else "do", name, count)


def failure_from(error: list[Any]) -> Failure:
    """An ERROR array of the wire as the journal keeps it."""
    module, name, message, traceback, cause = error
    return Failure(module, name, message, traceback, None if cause is None else failure_from(cause))


def error_from(failure: Failure) -> list[Any]:
    """The way back."""
    cause = None if failure.cause is None else error_from(failure.cause)
    return [failure.module, failure.type, failure.message, failure.traceback, cause]
