"""An instance as a test sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from stepwell import names
from stepwell.durations import Duration, duration_ms
from stepwell.engine import events
from stepwell.engine.forking import Prefix
from stepwell.engine.instance import Phase, Step, StepStatus
from stepwell.engine.records import BlobRef, Completed, Errored, Failure, Kind, StepKey, Terminated
from stepwell.engine.status import InstanceStatus, status_of, steps_of
from stepwell.events import time_from_ms
from stepwell.guest.failures import rebuilt
from stepwell.testing.conversation import error_from
from stepwell.testing.errors import WorkflowTestError
from stepwell.testing.modifiers import Modifiers, StepName
from stepwell.testing.printing import LogLine
from stepwell.testing.resident import Resident
from stepwell.testing.stuck import standing
from stepwell.values import decode, encode

if TYPE_CHECKING:
    from stepwell.testing.host import Host


@dataclass(frozen=True, slots=True)
class StepState:
    """A step, sleep or wait, as `stepwell instances describe` shows it; `attempts` counts those that were begun."""

    name: str
    count: int
    kind: Kind
    status: StepStatus
    attempts: int
    output: Any
    error: Exception | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rollback:
    """What became of rollback handlers: all ran, or one failed for good with that error."""

    outcome: Literal["complete", "failed"]
    error: Exception | None = None


class InstanceUnderTest:
    """Made by `Workflows.start`. Nothing of it runs until the test waits for something, or lets time pass.

    `within` bounds, in virtual time, how long is waited; without it, until nothing more can happen. What can't come
    is a WorkflowTestError, which says what the instance does instead.
    """

    def __init__(self, host: Host, resident: Resident) -> None:
        self._host = host
        self._resident = resident

    def __repr__(self) -> str:
        return f"<instance {self.id!r}: {self.status}>"

    @property
    def id(self) -> str:
        return self._resident.id

    @property
    def modify(self) -> Modifiers:
        """What is changed about it from here on."""
        return self._resident.modifiers

    @property
    def status(self) -> InstanceStatus:
        """As it is now; nothing is waited for."""
        return status_of(self._resident.state)

    @property
    def steps(self) -> list[StepState]:
        """In the order in which they began, as they are now."""
        return [_state(step) for step in steps_of(self._resident.state)]

    @property
    def printed(self) -> list[LogLine]:
        """What it printed, with the step that did; all of it went to the test's stdout and stderr as well."""
        return list(self._resident.printed)

    def step(self, step: StepName) -> StepState:
        """A step as it is now. Raises WorkflowTestError when it has not begun."""
        name, count = (step, 1) if isinstance(step, str) else step
        for each in self.steps:
            if (each.name, each.count) == (name, count):
                return each
        raise WorkflowTestError(f"instance {self.id!r} has no step {name!r} (call {count}); {self._standing()}")

    # ---------------------------------------------------------------- waiting
    def result(self, within: Duration | None = None) -> Any:
        """Its output, once it is complete. Raises the error that it ended with, rebuilt; of one that is paused by an
        error, such as DeterminismError, that one."""
        outcome = self._ended(within)
        if isinstance(outcome, Completed):
            return decode(_inline(outcome.output))
        if isinstance(outcome, Errored):
            raise self._rebuilt(outcome.failure)
        raise WorkflowTestError(f"instance {self.id!r} was terminated: it has no result")

    def error(self, within: Duration | None = None) -> Exception:
        """The error that it ended with, rebuilt. Raises WorkflowTestError when it ended otherwise."""
        outcome = self._ended(within)
        if isinstance(outcome, Errored):
            return self._rebuilt(outcome.failure)
        raise WorkflowTestError(f"instance {self.id!r} did not fail: it is {self.status}")

    def rollback(self, within: Duration | None = None) -> Rollback | None:
        """What became of its steps' rollback handlers, once it has ended; None where it had none to run."""
        outcome = self._ended(within)
        rolled_back = outcome.rolled_back if isinstance(outcome, Errored | Terminated) else None
        if rolled_back is None:
            return None
        failure = rolled_back.failure
        return Rollback("complete") if failure is None else Rollback("failed", self._rebuilt(failure))

    def wait_for_status(self, status: InstanceStatus, within: Duration | None = None) -> None:
        """Go on until it has that status."""
        self._wait(lambda: self.status == status, f"to be {status!r}", within)

    def wait_for_step_result(self, step: StepName, within: Duration | None = None) -> Any:
        """Go on until that step has a result, and return it. Raises the error that the step failed with for good."""
        name, count = (step, 1) if isinstance(step, str) else step
        keys = [StepKey(kind, name, count) for kind in ("do", "waitForEvent", "sleep")]

        def found() -> Step | None:
            steps = self._resident.state.steps
            ended = (steps[key] for key in keys if key in steps)
            return next((each for each in ended if each.status in ("complete", "errored", "cancelled")), None)

        self._wait(lambda: found() is not None, f"for the result of step {name!r} (call {count})", within)
        ended = found()
        assert ended is not None
        if ended.failure is not None:
            raise self._rebuilt(ended.failure)
        return _state(ended).output

    # ---------------------------------------------------------------- what callers do
    def send_event(self, type: str, payload: Any = None, *, event_id: str = "") -> None:
        """Send it an event; of those with the same `event_id` it takes one. Raises what the API would: WrongStateError
        once it has ended, InvalidArgumentError for an id that another event had, ValueError for a bad type or id."""
        now = self._host.clock.now_ms
        self._do(events.EventSent(now, names.event_type(type), encode(payload), "", names.event_id(event_id)))

    def pause(self) -> None:
        """Running steps end first: it is `waitingForPause` until then. Raises WrongStateError once it has ended."""
        self._do(events.PauseRequested(self._host.clock.now_ms, ""))

    def resume(self) -> None:
        """Go on; deadlines have moved by the length of the pause."""
        self._do(events.ResumeRequested(self._host.clock.now_ms, ""))

    def restart(self, from_step: StepName | None = None) -> None:
        """Run it again, whatever it is at: from the beginning, or from that `do` step on. Raises InvalidArgumentError
        for a step that it has not come to."""
        key = _key(from_step) if from_step is not None else None
        self._do(events.RestartRequested(self._host.clock.now_ms, key, ""))

    def cancel(self, reason: str = "") -> None:
        """Have `run` cancelled at what it waits for; it may clean up, and is terminated when that takes too long.
        Raises WrongStateError once it has ended."""
        self._do(events.CancelInstanceRequested(self._host.clock.now_ms, reason, ""))

    def fork(self, from_step: StepName, *, id: str | None = None) -> InstanceUnderTest:
        """A new instance, with a copy of what this one did before that `do` step, and the same modifiers. Raises
        InvalidArgumentError for a step that it has not come to, AlreadyExistsError for an id that is taken."""
        host, origin, prefix = self._host, self._resident, Prefix()
        chosen, uid = host.ids_of_next(id)
        for record in origin.journal:
            prefix.add(record)
        at = host.clock.now_ms
        copied, of = prefix.cut(names.InstanceId(origin.id), _key(from_step), "", at), prefix.instance
        modifiers = origin.modifiers.for_instance(lambda type, payload: forked.send_event(type, payload))
        resident = Resident(host, chosen, origin.workflow, origin.entrypoint, modifiers)
        host.residents.append(resident)
        resident.step(events.CreateRequested(at, uid, of.digest, of.entrypoint, of.params, "", origin=copied))
        host.recover()
        forked = InstanceUnderTest(host, resident)
        return forked

    def terminate(self, *, rollback: bool = False) -> None:
        """End it now; with `rollback`, once the rollback handlers of its steps have run. Raises WrongStateError once it
        has ended."""
        self._do(events.TerminateRequested(self._host.clock.now_ms, "", rollback))

    # ---------------------------------------------------------------- how
    def _do(self, event: events.Event) -> None:
        self._resident.step(event)
        self._host.recover()

    def _ended(self, within: Duration | None) -> object:
        state = self._resident

        def over() -> bool:
            return state.state.outcome is not None or self._failed_pause() is not None

        self._wait(over, "to end", within)
        failure = self._failed_pause()
        if failure is not None:
            raise self._rebuilt(failure)
        return state.state.outcome

    def _failed_pause(self) -> Failure | None:
        state = self._resident.state
        return state.paused.failure if state.phase is Phase.PAUSED and state.paused is not None else None

    def _wait(self, until: Callable[[], bool], what: str, within: Duration | None) -> None:
        horizon = None if within is None else self._host.clock.now_ms + duration_ms(within)

        def stop() -> bool:
            return until() or self._resident.state.outcome is not None

        reached = self._host.drive(stop, horizon)
        if not until():
            limit = f" within {within}" if reached == "horizon" else ""
            raise WorkflowTestError(
                f"the test waits for instance {self.id!r} {what}, which can't come{limit}: {self._standing()}"
            )

    def _standing(self) -> str:
        return standing(self._resident.state)

    def _rebuilt(self, failure: Failure) -> Exception:
        return rebuilt(error_from(failure))


def _state(step: Step) -> StepState:
    return StepState(
        step.key.name,
        step.key.count,
        step.key.kind,
        step.status,
        step.attempts,
        None if step.output is None else decode(_inline(step.output)),
        None if step.failure is None else rebuilt(error_from(step.failure)),
        time_from_ms(step.started_at),
        None if step.ended_at is None else time_from_ms(step.ended_at),
    )


def _inline(payload: bytes | BlobRef) -> bytes:
    assert not isinstance(payload, BlobRef), "a test keeps every payload inline"
    return payload


def _key(step: StepName) -> StepKey:
    name, count = (step, 1) if isinstance(step, str) else step
    return StepKey("do", name, count)
