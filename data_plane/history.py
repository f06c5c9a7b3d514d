"""A journal as its watchers see it: one thing that happened a record, with the status after it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, assert_never

from stepwell.engine import fold
from stepwell.engine.instance import Instance, Step
from stepwell.engine.records import (
    Activated,
    ActivationEnded,
    AttemptFailed,
    CancelRequested,
    ChildAdded,
    Completed,
    Created,
    Deleting,
    Errored,
    EventMatched,
    EventReceived,
    Migrated,
    NothingToDo,
    ParentTold,
    Paused,
    Record,
    Restarted,
    Resumed,
    RollbackBegun,
    SandboxDied,
    SleepFired,
    SleepStarted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepKey,
    Terminated,
    WaitStarted,
    WaitTimedOut,
)
from stepwell.engine.status import InstanceStatus, status_of


class Happening(NamedTuple):
    """`number` is from 1 within the instance; `step` is the step's state at that time."""

    number: int
    at: int
    type: str
    status: InstanceStatus
    step: Step | None


class History:
    """Folds records as they come; with `status_only`, what happens to steps is counted and left out.

    What has ended is forgotten once it was told, so that following an instance costs no more the longer it gets.
    `ended` once nothing more can come but a deletion.
    """

    def __init__(self, *, status_only: bool = False) -> None:
        self.instance = Instance()
        self.number = 0
        self._status_only = status_only

    @property
    def ended(self) -> bool:
        return self.instance.outcome is not None

    def add(self, record: Record) -> Happening | None:
        """What the record means to a watcher; None for what is the engine's own."""
        if isinstance(record, Created):
            self.instance, self.number = Instance(), 0
        self.number += 1
        if self._status_only and hasattr(record, "key"):
            return None
        if isinstance(record, EventReceived):
            record = replace(record, payload=b"")
        fold.apply(self.instance, record)
        if isinstance(record, Created):
            for copied in list(self.instance.steps):
                self._forget(copied)
        type_, key = _type_and_key(record, self.instance)
        step = self.instance.steps.get(key) if key is not None else None
        as_it_is = replace(step) if step is not None else None
        self._forget(getattr(record, "key", None))
        if type_ is None:
            return None
        return Happening(self.number, record.at, type_, status_of(self.instance), as_it_is)

    def _forget(self, key: StepKey | None) -> None:
        """Of what has ended, only a wait may be told of again: its event goes back when `run` has cancelled it."""
        self.instance.completions.clear()
        self.instance.received.clear()
        self.instance.event_ids.clear()
        step = self.instance.steps.get(key) if key is not None else None
        if step is not None and step.ended_at is not None and step.event is None:
            del self.instance.steps[step.key]


def _type_and_key(record: Record, instance: Instance) -> tuple[str | None, StepKey | None]:
    key: StepKey | None = getattr(record, "key", None)
    if key is not None and key.kind == "timer":
        return None, None
    match record:
        case StepCompleted() | SleepFired() | EventMatched():
            return "stepCompleted", key
        case SleepStarted() | WaitStarted():
            return "stepStarted", key
        case StepFailed() | WaitTimedOut():
            return "stepFailed", key
        case AttemptFailed():
            return "stepRetrying", key
        case StepCancelled():
            return "stepCancelled", key
        case Created():
            return "created", None
        case Activated():
            return ("started" if instance.started_at == record.at and instance.activations == 1 else "activated"), None
        case ActivationEnded():
            return (None if record.runnable else "hibernated"), None
        case SandboxDied():
            return "sandboxDied", None
        case EventReceived():
            return "eventReceived", None
        case Paused():
            return "paused", None
        case Resumed():
            return "resumed", None
        case Restarted():
            return "restarted", None
        case CancelRequested():
            return "cancelRequested", None
        case ChildAdded():
            return "childAdded", None
        case RollbackBegun():
            return "rollbackStarted", None
        case Migrated():
            return "migrated", None
        case NothingToDo() | ParentTold():
            return None, None
        case Completed():
            return "completed", None
        case Errored():
            return "errored", None
        case Terminated():
            return "terminated", None
        case Deleting():
            return "deleted", None
        case _:
            assert_never(record)
