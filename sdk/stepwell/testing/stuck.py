"""What an instance is at, in words: why a test that waits for it waits in vain."""

from __future__ import annotations

from stepwell.engine.instance import Instance
from stepwell.engine.records import CANCEL, Completed, Errored, StepKey
from stepwell.engine.status import status_of
from stepwell.events import time_from_ms
from stepwell.guest.asks import shown


def standing(state: Instance) -> str:
    """Such as: it waits for event 'approval', which nobody sent; it would time out at 2030-01-02T00:00:00+00:00."""
    outcome = state.outcome
    if isinstance(outcome, Completed):
        return "it is complete"
    if isinstance(outcome, Errored):
        return f"it is errored: {outcome.failure.type}: {outcome.failure.message}"
    if state.paused is not None:
        failure = state.paused.failure
        why = f" with {failure.type}: {failure.message}" if failure is not None else ", and nobody resumes it"
        return f"it is {status_of(state)}{why}"
    words = [_open(state, key) for key in state.open if key != CANCEL]
    if state.cancelling is not None:
        words.append("it was cancelled, and cleans up")
    if state.live is not None:
        words += [f"it runs {shown(key)}" for key in state.live.running]
    return "; ".join(words) or f"it is {status_of(state)}"


def _open(state: Instance, key: StepKey) -> str:
    ask = state.open[key]
    at = "" if ask.due is None else time_from_ms(ask.due).isoformat()
    if key.kind == "waitForEvent":
        then = f"it would time out at {at}" if at else "it waits for ever"
        return f"it waits for event {ask.event_type!r} ({shown(key)}), which nobody sent; {then}"
    if key.kind == "do":
        return f"{shown(key)} is tried again at {at}"
    return f"it waits for {shown(key)} until {at}"
