"""A cancel: `run` is asked to come to an end by itself, and has a while for it. After that, it is terminated.

The request is a completion: `run` is cancelled where it stands once that enters, as asyncio cancels a task. It may
catch that, and have further steps, as its journal grows on. The time is for `run` alone: once its steps are rolled
back, whatever ended it, a cancel changes nothing any more.
"""

from __future__ import annotations

from typing import Final

from stepwell.engine.control import carried_out_before, refuse_if_finished
from stepwell.engine.events import CancelInstanceRequested
from stepwell.engine.instance import Instance
from stepwell.engine.records import CancelRequested, Failure, NothingToDo, Terminated
from stepwell.engine.transition import Turn
from stepwell.errors import InvalidArgumentError

_LET_OUT: Final = ("asyncio.exceptions", "CancelledError")
"""What `run` raises that has not caught the cancel, or raises it again."""


def on_cancel_requested(turn: Turn, event: CancelInstanceRequested) -> None:
    """Cancel `run` at what it waits for. One that is paused hears of it when it goes on, and its grace begins then; one
    that never ran has nothing to clean up, and ends at once.

    Raises WrongStateError once it has ended, InvalidArgumentError when the request_id was used for something else.
    """
    instance = turn.instance
    if carried_out_before(instance, event.request_id, CancelRequested):
        before = instance.requests[event.request_id]
        if isinstance(before, CancelRequested) and before.reason != event.reason:
            raise InvalidArgumentError(
                f"request_id {event.request_id!r} was used before, with another reason; use a new one",
                field="request_id",
            )
        return
    refuse_if_finished(instance, "cancelled")
    if instance.cancelling is not None or instance.rollback_from is not None:
        if event.request_id:
            turn.record(NothingToDo(event.at, False, event.request_id, cancel=True))
        return
    due = event.at + turn.limits.cancel_grace_ms
    turn.make_runnable(CancelRequested(event.at, due, event.reason, event.request_id))
    if instance.started_at is None:
        turn.record(Terminated(event.at, "", expires_at=turn.expiry(event.at)))
        return
    turn.tell_last()
    turn.activate()


def ends_cancelled(instance: Instance, failure: Failure) -> bool:
    """Whether what `run` raised is the cancel that it was given."""
    return instance.cancelling is not None and (failure.module, failure.type) == _LET_OUT


def end_grace(turn: Turn, at: int) -> None:
    """It took too long: results of steps that still run are dropped."""
    turn.make_runnable(Terminated(at, "", expires_at=turn.expiry(at)))
    turn.end_activation()
