"""What runs the instances of one test: a node and its sandbox, in memory, on virtual time.

It decides nothing of an instance: the engine does, the same as the server's. Here is when the clock moves: not while
anything can run. Then it jumps to the engine's next deadline, or a body's next timer, whichever is earlier.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stepwell.engine import events
from stepwell.engine.instance import IllegalTransition, Phase
from stepwell.engine.records import Record
from stepwell.errors import AlreadyExistsError
from stepwell.guest import determinism
from stepwell.guest.asks import Key, shown
from stepwell.guest.scheduler import Draining
from stepwell.names import InstanceId, InstanceUid, instance_id
from stepwell.testing.clock import VirtualClock
from stepwell.testing.conversation import event_of
from stepwell.testing.errors import KitFault, WorkflowTestError
from stepwell.testing.patches import guest_process
from stepwell.testing.printing import LogLine, Printing
from stepwell.testing.resident import Resident
from stepwell.testing.sandbox import Sandbox
from stepwell.testing.watchdog import WATCHDOG, OutOfPatience

if TYPE_CHECKING:
    from stepwell.guest.asks import Ask
    from stepwell.testing.bindings import TestBindings

Reached = Literal["condition", "horizon", "nothing"]
"""Why a drive ended: what was waited for is there; the time is; nothing more can happen."""

RUNTIME = "stepwell.testing"


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One record of the test's journals: `number` is from 1, over all instances in the order of writing."""

    number: int
    instance: str
    kind: str
    step: str

    def __str__(self) -> str:
        of = f" of {self.step}" if self.step else ""
        return f"record {self.number}, {self.kind}{of}, of instance {self.instance!r}"


class _Ending(NamedTuple):
    """What ends the sandbox: `reason` for a death that the node sees, None for one that takes it along."""

    reason: str | None


class Host:
    """`crash_at` is the number of the record with which the node dies, once."""

    def __init__(self, start_ms: int, *, crash_at: int | None, real_seconds_max: float) -> None:
        self.clock = VirtualClock(start_ms)
        self.records: list[JournalRecord] = []
        self.residents: list[Resident] = []
        self.ending: _Ending | None = None
        self.crash: JournalRecord | None = None
        """The record after which it crashed."""
        self._crash_at = crash_at
        self._real_seconds_max = real_seconds_max
        self._acts: dict[int, Resident] = {}
        self._printing = Printing(self._keep)
        self.bindings: TestBindings | None = None
        """What the test has bound."""
        self._until: Callable[[], bool] = lambda: False
        self._horizon: int | None = None
        self._reached: Reached | None = None
        self._fault: BaseException | None = None
        self._patience_until = 0.0
        self._abandoned: list[Sandbox] = []
        self.sandbox = self._new_sandbox()

    def _new_sandbox(self) -> Sandbox:
        sandbox = Sandbox(self.clock, self._idle, self._printing.logs, self._heard, self._settled, self._replaced)
        if self.bindings is not None:
            sandbox.calls.workflows = self.bindings.workflows()
        return sandbox

    def _tell_parents(self) -> None:
        if self.bindings is not None and self.ending is None:
            self._guarded(self.bindings.tell_parents)

    def there(self) -> list[Resident]:
        """Those that are not deleted."""
        return [resident for resident in self.residents if resident.state.phase is not Phase.DELETING]

    def ids_of_next(self, id: str | None) -> tuple[InstanceId, InstanceUid]:
        """Of an instance to be made. Raises ValueError for a bad id, AlreadyExistsError for one that is taken."""
        number = len(self.residents) + 1
        chosen = instance_id(id if id is not None else f"instance-{number}")
        if any(resident.id == chosen for resident in self.there()):
            raise AlreadyExistsError(f"instance {chosen!r} exists already")
        return chosen, InstanceUid(f"uid-{number}")

    # ---------------------------------------------------------------- what residents ask for
    def appended(self, resident: Resident, record: Record) -> None:
        """The record is durable, unless this is where the test's crash comes: then it is, and nothing behind it is."""
        key: Key | None = getattr(record, "key", None)
        number = len(self.records) + 1
        self.records.append(JournalRecord(number, resident.id, type(record).__name__, shown(key) if key else ""))
        if number == self._crash_at:
            self.crash = self.records[-1]
            self._end(_Ending(None))

    def activate(self, resident: Resident) -> None:
        """Have it activated, once what runs now has run."""
        if not resident.activating and self.sandbox.alive:
            resident.activating = True
            self.sandbox.loop.call_soon(self._activate, resident, self.sandbox)

    def _activate(self, resident: Resident, sandbox: Sandbox) -> None:
        if sandbox is not self.sandbox or self.ending is not None:
            return
        resident.activating = False
        if resident.state.live is None:
            self._guarded(lambda: resident.step(events.ActivationStarted(self.clock.now_ms, RUNTIME)))
            self.sandbox.soon()

    def next_act(self, resident: Resident) -> int:
        """The number of a new activation of it."""
        act = len(self._acts) + 1
        self._acts[act] = resident
        return act

    def end_sandbox(self, reason: str) -> None:
        """The engine wants it killed: all instances in it lose their activation."""
        self._end(_Ending(reason))

    def _end(self, ending: _Ending) -> None:
        self.ending = self.ending or ending
        self.sandbox.alive = False
        self.sandbox.loop.stop()

    # ---------------------------------------------------------------- what the sandbox says
    def _heard(self, envelope: bytes, payload: bytes) -> None:
        if self.ending is not None:
            return
        message: list[Any] = json.loads(envelope)
        if message[0] in ("failed", "raised"):
            self._refuse_interruption(message[2] if message[0] == "raised" else message[10])
        resident = self._acts[message[1]]
        if message[0] == "call":
            bindings = self.bindings
            assert bindings is not None
            self._guarded(lambda: bindings.carry_out(resident, message, payload))
            return
        self._guarded(lambda: resident.step_guest(message[1], event_of(message, payload, self.clock.now_ms)))

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except (IllegalTransition, ValueError, AssertionError) as fault:
            self._fail(KitFault(f"a fault of stepwell's own, please report it: {fault!r}"), fault)

    def _refuse_interruption(self, error: list[Any]) -> None:
        """What ends a test, such as Ctrl-C or pytest.fail(), is no failure of a step to be tried again."""
        module, name, message, *_ = error
        if (module, name) == ("builtins", "KeyboardInterrupt"):
            self._fail(KeyboardInterrupt(message))
        elif module.startswith("_pytest."):
            self._fail(WorkflowTestError(f"the workflow raised {name}, which ends a test: {message}"))
        elif name == "OutOfPatience" and module == WATCHDOG.module:
            self._fail(WorkflowTestError(message))

    def _fail(self, fault: BaseException, cause: BaseException | None = None) -> None:
        if self._fault is None:
            fault.__cause__ = cause
            self._fault = fault
        self.sandbox.loop.stop()

    def _settled(self) -> None:
        self._tell_parents()
        if self.ending is None and self._until():
            self._stop("condition")

    def _stop(self, reached: Reached) -> None:
        self._reached = reached
        self.sandbox.loop.stop()

    def _replaced(self, ask: Ask, act: int, number: int) -> Any:
        resident = self._acts[act]
        return resident.modifiers.replaced(ask, number)

    def _keep(self, act: int, line: LogLine) -> None:
        if act in self._acts:
            self._acts[act].printed.append(line)

    # ---------------------------------------------------------------- time
    def _next_tick(self) -> int | None:
        ticks = [tick for resident in self.residents if (tick := resident.state.next_tick()) is not None]
        return min(ticks, default=None)

    def _idle(self, timer_s: float | None, world: bool) -> float:
        """Nothing is ready. Wait for the world, move the clock, or end the drive."""
        if self._until():
            self._stop("condition")
            return 0
        now, tick = self.clock.now_ms, self._next_tick()
        if tick is not None and tick <= now:
            self._tick()
            return 0
        attempts = self.sandbox.attempts()
        if attempts and world:
            left_s = self._patience_until - perf_counter()
            if left_s <= 0:
                running = ", ".join(shown(attempt.ask.key) for attempt in attempts)
                self._fail(
                    WorkflowTestError(f"{running}: not done within real_seconds_max, {self._real_seconds_max:g} s")
                )
                return 0
            return min(
                left_s,
                left_s if timer_s is None else timer_s,
                left_s if tick is None else (tick - now) / 1000,
            )
        ahead = [] if tick is None else [(tick - now) / 1000]
        if attempts and timer_s is not None:
            ahead.append(timer_s)
        if not ahead:
            self._to_horizon("nothing")
        elif self._horizon is not None and now + min(ahead) * 1000 > self._horizon:
            self._to_horizon("horizon")
        else:
            self.clock.move(min(ahead))
        return 0

    def _to_horizon(self, reached: Reached) -> None:
        if self._horizon is not None:
            self.clock.move_to(self._horizon)
        self._stop(reached)

    def _tick(self) -> None:
        now = self.clock.now_ms
        for resident in self.residents:
            due = resident.state.next_tick()
            if due is not None and due <= now and self.ending is None:
                self._guarded(lambda resident=resident: resident.step(events.Tick(now)))  # type: ignore[misc]

    # ---------------------------------------------------------------- driving it
    def drive(self, until: Callable[[], bool], horizon_ms: int | None) -> Reached:
        """Run everything until the condition holds, nothing more can happen, or the time is up; None for no such time.

        Raises WorkflowTestError when it takes more real time than a test may.
        """
        if get_ident() != Draining.thread:
            raise WorkflowTestError("a workflow is tested in the thread that imported stepwell.testing first")
        if Draining.loop is not None or self.sandbox.loop.is_running():
            raise WorkflowTestError("a workflow can't run the test that runs it: call this from the test")
        self._until, self._horizon, self._reached = until, horizon_ms, None
        self._patience_until = perf_counter() + self._real_seconds_max
        with guest_process(), self._printing.taken(), WATCHDOG.watching(self._real_seconds_max):
            while True:
                self.recover()
                self._tell_parents()
                if self.ending is not None:
                    continue
                if until():
                    return "condition"
                loop = self.sandbox.loop
                loop.call_soon(determinism.hold_generators, loop)
                try:
                    loop.run_forever()
                except OutOfPatience as over:
                    raise WorkflowTestError(str(over)) from None
                if self._fault is not None:
                    fault, self._fault = self._fault, None
                    raise fault
                if self.ending is None and self._reached is not None:
                    return self._reached

    def recover(self) -> None:
        """After a crash: what the journals say is all that there is, as on a node that takes over."""
        while (ending := self.ending) is not None:
            self.sandbox.abandon()
            self._abandoned.append(self.sandbox)
            self.sandbox, self.ending, self._reached = self._new_sandbox(), None, None
            for resident in self.residents:
                if ending.reason is None:
                    resident.forget()
                else:
                    resident.lose_guest()
            for resident in self.residents:
                if ending.reason is not None and resident.state.live is not None:
                    resident.step(events.GuestLost(self.clock.now_ms, ending.reason))
                if resident.state.phase is Phase.LIVE and resident.state.live is None and resident.state.runnable:
                    self.activate(resident)
            self._tell_parents()

    def kill(self) -> None:
        """The node and its sandbox die now, as by SIGKILL."""
        self._end(_Ending(None))
        self.recover()

    def close(self) -> None:
        """End it all. What ran stops where it stands."""
        with guest_process():
            for sandbox in (*self._abandoned, self.sandbox):
                sandbox.close()
