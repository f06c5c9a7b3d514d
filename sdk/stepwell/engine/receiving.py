"""Events that are sent to an instance: which of them it takes, and which it knows already."""

from __future__ import annotations

from stepwell.engine import fold
from stepwell.engine.events import EventSent
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.limits import EVENTS_LEAVE_RECORDS
from stepwell.engine.records import EventReceived, Payload, Record, size_of
from stepwell.engine.transition import Turn
from stepwell.engine.waits import match_events
from stepwell.errors import InvalidArgumentError, LimitExceededError, NotWaitingError, WrongStateError


def on_event_sent(turn: Turn, event: EventSent) -> None:
    """Keep the event; hand it to the first wait of its type.

    Raises WrongStateError once the instance has ended, NotWaitingError for what only a wait may have where none is
    open, LimitExceededError when too much is kept or stored,
    InvalidArgumentError when the request_id or the event_id was used for something else.
    """
    instance = turn.instance
    if _received_before(instance, event):
        return
    if instance.phase not in (Phase.LIVE, Phase.PAUSED):
        raise WrongStateError("the instance has ended and takes no more events")
    if event.only_if_waiting and not _is_awaited(instance, event.event_type):
        raise NotWaitingError(f"the instance does not wait for an event of type {event.event_type!r} now")
    _refuse_if_crowded(turn, event)
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


def _is_awaited(instance: Instance, event_type: str) -> bool:
    """Whether a wait would take one more event at once: one that lies beside a wait, its match lost with a node, goes
    before."""
    return len(instance.waits.get(event_type, ())) > len(instance.events.get(event_type, ()))


def _refuse_if_crowded(turn: Turn, event: EventSent) -> None:
    """What nobody waits for is kept, and so much is not."""
    instance, limits = turn.instance, turn.limits
    if _is_awaited(instance, event.event_type):
        return
    if instance.buffered_events >= limits.buffered_events_max:
        raise LimitExceededError(
            f"the instance keeps {instance.buffered_events:,} events that it has not waited for; no more are taken",
            limit="buffered_events_max",
            value=str(limits.buffered_events_max),
            seen=str(instance.buffered_events + 1),
        )
    seen, most = instance.buffered_bytes + size_of(event.payload), limits.buffered_event_bytes_max
    if seen > most:
        raise LimitExceededError(
            f"the instance would keep {seen:,} bytes of events that it has not waited for, and may keep {most:,}",
            limit="buffered_event_bytes_max",
            value=str(most),
            seen=str(seen),
        )


def _refuse_if_full(turn: Turn, event: EventSent) -> None:
    """An event that would end the instance, or leave it no room to end by itself, is not taken: its sender hears why,
    and the instance goes on."""
    instance, limits = turn.instance, turn.limits
    waiting, kept = (len(each.get(event.event_type, ())) for each in (instance.waits, instance.events))
    records = 1 + min(waiting, kept + 1)
    size = size_of(event.payload) + records * fold.RECORD_BYTES
    for limit, unit, seen, most, left in (
        ("records_max", "records", instance.records + records, limits.records_max, EVENTS_LEAVE_RECORDS),
        (
            "instance_bytes_max",
            "bytes",
            instance.stored_bytes + size,
            limits.instance_bytes_max,
            EVENTS_LEAVE_RECORDS * fold.RECORD_BYTES,
        ),
    ):
        left = min(left, most // 10)
        if seen > most - left:
            raise LimitExceededError(
                f"the instance would have {seen:,} {unit} stored with this event, and may have {most:,}, "
                f"the last {left:,} without events",
                limit=limit,
                value=str(most),
                seen=str(seen),
            )
