"""Activations of `run`: how one starts, idles, ends, and what its death costs."""

from __future__ import annotations

from stepwell.engine.actions import EndGuest, TellGo, TellStart
from stepwell.engine.cancelling import end_grace, ends_cancelled
from stepwell.engine.control import expire
from stepwell.engine.events import (
    ActivationStarted,
    DrainRequested,
    GuestIdle,
    GuestLost,
    KeyCancelled,
    ReplayMismatched,
    RunRaised,
    RunReturned,
    Suspended,
    Tick,
)
from stepwell.engine.instance import IllegalTransition, Live, Phase, Running
from stepwell.engine.records import (
    CANCEL,
    Activated,
    ActivationEnded,
    Completed,
    Errored,
    Failure,
    Paused,
    SandboxDied,
    StepCancelled,
    Terminated,
)
from stepwell.engine.sleeps import fire
from stepwell.engine.transition import Turn
from stepwell.engine.waits import match_events, time_out


def on_activation_started(turn: Turn, event: ActivationStarted) -> None:
    """Record the activation, then start the guest on the journal's completions.

    An instance that took down node after node is paused instead: the count comes before all else. A node that died
    between an event's record and its match's left an event beside a wait for it: they are matched first.
    """
    instance = turn.instance
    if instance.live is not None:
        raise IllegalTransition("activated twice")
    if instance.phase is not Phase.LIVE:
        return
    if instance.node_deaths >= turn.limits.node_deaths_max:
        turn.record(Paused(event.at, _poisoned_node(instance.node_deaths), ""))
        return
    for event_type in instance.waits:
        match_events(turn, event_type, event.at)
    turn.record(Activated(event.at, event.runtime, event.trace))
    instance.live = Live(event.at, told=len(instance.completions))
    instance.retry_due = False
    instance.rearm()
    turn.do(TellStart(len(instance.completions), instance.asked))


def on_suspended(turn: Turn, event: Suspended) -> None:
    """Pause with the reason, at once: what is recorded is kept, what runs in a guest is given up and runs again."""
    if turn.instance.phase is Phase.LIVE:
        turn.record(Paused(event.at, event.failure, ""))
        turn.end_activation()


def on_guest_idle(turn: Turn, event: GuestIdle) -> None:
    """Hibernate, unless something was told meanwhile or the next deadline is too near to be worth a replay.

    Raises IllegalTransition where nothing could ever wake it: a guest would have raised in `run` instead.
    """
    instance, live = turn.instance, turn.live()
    if event.entered != live.told or live.running or live.gone or instance.phase is not Phase.LIVE:
        return
    if not instance.open:
        raise IllegalTransition("it waits for nothing, so that nothing could wake it")
    due = instance.next_deadline()
    if due is None or due - event.at >= turn.limits.hibernate_after_ms:
        turn.hibernate(event.at)


def on_tick(turn: Turn, event: Tick) -> None:
    """Whatever is due happens, in the order in which it was due; what has ended may expire."""
    instance = turn.instance
    if instance.phase is Phase.FINISHED:
        expire(turn, event.at)
        return
    fired = False
    while (due := instance.next_deadline()) is not None and due <= event.at:
        key = instance.deadlines[0][1]
        if key.kind in ("do", "rollback"):
            if instance.live is None:
                instance.retry_due = fired = True
                break
            instance.live.gone.add(key)
            attempt = instance.steps[key].attempts + 1
            instance.live.running[key] = Running(attempt, event.at, None, begun=False)
            turn.do(TellGo(key, attempt))
        elif key == CANCEL:
            end_grace(turn, event.at)
            return
        elif key.kind == "waitForEvent":
            time_out(turn, key, event.at)
        else:
            fire(turn, key, event.at)
        fired = True
    if instance.live is not None:
        overdue = instance.live.next_overdue()
        if overdue is not None and overdue[0] <= event.at:
            key = overdue[1]
            instance.live.running.pop(key)
            turn.do(EndGuest(f"step {key.name!r} ({key.count}) ran past its timeout and did not stop"))
            return
    if fired:
        turn.activate()


def on_key_cancelled(turn: Turn, event: KeyCancelled) -> None:
    """`run` no longer waits. An event that was matched meanwhile goes back to the front of its queue."""
    instance, live = turn.instance, turn.live()
    step = instance.steps.get(event.key)
    if step is None and event.key.kind == "do":
        turn.check_room(event.key)
    live.running.pop(event.key, None)
    live.gone.discard(event.key)
    if event.key in instance.open:
        turn.record(StepCancelled(event.at, event.key))
    elif step is None:
        if event.key.kind == "do":
            turn.record(StepCancelled(event.at, event.key))
    elif step.event is not None:
        event_type = step.event.event_type
        turn.record(StepCancelled(event.at, event.key))
        match_events(turn, event_type, event.at)


def on_run_returned(turn: Turn, event: RunReturned) -> None:
    """Raises IllegalTransition where a call has ended `run`: it raises that, once its steps are rolled back."""
    turn.live()
    if turn.instance.terminating is not None:
        raise IllegalTransition("it returned after it was terminated")
    turn.end(Completed(event.at, event.output, turn.expiry(event.at, success=True)))
    turn.end_activation()


def on_run_raised(turn: Turn, event: RunRaised) -> None:
    """It is terminated where a call ended `run`, or where it was cancelled and let that out; else it failed."""
    turn.live()
    expires_at = turn.expiry(event.at)
    if turn.instance.terminating is not None or ends_cancelled(turn.instance, event.failure):
        turn.end(Terminated(event.at, "", event.rolled_back, expires_at))
    else:
        turn.end(Errored(event.at, event.failure, event.rolled_back, expires_at))
    turn.end_activation()


def on_replay_mismatched(turn: Turn, event: ReplayMismatched) -> None:
    """The code is not the code that wrote the journal: pause with the difference, so that a resume tries again."""
    turn.live()
    message = (
        f"at completion {event.position} the journal has {event.expected}, but {event.got}: "
        "the code does not do what it did before; restore it and resume, or terminate the instance"
    )
    if turn.instance.phase is Phase.LIVE:
        turn.record(Paused(event.at, Failure("stepwell.errors", "DeterminismError", message), ""))
    turn.end_activation()


def on_guest_lost(turn: Turn, event: GuestLost) -> None:
    """Count the death; activate again, or end an instance that kills every sandbox."""
    instance, limits = turn.instance, turn.limits
    if instance.live is None:
        return
    instance.live = None
    instance.rearm()
    if instance.phase is not Phase.LIVE:
        return
    turn.record(SandboxDied(event.at, event.reason))
    if instance.sandbox_deaths >= limits.sandbox_deaths_max:
        message = (
            f"its sandbox died {instance.sandbox_deaths} times without progress, the last time: {event.reason}; "
            "look for what ends the process or uses up its memory"
        )
        failure = Failure("stepwell.errors", "SandboxDiedError", message)
        turn.end(Errored(event.at, failure, expires_at=turn.expiry(event.at)))
    turn.activate()


def on_drain_requested(turn: Turn, event: DrainRequested) -> None:
    """The node stops: the activation ends in good order, so that it doesn't count as a death."""
    instance = turn.instance
    if instance.live is not None:
        if instance.phase is Phase.LIVE:
            turn.record(ActivationEnded(event.at, runnable=True))
        turn.end_activation()


def _poisoned_node(deaths: int) -> Failure:
    message = (
        f"the node died {deaths} times while it ran this instance without progress; it is paused so that it can't "
        "take the next one down: look at its code and the node's log, then resume or terminate it"
    )
    return Failure("stepwell.errors", "NodeDiedError", message)
