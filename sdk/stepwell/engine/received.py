"""What became of the events that an instance received, made from its state."""

from __future__ import annotations

from typing import Literal, NamedTuple

from stepwell.engine.family import is_child
from stepwell.engine.instance import Instance
from stepwell.engine.records import EventReceived, StepKey

EventState = Literal["buffered", "taken", "dead"]
"""Kept until a wait takes it; taken by one; or dead: the instance ended before, or a restart forgot it."""


class Received(NamedTuple):
    """An event, and the wait that took it, where one did."""

    event: EventReceived
    state: EventState
    step: StepKey | None


def received_by(instance: Instance) -> list[Received]:
    """All events, in the order in which they came."""
    takers = {step.event.number: step.key for step in instance.steps.values() if step.event is not None}
    kept: set[int] = set()
    if instance.outcome is None:
        kept = {event.number for queue in instance.events.values() for event in queue}
    return [_received(event, takers.get(event.number), event.number in kept) for event in instance.received]


def _received(event: EventReceived, taker: StepKey | None, kept: bool) -> Received:
    if taker is not None:
        return Received(event, "taken", taker)
    return Received(event, "buffered" if kept else "dead", None)


def resend_id(instance: Instance, event: EventReceived) -> str:
    """The id under which it is sent elsewhere, so that sending it twice is sending it once: its own, or one made of
    where it was. Empty for the end of a child, which nobody sends: a restart keeps it, and it is true of its parent
    alone."""
    if is_child(event.event_type):
        return ""
    return event.event_id or f"{instance.uid}.{event.number}"
