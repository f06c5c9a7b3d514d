"""The engine's only door: one event in, actions in order out."""

from __future__ import annotations

from typing import assert_never

from stepwell.engine import (
    cancelling,
    children,
    control,
    migrating,
    receiving,
    restarting,
    runs,
    sleeps,
    steps,
    waits,
)
from stepwell.engine.actions import Actions
from stepwell.engine.events import (
    ActivationStarted,
    CancelInstanceRequested,
    ChildAsked,
    ChildEnded,
    CreateRequested,
    DeleteRequested,
    DrainRequested,
    Event,
    EventSent,
    GuestIdle,
    GuestLost,
    GuestQuiet,
    KeyCancelled,
    MigrateRequested,
    ParentHeard,
    PauseRequested,
    ReplayMismatched,
    RestartRequested,
    ResumeRequested,
    RunRaised,
    RunReturned,
    SleepAsked,
    StepAttemptFailed,
    StepStarted,
    StepSucceeded,
    Suspended,
    TerminateRequested,
    Tick,
    WaitAsked,
)
from stepwell.engine.instance import Instance
from stepwell.engine.limits import EngineLimits
from stepwell.engine.size import end_as_too_large
from stepwell.engine.transition import Turn


def handle(instance: Instance, event: Event, limits: EngineLimits) -> Actions:
    """Change the state in place; return what is to be done, in order.

    Raises IllegalTransition for what a guest or the node may not do, and an ApiError for a caller's request that the
    state does not allow; then nothing has changed.
    """
    turn = Turn(instance, limits)
    match event:
        case StepSucceeded():
            steps.on_step_succeeded(turn, event)
        case StepStarted():
            steps.on_step_started(turn, event)
        case SleepAsked():
            sleeps.on_sleep_asked(turn, event)
        case WaitAsked():
            waits.on_wait_asked(turn, event)
        case StepAttemptFailed():
            steps.on_step_attempt_failed(turn, event)
        case KeyCancelled():
            runs.on_key_cancelled(turn, event)
        case GuestIdle():
            runs.on_guest_idle(turn, event)
        case Tick():
            runs.on_tick(turn, event)
        case RunReturned():
            runs.on_run_returned(turn, event)
        case RunRaised():
            runs.on_run_raised(turn, event)
        case ActivationStarted():
            runs.on_activation_started(turn, event)
        case GuestQuiet():
            control.on_guest_quiet(turn, event)
        case GuestLost():
            runs.on_guest_lost(turn, event)
        case Suspended():
            runs.on_suspended(turn, event)
        case ReplayMismatched():
            runs.on_replay_mismatched(turn, event)
        case DrainRequested():
            runs.on_drain_requested(turn, event)
        case CreateRequested():
            control.on_create_requested(turn, event)
        case EventSent():
            receiving.on_event_sent(turn, event)
        case PauseRequested():
            control.on_pause_requested(turn, event)
        case ResumeRequested():
            control.on_resume_requested(turn, event)
        case RestartRequested():
            restarting.on_restart_requested(turn, event)
        case CancelInstanceRequested():
            cancelling.on_cancel_requested(turn, event)
        case MigrateRequested():
            migrating.on_migrate_requested(turn, event)
        case TerminateRequested():
            control.on_terminate_requested(turn, event)
        case ChildAsked():
            children.on_child_asked(turn, event)
        case ChildEnded():
            children.on_child_ended(turn, event)
        case ParentHeard():
            children.on_parent_heard(turn, event)
        case DeleteRequested():
            control.on_delete_requested(turn, event)
        case _:
            assert_never(event)
    if instance.records > limits.records_max or instance.stored_bytes > limits.instance_bytes_max:
        end_as_too_large(turn, event.at)
    return turn.actions
