"""Events that are sent to an instance: which of them it takes, and which it knows already."""

from __future__ import annotations

from stepwell.engine import fold
from stepwell.engine.events import EventSent
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.records import BlobRef, EventReceived, Payload, Record
from stepwell.engine.transition import Turn
from stepwell.engine.waits import match_events
from stepwell.errors import InvalidArgumentError, LimitExceededError, WrongStateError


def on_event_sent(turn: Turn, event: EventSent) -> None:
    """Keep the event; hand it to the first wait of its type.

    Raises WrongStateError once the instance has ended, LimitExceededError when too many events are kept,
    InvalidArgumentError when the request_id or the event_id was used for something else.
    """
    instance = turn.instance
    if _received_before(instance, event):
        return
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
    number = instance.events_received + 1
    turn.make_runnable(
        EventReceived(event.at, number, event.event_type, event.payload, event.request_id, event.event_id)
    )
    match_events(turn, event.event_type, event.at)
    turn.activate()


def known(instance: Instance, request_id: str, event_id: str) -> EventReceived | None:
    """The event that one of these ids names already."""
    before: Record | None = instance.requests.get(request_id) if request_id else None
    if before is None:
        before = instance.event_ids.get(event_id) if event_id else None
    return before if isinstance(before, EventReceived) else None


def _received_before(instance: Instance, event: EventSent) -> bool:
    """Whether this very event is known, by its request_id or by its own id.

    Of a large payload the node compares the bytes, and names the blob that is there already where they are the same.
    """
    called = instance.requests.get(event.request_id) if event.request_id else None
    if called is not None:
        if isinstance(called, EventReceived) and _body(called) == _body(event) and called.event_id == event.event_id:
            return True
        raise InvalidArgumentError(
            f"request_id {event.request_id!r} was used before, for another call; use a new one", field="request_id"
        )
    before = instance.event_ids.get(event.event_id) if event.event_id else None
    if before is None:
        return False
    if _body(before) != _body(event):
        raise InvalidArgumentError(
            f"event_id {event.event_id!r} was used before, for an event of another type or payload; use a new one",
            field="event_id",
        )
    return True


def _body(event: EventReceived | EventSent) -> tuple[str, Payload]:
    return event.event_type, event.payload


def _size(payload: Payload) -> int:
    return payload.size_bytes if isinstance(payload, BlobRef) else len(payload)


def _refuse_if_full(turn: Turn, event: EventSent) -> None:
    """An event that would end the instance is not taken: its sender hears why, and the instance goes on."""
    records = 2 if turn.instance.waits.get(event.event_type) else 1
    seen = turn.instance.stored_bytes + _size(event.payload) + records * fold.RECORD_BYTES
    most = turn.limits.instance_bytes_max
    if seen > most:
        raise LimitExceededError(
            f"the instance would have {seen:,} bytes stored with this event, and may have {most:,}",
            limit="instance_bytes_max",
            value=str(most),
            seen=str(seen),
        )
