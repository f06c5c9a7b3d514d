"""Steps: attempts that start, succeed, fail, are retried or cancelled."""

from __future__ import annotations

import heapq
from typing import assert_never

from stepwell.engine.events import RetryPolicy, StepAttemptFailed, StepStarted, StepSucceeded
from stepwell.engine.instance import IllegalTransition, Live, Running
from stepwell.engine.records import AttemptFailed, StepCompleted, StepFailed, StepKey
from stepwell.engine.transition import Turn


def on_step_started(turn: Turn, event: StepStarted) -> None:
    """A body runs: known to this activation only, so that it is shown and its deadline is kept.

    Raises IllegalTransition when it began before: a guest can't put off its deadline by saying so again; and when more
    bodies would run than there may be steps: no record bounds them.
    """
    live = turn.live()
    _check_attempt(turn, event.key, event.attempt)
    running = live.running.get(event.key)
    if running is not None and running.begun:
        raise IllegalTransition(f"step {event.key.name!r} ({event.key.count}): attempt {event.attempt} began twice")
    if running is None and len(live.running) >= turn.limits.steps_max:
        raise IllegalTransition(f"more than {turn.limits.steps_max} steps run at once")
    deadline = event.at + event.timeout_ms + turn.limits.attempt_grace_ms if event.timeout_ms else None
    live.running[event.key] = Running(event.attempt, event.at, deadline)
    if deadline is not None:
        heapq.heappush(live.deadlines, (deadline, event.key))


def on_step_succeeded(turn: Turn, event: StepSucceeded) -> None:
    """A guest finished a step that the journal did not hold: record it, then let the guest go on."""
    live = turn.live()
    _check_attempt(turn, event.key, event.attempt)
    _end(live, event.key)
    turn.record(StepCompleted(event.at, event.key, event.attempt, event.at - event.elapsed_ms, event.result))
    turn.tell_last(held=True)


def on_step_attempt_failed(turn: Turn, event: StepAttemptFailed) -> None:
    """Retry after a delay, or fail for good."""
    live = turn.live()
    _check_attempt(turn, event.key, event.attempt)
    _end(live, event.key)
    started_at = event.at - event.elapsed_ms
    if event.retryable and event.attempt <= event.policy.limit:
        retry_at = event.at + retry_delay_ms(event.policy, event.attempt, turn.limits.delay_max_ms)
        turn.record(AttemptFailed(event.at, event.key, event.attempt, started_at, event.failure, retry_at))
    else:
        turn.record(StepFailed(event.at, event.key, event.attempt, started_at, event.failure))
        turn.tell_last()


def retry_delay_ms(policy: RetryPolicy, attempt: int, delay_max_ms: int) -> int:
    """How long after the failure of `attempt` the next one starts.

    Cloudflare's three: the delay itself, the delay times the attempt, or the delay doubled with each attempt.
    """
    match policy.backoff:
        case "constant":
            delay = policy.delay_ms
        case "linear":
            delay = policy.delay_ms * attempt
        case "exponential":
            delay = policy.delay_ms << min(attempt - 1, 64)
        case _:
            assert_never(policy.backoff)
    return min(delay, delay_max_ms)


def _end(live: Live, key: StepKey) -> None:
    live.running.pop(key, None)
    live.gone.discard(key)


def _check_attempt(turn: Turn, key: StepKey, attempt: int) -> None:
    """The journal must be at the attempt before this one.

    Raises IllegalTransition when it holds the key's result already, or another attempt is next.
    """
    step = turn.instance.steps.get(key)
    if step is None:
        turn.check_room(key)
        expected = 1
    elif step.status == "retrying":
        expected = step.attempts + 1
    else:
        raise IllegalTransition(f"step {key.name!r} ({key.count}) is {step.status} already")
    if attempt != expected:
        raise IllegalTransition(f"step {key.name!r} ({key.count}): attempt {attempt}, {expected} is next")
    if attempt > 1 and key not in turn.live().gone:
        raise IllegalTransition(f"step {key.name!r} ({key.count}): attempt {attempt} began before it was told to")
