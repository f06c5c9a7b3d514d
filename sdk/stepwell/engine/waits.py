"""Waits for events: one sent early is kept, first in first out by type, and taken by the first wait of its type."""

from __future__ import annotations

from stepwell.engine.events import WaitAsked
from stepwell.engine.instance import IllegalTransition
from stepwell.engine.records import EventMatched, StepKey, WaitStarted, WaitTimedOut
from stepwell.engine.transition import Turn


def on_wait_asked(turn: Turn, event: WaitAsked) -> None:
    """Open the wait, and give it the oldest event of its type that nobody took."""
    turn.live()
    if event.key in turn.instance.steps:
        raise IllegalTransition(f"{event.key} was asked for before")
    turn.check_room(event.key)
    due = None if event.timeout_ms is None else event.at + min(event.timeout_ms, turn.limits.delay_max_ms)
    turn.record(WaitStarted(event.at, event.key, event.event_type, due))
    match_events(turn, event.event_type, event.at)


def match_events(turn: Turn, event_type: str, at: int) -> None:
    """Give the oldest kept events of the type to its oldest open waits."""
    instance = turn.instance
    waits, events = instance.waits.get(event_type), instance.events.get(event_type)
    while waits and events:
        turn.record(EventMatched(at, next(iter(waits)), events[0].number))
        turn.tell_last()


def time_out(turn: Turn, key: StepKey, at: int) -> None:
    """No event came in time."""
    turn.record(WaitTimedOut(at, key))
    turn.tell_last()
