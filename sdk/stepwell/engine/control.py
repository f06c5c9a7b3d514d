"""What callers ask of an instance: create, pause, resume, terminate, delete. `cancelling` has a cancel.

A call that was carried out before, by its request_id, is answered again and changes nothing; so is one that finds
nothing to do. What the state does not allow raises WrongStateError before anything is recorded.
"""

from __future__ import annotations

from stepwell.engine.actions import TellHold, TellRelease, WakeNow
from stepwell.engine.events import (
    CreateRequested,
    DeleteRequested,
    GuestQuiet,
    PauseRequested,
    ResumeRequested,
    TerminateRequested,
)
from stepwell.engine.instance import IllegalTransition, Instance, Phase
from stepwell.engine.records import (
    CancelRequested,
    Created,
    Deleting,
    NothingToDo,
    Paused,
    Record,
    Resumed,
    RollbackBegun,
    Terminated,
)
from stepwell.engine.transition import Turn
from stepwell.errors import InvalidArgumentError, WrongStateError


def on_create_requested(turn: Turn, event: CreateRequested) -> None:
    """A new instance, pinned to its version for good. Raises IllegalTransition where there is one already."""
    if turn.instance.phase is not Phase.ABSENT:
        raise IllegalTransition("created twice")
    turn.make_runnable(
        Created(
            event.at,
            event.uid,
            event.digest,
            event.entrypoint,
            event.params,
            event.request_id,
            event.trace,
            event.parent,
            event.depth,
            event.origin,
            event.schedule,
            event.retention,
            event.limits,
        )
    )
    turn.activate()


def on_pause_requested(turn: Turn, event: PauseRequested) -> None:
    """No body starts any more; those that run end and are recorded."""
    instance = turn.instance
    if carried_out_before(instance, event.request_id, Paused):
        return
    if instance.phase is Phase.PAUSED:
        _has_nothing_to_do(turn, event.at, event.request_id)
        return
    refuse_if_finished(instance, "paused")
    turn.do(WakeNow())  # it makes nothing runnable; but should its owner die, the next one has the list say so
    turn.record(Paused(event.at, None, event.request_id))
    if instance.live is not None:
        instance.live.holds += 1
        turn.do(TellHold(instance.live.holds))


def on_guest_quiet(turn: Turn, event: GuestQuiet) -> None:
    """No body runs any more: a paused instance holds nothing from here on.

    What answers an earlier pause says nothing of this one: bodies started after the resume between them.
    """
    live = turn.live()
    if event.hold > live.holds:
        raise IllegalTransition(f"it is quiet for hold {event.hold}, and was told to hold {live.holds} times")
    if turn.instance.phase is Phase.PAUSED and event.hold == live.holds:
        turn.end_activation()


def on_resume_requested(turn: Turn, event: ResumeRequested) -> None:
    """Go on where the pause began; deadlines move by its length."""
    instance = turn.instance
    if carried_out_before(instance, event.request_id, Resumed):
        return
    refuse_if_finished(instance, "resumed")
    if instance.paused is None:
        _has_nothing_to_do(turn, event.at, event.request_id, resume=True)
        return
    turn.make_runnable(Resumed(event.at, max(0, event.at - instance.paused.at), event.request_id))
    instance.retry_due = False
    live = instance.live
    if live is None:
        turn.activate()
        return
    turn.do(TellRelease())
    withheld, live.withheld = live.withheld, []
    for completion, held in withheld:
        turn.tell(live, completion, held)


def on_terminate_requested(turn: Turn, event: TerminateRequested) -> None:
    """End it now: results of steps that still run are dropped. With a rollback, `run` ends in an activation of its
    own; but what has never run, and began with nothing, has nothing to roll back."""
    instance = turn.instance
    kinds = (Terminated, RollbackBegun) if event.rollback else (Terminated,)
    if carried_out_before(instance, event.request_id, *kinds):
        return
    refuse_if_finished(instance, "terminated")
    if event.rollback and instance.clock_at is not None:
        if instance.terminating is None:
            paused_for = max(0, event.at - instance.paused.at) if instance.paused is not None else 0
            turn.make_runnable(RollbackBegun(event.at, paused_for, event.request_id))
            instance.retry_due = False
            turn.end_activation()
            turn.activate()
        return
    turn.make_runnable(Terminated(event.at, event.request_id, expires_at=turn.expiry(event.at)))
    turn.end_activation()


def on_delete_requested(turn: Turn, event: DeleteRequested) -> None:
    """Of an instance that has ended: gone for its users as soon as this is durable."""
    instance = turn.instance
    if instance.phase is Phase.DELETING:
        return
    if instance.phase is not Phase.FINISHED:
        raise WrongStateError("only an instance that has ended can be deleted; terminate it first")
    if instance.untold:
        raise WrongStateError("its parent is about to hear of its end; delete it in a moment")
    turn.make_runnable(Deleting(event.at, instance.uid, instance.created_at, event.request_id))


def expire(turn: Turn, at: int) -> None:
    """Delete an instance that has ended and whose time has come, as if it had been asked for; once its parent has heard
    of its end."""
    instance = turn.instance
    if instance.expires_at is not None and instance.expires_at <= at and not instance.untold:
        turn.make_runnable(Deleting(at, instance.uid, instance.created_at, ""))


def carried_out_before(instance: Instance, request_id: str, *kinds: type[Record]) -> bool:
    """Whether this call was carried out before. Raises InvalidArgumentError when its id named another call."""
    before = instance.requests.get(request_id) if request_id else None
    if before is None:
        return False
    does = type(before)
    if isinstance(before, NothingToDo):
        does = CancelRequested if before.cancel else Resumed if before.resume else Paused
    if does not in kinds:
        raise InvalidArgumentError(
            f"request_id {request_id!r} was used before, for another call; use a new one", field="request_id"
        )
    return True


def _has_nothing_to_do(turn: Turn, at: int, request_id: str, *, resume: bool = False) -> None:
    """It is so already. A call that can be told when it comes again is recorded, or it could have its effect then."""
    if request_id:
        turn.record(NothingToDo(at, resume, request_id))


def refuse_if_finished(instance: Instance, verb: str) -> None:
    """Raises WrongStateError unless it goes on, or is paused."""
    if instance.phase not in (Phase.LIVE, Phase.PAUSED):
        raise WrongStateError(f"the instance has ended and can't be {verb}")
