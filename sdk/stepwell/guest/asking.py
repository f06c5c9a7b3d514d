"""The asking side of an instance: what `run` calls through `step`, and through asyncio's timers.

It numbers calls, keeps what is asked for until it completes or is cancelled, and while a journal is replayed keeps to
itself what it could tell: whether an ask is new is known only once all recorded completions have entered.
"""

from __future__ import annotations

from contextvars import copy_context
from json.encoder import encode_basestring_ascii
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from stepwell.errors import RunRestrictionError, StepDefinitionError, WorkflowClosedError
from stepwell.guest.asks import Ask, Key, body_ask, shown
from stepwell.guest.scheduler import Draining, RunLoop, RunTimer
from stepwell.guest.undoing import Undo

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from stepwell.calls import Call
    from stepwell.config import StepConfig
    from stepwell.rollbacks import Rollback


TIMERS_A_STEP_MAX: Final = 10
"""asyncio's timers of an instance, for each step that it may make: a timeout around each, and some besides."""


class Asked(Protocol):
    """Who hears of asks: the instance."""

    def put(self, ask: Ask) -> None:
        """It is asked for; recorded completions have all entered."""
        ...

    def withdraw(self, ask: Ask) -> None:
        """`run` does not wait for it any more."""
        ...


class Asking:
    """Implements `StepRunner` for the authoring API and `Timers` for the scheduler.

    `steps_max` is the sandbox's, `workflows_steps_max` what the version says of this workflow, if anything.
    """

    def __init__(
        self,
        asked: Asked,
        asyncio_loop: AbstractEventLoop,
        act: int,
        started_ms: int,
        turns_max: int,
        steps_max: int,
        workflows_steps_max: int | None,
    ) -> None:
        self.loop = RunLoop(self, asyncio_loop, started_ms, turns_max)
        self.open: dict[Key, Ask] = {}
        """What `run` waits for."""
        self.cancelled: set[Key] = set()
        """What it waited for once; completions of these are dropped."""
        self.deferred: dict[Key, Ask] | None = {}
        """What is not told yet, while recorded completions enter; None afterwards."""
        self.closing = False
        self.undos: list[Undo] = []
        """The rollbacks of the steps that were asked for, in that order."""
        self._asked = asked
        self._act = act
        self._counts: dict[tuple[str, str], int] = {}
        self._steps = 0
        self._steps_max = min(steps_max, workflows_steps_max or steps_max)
        self._timers = 0
        self._timers_max = TIMERS_A_STEP_MAX * steps_max

    def next_count(self, kind: str, name: str) -> int:
        if Draining.loop is not self.loop or get_ident() != Draining.thread:
            _refuse_outsider(name)
        if self.closing:
            raise WorkflowClosedError(f"{name!r} was called while the instance is being closed")
        self._steps += 1
        if self._steps > self._steps_max:
            raise StepDefinitionError(
                f"{name!r} would be step {self._steps} of this instance, over the limit of {self._steps_max}; "
                "let a step do more, or continue in a new instance"
            )
        key = (kind, name)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return count

    async def do(self, name: str, count: int, call: Call, config: StepConfig, rollback: Rollback | None) -> bytes:
        ask = body_ask(("do", name, count), self.loop.create_future(), call, config, copy_context())
        if rollback is None:
            return await self._awaited(ask)  # type: ignore[no-any-return]
        undo = Undo(ask, rollback)
        self.undos.append(undo)
        undo.output = await self._awaited(ask)
        return undo.output

    async def roll_back(self, undo: Undo, error: str) -> None:
        """Run the handler until it succeeds, or raise what it failed with for good."""
        _, name, count = undo.key
        call, config = undo.rollback.call(undo.output, error), undo.rollback.config
        await self._awaited(body_ask(("rollback", name, count), self.loop.create_future(), call, config, undo.context))

    async def sleep(self, name: str, count: int, duration_ms: int | None, until_ms: int | None) -> None:
        numbers = f"{_null(duration_ms)},{_null(until_ms)}"
        envelope = f'["sleep",{self._act},{encode_basestring_ascii(name)},{count},{numbers}]'
        await self._awaited(Ask(("sleep", name, count), self.loop.create_future(), envelope))

    async def wait(self, name: str, count: int, type: str, timeout_ms: int | None) -> tuple[bytes, str, int]:
        terms = f"{encode_basestring_ascii(type)},{_null(timeout_ms)}"
        envelope = f'["wait",{self._act},{encode_basestring_ascii(name)},{count},{terms}]'
        ask = Ask(("waitForEvent", name, count), self.loop.create_future(), envelope)
        return await self._awaited(ask)  # type: ignore[no-any-return]

    async def _awaited(self, ask: Ask) -> Any:
        self._ask(ask)
        try:
            return await ask.target
        except BaseException:
            if self.open.get(ask.key) is ask:
                self._cancel(ask)
            raise

    def ask_timer(self, timer: RunTimer, when_ms: int) -> None:
        self._timers += 1
        if self._timers > self._timers_max:
            raise StepDefinitionError(
                f"run set asyncio's timer {self._timers}, over the limit of {self._timers_max}; "
                "sleep longer, or continue in a new instance"
            )
        timer.count = self._timers
        self._ask(Ask(("timer", "", timer.count), timer, f'["timer",{self._act},{timer.count},{when_ms}]'))

    def cancel_timer(self, timer: RunTimer) -> None:
        ask = self.open.get(("timer", "", timer.count))
        if ask is not None:
            self._cancel(ask)

    def cancel_all(self) -> None:
        """`run` waits for nothing any more."""
        for ask in list(self.open.values()):
            self._cancel(ask)

    def waited_for(self) -> str:
        """What `run` waits for, for people."""
        keys = [shown(key) for key in list(self.open)[:8]]
        more = f" and {len(self.open) - 8} more" if len(self.open) > 8 else ""
        return ", ".join(keys) + more if keys else "nothing"

    def _ask(self, ask: Ask) -> None:
        if self.closing:
            raise WorkflowClosedError(f"{shown(ask.key)} was asked for while the instance is being closed")
        self.open[ask.key] = ask
        if self.deferred is None:
            self._asked.put(ask)
        else:
            self.deferred[ask.key] = ask

    def _cancel(self, ask: Ask) -> None:
        del self.open[ask.key]
        self.cancelled.add(ask.key)
        self._asked.withdraw(ask)


def _refuse_outsider(name: str) -> NoReturn:
    raise RunRestrictionError(
        f"{name!r} was called from outside of run, such as from the body of another step; call it in run, and give the "
        "body its result: as a parameter of that name, or by `depends`"
    )


def _null(number: int | None) -> str:
    return "null" if number is None else str(number)
