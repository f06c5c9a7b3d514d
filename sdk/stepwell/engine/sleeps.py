"""Sleeps, and the timers of asyncio inside `run`: asked for once, due at an absolute time."""

from __future__ import annotations

from stepwell.engine.events import SleepAsked
from stepwell.engine.instance import IllegalTransition
from stepwell.engine.records import SleepFired, SleepStarted, StepKey
from stepwell.engine.transition import Turn


def on_sleep_asked(turn: Turn, event: SleepAsked) -> None:
    """Fix the due time at first sight; a replay never computes it again."""
    turn.live()
    if event.key in turn.instance.steps:
        raise IllegalTransition(f"{event.key} was asked for before")
    turn.check_room(event.key)
    due = event.until if event.until is not None else event.at + (event.duration_ms or 0)
    turn.record(SleepStarted(event.at, event.key, min(due, event.at + turn.limits.delay_max_ms)))


def fire(turn: Turn, key: StepKey, at: int) -> None:
    """The sleep is over."""
    turn.record(SleepFired(at, key))
    turn.tell_last()
