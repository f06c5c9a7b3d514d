"""Waits for events: one sent early is kept, first in first out by type, and taken by the first wait of its type."""

from __future__ import annotations

from stepwell.engine import fold
from stepwell.engine.events import EventSent, WaitAsked
from stepwell.engine.instance import IllegalTransition, Phase
from stepwell.engine.records import BlobRef, EventMatched, EventReceived, Payload, StepKey, WaitStarted, WaitTimedOut
from stepwell.engine.transition import Turn
from stepwell.errors import InvalidArgumentError, LimitExceededError, WrongStateError


def on_wait_asked(turn: Turn, event: WaitAsked) -> None:
    """Open the wait, and give it the oldest event of its type that nobody took."""
    turn.live()
    if event.key in turn.instance.steps:
        raise IllegalTransition(f"{event.key} was asked for before")
    turn.check_room(event.key)
    due = None if event.timeout_ms is None else event.at + min(event.timeout_ms, turn.limits.delay_max_ms)
    turn.record(WaitStarted(event.at, event.key, event.event_type, due))
    match_events(turn, event.event_type, event.at)


def on_event_sent(turn: Turn, event: EventSent) -> None:
    """Keep the event; hand it to the first wait of its type.

    Raises WrongStateError once the instance has ended, LimitExceededError when too many events are kept,
    InvalidArgumentError when the request_id was used for something else.
    """
    instance = turn.instance
    if event.request_id and (before := instance.requests.get(event.request_id)) is not None:
        if (
            isinstance(before, EventReceived)
            and before.event_type == event.event_type
            and _same(before.payload, event.payload)
        ):
            return
        raise InvalidArgumentError(
            f"request_id {event.request_id!r} was used before, for another call; use a new one",
            field="request_id",
        )
    if instance.phase not in (Phase.LIVE, Phase.PAUSED):
        raise WrongStateError("the instance has ended and takes no more events")
    if instance.buffered_events >= turn.limits.buffered_events_max and not instance.waits.get(event.event_type):
        raise LimitExceededError(
            f"the instance keeps {instance.buffered_events} events that it has not waited for; no more are taken",
            limit="buffered_events_max",
            value=str(turn.limits.buffered_events_max),
            seen=str(instance.buffered_events + 1),
        )
    _refuse_if_full(turn, event)
    turn.make_runnable(
        EventReceived(event.at, instance.events_received + 1, event.event_type, event.payload, event.request_id)
    )
    match_events(turn, event.event_type, event.at)
    turn.activate()


def _refuse_if_full(turn: Turn, event: EventSent) -> None:
    """An event that would end the instance is not taken: its sender hears why, and the instance goes on."""
    payload, records = event.payload, 2 if turn.instance.waits.get(event.event_type) else 1
    size = payload.size_bytes if isinstance(payload, BlobRef) else len(payload)
    seen, most = turn.instance.stored_bytes + size + records * fold.RECORD_BYTES, turn.limits.instance_bytes_max
    if seen > most:
        raise LimitExceededError(
            f"the instance would have {seen:,} bytes stored with this event, and may have {most:,}",
            limit="instance_bytes_max",
            value=str(most),
            seen=str(seen),
        )


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


def _same(one: Payload, other: Payload) -> bool:
    """Blobs are minted anew for each call, so of two blobs only the sizes can be compared."""
    if isinstance(one, BlobRef) or isinstance(other, BlobRef):
        return isinstance(one, BlobRef) and isinstance(other, BlobRef) and one.size_bytes == other.size_bytes
    return one == other
