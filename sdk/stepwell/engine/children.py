"""Instances that an instance creates, and the word of their end.

A child's end is an event of its parent, of a type that callers can't send. The child's owner says it until the
parent's journal has it, or the parent is gone. So it may come more than once, and after the parent's own end, which a
restart may undo.
"""

from __future__ import annotations

from stepwell.engine import fold
from stepwell.engine.events import ChildAsked, ChildEnded, ParentHeard
from stepwell.engine.instance import Phase
from stepwell.engine.records import BlobRef, ChildAdded, EventReceived, ParentTold
from stepwell.engine.transition import Turn
from stepwell.engine.waits import match_events
from stepwell.errors import LimitExceededError, WrongStateError


def on_child_asked(turn: Turn, event: ChildAsked) -> None:
    """Count it, once. Raises LimitExceededError for one too many, or for one whose chain of parents would be too long;
    WrongStateError once the instance has ended."""
    instance, limits = turn.instance, turn.limits
    if event.child in instance.children:
        return
    if instance.phase not in (Phase.LIVE, Phase.PAUSED):
        raise WrongStateError("the instance has ended and creates no more")
    if len(instance.children) >= limits.children_max:
        raise LimitExceededError(
            f"the instance has created {len(instance.children):,} others, as many as one may",
            limit="children_max", value=str(limits.children_max), seen=str(len(instance.children) + 1),
        )  # fmt: skip
    if instance.depth >= limits.depth_max:
        raise LimitExceededError(
            f"the instance has {instance.depth} parents above one another, as many as there may be: does a workflow "
            "create itself without end?",
            limit="depth_max", value=str(limits.depth_max), seen=str(instance.depth + 1),
        )  # fmt: skip
    turn.record(ChildAdded(event.at, event.child))


def on_child_ended(turn: Turn, event: ChildEnded) -> None:
    """Keep the word for whoever waits for it. It does nothing where it is there, or where nobody could ask for it."""
    instance = turn.instance
    if instance.phase in (Phase.ABSENT, Phase.DELETING) or event.child not in instance.children:
        return
    if event.request_id in instance.requests or instance.events.get(event.child):
        return
    size = event.payload.size_bytes if isinstance(event.payload, BlobRef) else len(event.payload)
    full = instance.stored_bytes + size + fold.RECORD_BYTES > turn.limits.instance_bytes_max
    if instance.phase is Phase.FINISHED and full:
        return
    number = instance.events_received + 1
    turn.make_runnable(EventReceived(event.at, number, event.child, event.payload, event.request_id))
    match_events(turn, event.child, event.at)
    turn.activate()


def on_parent_heard(turn: Turn, event: ParentHeard) -> None:
    """Nothing leads here any more for its parent's sake."""
    if turn.instance.untold:
        turn.record(ParentTold(event.at))
