"""The copy that a fork begins with: the records of what another instance did up to a step.

Which step's result is the first one left out, and what of it counts, is as for a restart from that step. What a restart
of the origin forgot stands in its journal still, and is not copied; nor is an event that no wait had taken: it was sent
to the origin.
"""

from __future__ import annotations

from dataclasses import replace

from stepwell.engine import fold
from stepwell.engine.instance import Instance
from stepwell.engine.records import (
    AttemptFailed,
    Created,
    EventMatched,
    EventReceived,
    Origin,
    Record,
    Restarted,
    SleepFired,
    SleepStarted,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepKey,
    WaitStarted,
    WaitTimedOut,
)
from stepwell.engine.restarting import restart_from
from stepwell.errors import WrongStateError
from stepwell.names import InstanceId

_OfAStep = (
    StepCompleted
    | StepFailed
    | AttemptFailed
    | StepCancelled
    | SleepStarted
    | SleepFired
    | WaitStarted
    | WaitTimedOut
    | EventMatched
)

_Completes = StepCompleted | StepFailed | SleepFired | WaitTimedOut


class Prefix:
    """Follows the origin's journal, record by record; `instance` is its state by then, and after `cut` the fork's."""

    def __init__(self) -> None:
        self.instance = Instance()
        self._records: list[_OfAStep | EventReceived] = []

    def add(self, record: Record) -> None:
        """The next one, from the first."""
        if isinstance(record, Created):
            self.instance, self._records = Instance(), []
        fold.apply(self.instance, record)
        self._keep(record)

    def _keep(self, record: Record) -> None:
        match record:
            case Created(origin=Origin(records=copied)):
                for each in copied:
                    self._keep(each)
            case Restarted():
                self._forget()
            case EventReceived():
                self._records.append(record)
            case _ if isinstance(record, _OfAStep):
                self._records.append(record)
            case _:
                pass

    def _forget(self) -> None:
        steps = self.instance.steps
        self._records = [each for each in self._records if isinstance(each, EventReceived) or each.key in steps]

    def cut(self, id: InstanceId, step: StepKey, digest: str, at: int) -> Origin:
        """Of the instance of that id, which must be there. Raises InvalidArgumentError for a step that it has not come
        to, WrongStateError where the copy would hold what is the origin's alone: its children, or its cancel."""
        state = self.instance
        entered = {completion.key: completion.at for completion in state.completions}
        self.add(restart_from(state, step, at))
        if state.children:
            raise WrongStateError(
                f"instance {id!r} created others through bindings: they are its own, and tell no fork of their end"
            )
        if state.cancelling is not None:
            raise WrongStateError(
                f"instance {id!r} was cancelled before it came to step {step.name!r}: fork it from an earlier one"
            )
        state.rearm()
        taken = sorted({each.number for each in self._records if isinstance(each, EventMatched)})
        numbers = {before: number for number, before in enumerate(taken, 1)}
        records = tuple(
            self._copy(each, numbers, entered)
            for each in self._records
            if not isinstance(each, EventReceived) or each.number in numbers
        )
        return Origin(id, state.uid, step, digest, state.event_at, state.clock_at, records)

    def _copy(self, record: _OfAStep | EventReceived, numbers: dict[int, int], entered: dict[StepKey, int]) -> Record:
        """Its events are counted anew, and the ids of calls that brought them name calls of the origin. A result that
        entered `run` last at a restart has that time: the clock of the fork's `run` is to go as the origin's did."""
        if isinstance(record, EventReceived):
            return replace(record, number=numbers[record.number], request_id="")
        if isinstance(record, EventMatched):
            return replace(record, number=numbers[record.number], at=entered[record.key])
        if isinstance(record, _Completes):
            return replace(record, at=entered[record.key])
        ask = self.instance.open.get(record.key)
        match record:
            case SleepStarted() if ask is not None and ask.due is not None:
                return replace(record, due=ask.due)
            case WaitStarted() if ask is not None:
                return replace(record, due=ask.due)
            case AttemptFailed() if ask is not None and ask.due is not None:
                return replace(record, retry_at=ask.due)
            case _:
                return record
