"""`step`, as an author meets it in `run`: declare steps, call them, sleep, wait for events.

Nothing here runs a body or knows a host: a `StepRunner` does, the guest's or a test's. What is decided here is what a
step is called, what it depends on, and which of its calls is which: the key of a call is (kind, name, count), where
the count,
from 1, is taken when the call is made.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, Generic, Protocol, overload

from stepwell.calls import Argument, Call
from stepwell.config import StepConfig, StepOptions
from stepwell.durations import Duration
from stepwell.errors import StepDefinitionError, StepValueError
from stepwell.events import StepEvent
from stepwell.names import event_type
from stepwell.parameters import CONTEXT, Parameter, parameters_of
from stepwell.rollbacks import Rollback, rollback_of
from stepwell.step_arguments import config_of, duration_of, step_name, until_ms
from stepwell.typed import Declare, Result
from stepwell.values import decode, encode


class StepRunner(Protocol):
    """What makes steps durable. All of it belongs to one instance and to its `run`; anything else that calls gets
    RunRestrictionError, and once the instance is being closed, WorkflowClosedError."""

    def next_count(self, kind: str, name: str) -> int:
        """Number this call of this (kind, name), from 1."""
        ...

    async def do(self, name: str, count: int, call: Call, config: StepConfig, rollback: Rollback | None) -> bytes:
        """Run the body until it succeeds, or raise what it failed with for good. Returns the recorded result's JSON.
        Should `run` fail after this, the rollback runs."""
        ...

    async def sleep(self, name: str, count: int, duration_ms: int | None, until_ms: int | None) -> None:
        """Return once that time has passed; exactly one is given."""
        ...

    async def wait(self, name: str, count: int, type: str, timeout_ms: int | None) -> tuple[bytes, str, int]:
        """Return the next event of that type (JSON, type, ms since the epoch), or raise EventTimeoutError."""
        ...


class _Flight:
    """One call of a step on its way, for those that depend on the step meanwhile."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: list[Any] = []

    def land(self, payload: bytes | None, error: Exception | None) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result((payload, error))


class Step(Generic[Result]):
    """A declared step: calling it, without arguments, runs it; every call is a step of its own in the journal.

    To type checkers it gives what its function returns. What `run` gets is a copy that was JSON meanwhile: a tuple
    comes back as a list.
    """

    __slots__ = (
        "__name__",
        "__weakref__",
        "_concurrent",
        "_config",
        "_depends",
        "_flight",
        "_memo",
        "_owner",
        "_parameters",
        "_rollback",
        "function",
        "name",
    )

    def __init__(
        self,
        owner: WorkflowStep,
        name: str,
        function: Callable[..., Any],
        config: StepConfig,
        concurrent: bool,
        depends: tuple[Step[Any], ...] | None,
        rollback: Rollback | None,
    ) -> None:
        self.name = name
        self.function = function
        self.__name__ = getattr(function, "__name__", name)
        self._owner = owner
        self._config = config
        self._concurrent = concurrent
        self._depends = depends
        self._rollback = rollback
        self._parameters = parameters_of(function, name)
        self._memo: bytes | None = None
        self._flight: _Flight | None = None

    def __call__(self) -> Coroutine[object, None, Result]:
        """Run the step. Awaiting it gives its result, or raises what the step failed with for good."""
        return self._call(self._owner.runner.next_count("do", self.name))

    def __repr__(self) -> str:
        return f"<step {self.name!r}>"

    async def _call(self, count: int) -> Any:
        return decode(await self._fly(count))

    async def _fly(self, count: int) -> bytes:
        self._flight = flight = _Flight()
        payload: bytes | None = None
        failure: Exception | None = None
        try:
            call = Call(self.function)
            if self._parameters:
                call = await self._resolved()
            payload = await self._owner.runner.do(self.name, count, call, self._config, self._rollback)
        except Exception as error:
            failure = error
            raise
        finally:
            if self._flight is flight:
                self._flight = None
            if payload is not None:
                self._memo = payload
            if flight.waiters:
                flight.land(payload, failure)
        return payload

    async def _resolved(self) -> Call:
        """The body with what it depends on: those steps run first, where they have not yet."""
        plan = self._planned()
        needed = [step for _, step in plan if step is not None]
        if self._concurrent and len(needed) > 1:
            from asyncio import gather

            values = iter(await gather(*(step._result() for step in needed)))
        else:
            values = iter([await step._result() for step in needed])
        positional: list[Argument] = []
        keywords: list[tuple[str, Argument]] = []
        for parameter, step in plan:
            value = None if step is None else next(values)
            if parameter.positional_only:
                positional.append(value)
            else:
                keywords.append((parameter.name, value))
        return Call(self.function, tuple(positional), tuple(keywords))

    def _planned(self) -> list[tuple[Parameter, Step[Any] | None]]:
        """Which step each parameter takes its value from; None is the attempt's context. Defaults are left out."""
        plan: list[tuple[Parameter, Step[Any] | None]] = []
        positions = iter(self._depends or ())
        left_out: Parameter | None = None
        for parameter in self._parameters:
            step = None
            if parameter.name != CONTEXT:
                step = self._owner.declared(parameter.name) if self._depends is None else next(positions, None)
                if step is None:
                    if not parameter.has_default:
                        raise self._unknown(parameter)
                    left_out = left_out or parameter
                    continue
            if left_out is not None and parameter.positional_only:
                raise StepDefinitionError(
                    f"step {self.name!r}: {parameter.name!r} can't be given when {left_out.name!r} before it is left "
                    "out; remove the '/' from its parameters"
                )
            plan.append((parameter, step))
        if next(positions, None) is not None:
            raise StepDefinitionError(
                f"step {self.name!r}: `depends` has {len(self._depends or ())} steps, but the function takes only "
                f"{sum(each.name != CONTEXT for each in self._parameters)} besides `ctx`"
            )
        return plan

    def _unknown(self, parameter: Parameter) -> StepDefinitionError:
        if self._depends is not None:
            return StepDefinitionError(
                f"step {self.name!r}: `depends` has {len(self._depends)} steps, but none for the parameter "
                f"{parameter.name!r}; add one, or give the parameter a default"
            )
        return StepDefinitionError(
            f"step {self.name!r}: no step is called {parameter.name!r}, so this parameter can't be filled: declare "
            "such a step before, name steps in `depends=[...]`, use `ctx`, or give the parameter a default"
        )

    async def _result(self) -> bytes:
        """This step's result for one that depends on it: of its latest call, of the one on its way, or of a new one."""
        while self._memo is None:
            flight = self._flight
            if flight is None:
                return await self._fly(self._owner.runner.next_count("do", self.name))
            from asyncio import get_running_loop

            waiter = get_running_loop().create_future()
            flight.waiters.append(waiter)
            _, error = await waiter
            if error is not None:
                raise error
        return self._memo


class WorkflowStep:
    """What `run` gets as `step`."""

    __slots__ = ("_by_function", "_by_name", "runner")

    def __init__(self, runner: StepRunner) -> None:
        self.runner: Final = runner
        self._by_name: dict[str, Step[Any]] = {}
        self._by_function: dict[str, Step[Any]] = {}

    def declared(self, name: str) -> Step[Any] | None:
        """The latest step declared by this name; else the latest whose function is called so."""
        return self._by_name.get(name) or self._by_function.get(name)

    def do(
        self,
        name: str | None = None,
        *,
        concurrent: bool = False,
        config: StepOptions | None = None,
        depends: Sequence[Step[Any]] | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: StepOptions | None = None,
    ) -> Declare:
        """Declare the function below it as a step, called `name` or else like the function.

        A parameter named like a step gets that step's result (it is run first if it has not been), `ctx` gets the
        attempt's context. `depends` gives the steps in the order of the parameters instead. With `concurrent`, several
        dependencies are run at once. config: {"retries": {"limit": 5, "delay": "10 seconds", "backoff": "exponential"},
        "timeout": "10 minutes"}, where "limit" is the number of retries and "timeout" that of one attempt.
        `rollback` is a function that undoes the step, should `run` fail: of `output`, `error` and `ctx` it gets those
        that it has parameters for; `rollback_config` is for it what `config` is for the step.
        A plain `def` runs in a thread. Raises StepDefinitionError, a TypeError, for a declaration that can't work.
        """
        if callable(name):
            raise StepDefinitionError(f"step {getattr(name, '__name__', '?')!r}: write `@step.do()`, with parentheses")

        def declare(function: Callable[..., Any], /) -> Step[Any]:
            called = step_name("do", getattr(function, "__name__", None) if name is None else name)
            if not callable(function):
                raise StepDefinitionError(f"step {called!r}: a {type(function).__name__} is no function")
            steps = None if depends is None else tuple(_a_step(called, each) for each in depends)
            undo = rollback_of(called, rollback, rollback_config)
            step: Step[Any] = Step(self, called, function, config_of(called, config), concurrent, steps, undo)
            self._by_name[called] = step
            self._by_function[step.__name__] = step
            return step

        return declare

    @overload
    def call(
        self,
        name: str,
        function: Callable[..., Coroutine[Any, Any, Result]],
        /,
        *args: Any,
        config: StepOptions | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: StepOptions | None = None,
    ) -> Coroutine[object, None, Result]: ...
    @overload
    def call(
        self,
        name: str,
        function: Callable[..., Result],
        /,
        *args: Any,
        config: StepOptions | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: StepOptions | None = None,
    ) -> Coroutine[object, None, Result]: ...
    def call(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        config: StepOptions | None = None,
        rollback: Callable[..., Any] | None = None,
        rollback_config: StepOptions | None = None,
    ) -> Coroutine[object, None, Any]:
        """Run `function(*args)` as a step: for functions that are written elsewhere. The rest is as in `do`.

        Each attempt gets copies of the arguments, so they must be values that can be kept. A further parameter `ctx`
        gets the attempt's context. Raises StepDefinitionError and StepValueError, both TypeErrors.
        """
        name = step_name("call", name)
        if not callable(function):
            raise StepDefinitionError(
                f"step {name!r}: a {type(function).__name__} is no function: write step.call(name, fn, *args)"
            )
        checked, undo = config_of(name, config), rollback_of(name, rollback, rollback_config)
        try:
            positional = tuple([encode(arg) for arg in args])
        except StepValueError as error:
            raise StepValueError(f"step {name!r}: an argument can't be given to it: {error}") from None
        further = parameters_of(function, name)[len(args) :]
        wants_context = any(each.name == CONTEXT and not each.positional_only for each in further)
        call = Call(function, positional, ((CONTEXT, None),) if wants_context else ())
        return self._called(name, self.runner.next_count("do", name), call, checked, undo)

    async def _called(self, name: str, count: int, call: Call, config: StepConfig, undo: Rollback | None) -> Any:
        return decode(await self.runner.do(name, count, call, config, undo))

    def sleep(self, name: str, duration: Duration) -> Coroutine[object, None, None]:
        """Sleep durably: milliseconds, a text such as "2 hours", or a timedelta; at most 365 days."""
        name = step_name("sleep", name)
        return self.runner.sleep(
            name, self.runner.next_count("sleep", name), duration_of("sleep", name, duration), None
        )

    def sleep_until(self, name: str, when: datetime | float) -> Coroutine[object, None, None]:
        """Sleep until a time: a datetime, in UTC where it has no zone, or milliseconds since the epoch. One that has
        passed is no sleep.
        """
        name = step_name("sleep", name)
        return self.runner.sleep(name, self.runner.next_count("sleep", name), None, until_ms(name, when))

    def wait_for_event(
        self, name: str, type: str, timeout: Duration | None = "24 hours"
    ) -> Coroutine[object, None, StepEvent[Any]]:
        """The next event of that type that is sent to this instance, those sent before included, oldest first.

        Raises EventTimeoutError when none comes in time; `timeout=None` waits for ever.
        """
        name = step_name("wait_for_event", name)
        try:
            event_type(type)
        except (TypeError, ValueError) as error:
            raise StepDefinitionError(f"wait_for_event {name!r}: {error}") from None
        timeout_ms = None if timeout is None else duration_of("wait_for_event", name, timeout)
        return self._waited(name, self.runner.next_count("waitForEvent", name), type, timeout_ms)

    async def _waited(self, name: str, count: int, type: str, timeout_ms: int | None) -> StepEvent[Any]:
        payload, sent_type, timestamp = await self.runner.wait(name, count, type, timeout_ms)
        return StepEvent.of(decode(payload), sent_type, timestamp)


def _a_step(name: str, candidate: object) -> Step[Any]:
    if not isinstance(candidate, Step):
        raise StepDefinitionError(f"step {name!r}: `depends` has {candidate!r}, which was not declared with @step.do()")
    return candidate
