"""A restart, whole or from a step: what is asked, and whether it may be. `forgetting` is what it does to the state."""

from __future__ import annotations

from stepwell.engine.control import carried_out_before
from stepwell.engine.events import RestartRequested
from stepwell.engine.instance import Instance, Phase, Step
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Restarted, StepKey
from stepwell.engine.transition import Turn
from stepwell.errors import InvalidArgumentError, LimitExceededError, WrongStateError


def on_restart_requested(turn: Turn, event: RestartRequested) -> None:
    """Begin again, whatever the instance is at; bodies that run are given up.

    Raises WrongStateError where there is none, InvalidArgumentError for a step that it has not come to,
    LimitExceededError where its journal has no room for another run.
    """
    instance = turn.instance
    if carried_out_before(instance, event.request_id, Restarted):
        before = instance.requests[event.request_id]
        if isinstance(before, Restarted) and before.step == event.step:
            return
        raise InvalidArgumentError(
            f"request_id {event.request_id!r} was used before, to restart from elsewhere; use a new one",
            field="request_id",
        )
    if instance.phase in (Phase.ABSENT, Phase.DELETING):
        raise WrongStateError("there is no instance that could be restarted")
    restarted = restart_from(instance, event.step, event.at, event.request_id)
    _refuse_if_full(instance, turn.limits)
    turn.make_runnable(restarted)
    instance.retry_due = False
    turn.end_activation()
    turn.activate()


def restart_from(instance: Instance, key: StepKey | None, at: int, request_id: str = "") -> Restarted:
    """What a restart of it records: how much it keeps. Raises InvalidArgumentError for a step that it has not come
    to."""
    kept = events = 0
    if key is not None:
        step = _known(instance, key)
        kept, events = instance.completed, instance.events_received
        if step.completion is not None:
            kept, events = step.completion, step.events_before
        elif (cancel := instance.cancelling) is not None and step.began_after <= cancel.completion:
            kept, events = cancel.completion, cancel.events_before  # it was on its way when `run` was cancelled
        if instance.rollback_from is not None and kept > instance.rollback_from[0]:
            kept, events = instance.rollback_from
    paused_for = max(0, at - instance.paused.at) if instance.paused is not None else 0
    return Restarted(at, key, kept, events, paused_for, request_id)


def _known(instance: Instance, key: StepKey) -> Step:
    step = instance.steps.get(key)
    if step is None or key.kind in ("timer", "rollback"):
        raise InvalidArgumentError(
            f"the instance has no step {key.name!r} of kind {key.kind!r} and count {key.count} that it could "
            "begin again from; ListSteps has those that there are",
            field="step_name",
        )
    return step


def _refuse_if_full(instance: Instance, limits: EngineLimits) -> None:
    """Its journal keeps the former run too: one that ended for its size would end again at once."""
    for limit, seen, most in (
        ("records_max", instance.records + 1, limits.records_max),
        ("instance_bytes_max", instance.stored_bytes, limits.instance_bytes_max),
    ):
        if seen >= most:
            raise LimitExceededError(
                f"its journal keeps what it did before, and is full: {limit} is {most:,}; create a new instance",
                limit=limit,
                value=str(most),
                seen=str(seen),
            )
