"""The event loop that an instance's `run` runs on: a queue of what is ready, and nothing else.

Order here depends on nothing outside the instance. A completion enters, the queue is drained until it is empty, and
only then may the next one enter; so a replay that lets the same completions enter in the same order meets the same
program states. Whatever asyncio keeps in sets hashes by a number given in order of creation, not by its address.
Tasks and async generators are held until the instance ends, so that no garbage collection decides when their
`finally` blocks run.

asyncio knows one loop in a guest, `stepwell.guest.loop.GuestLoop`, whatever runs: during a drain it hands everything to
the scheduler that is being drained.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from threading import get_ident
from types import AsyncGeneratorType
from typing import Any, Final, NoReturn, Protocol

from stepwell.errors import RunRestrictionError, WorkflowStalledError

_TIMER_DAYS_MAX: Final = 365


class Timers(Protocol):
    """Where a scheduler's timers are kept: they are journaled like sleeps."""

    def ask_timer(self, timer: RunTimer, when_ms: int) -> None:
        """Fire the timer at that time, by `RunTimer.fire` within a later drain."""
        ...

    def cancel_timer(self, timer: RunTimer) -> None:
        """The timer need not fire any more."""
        ...


class RunHandle:
    """A callback that is ready, or was. What asyncio wants of a Handle, and no more."""

    __slots__ = ("_args", "_callback", "_context")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context) -> None:
        self._callback: Callable[..., Any] | None = callback
        self._args = args
        self._context = context

    def cancel(self) -> None:
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._callback is None


class RunTimer(RunHandle):
    """A timer of `run`'s: what asyncio wants of a TimerHandle."""

    __slots__ = ("_loop", "_when", "count")

    def __init__(
        self, loop: RunLoop, when: float, callback: Callable[..., Any], args: tuple[Any, ...], context: Context
    ) -> None:
        super().__init__(callback, args, context)
        self._loop = loop
        self._when = when
        self.count = 0

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        if self._callback is not None:
            super().cancel()
            self._loop.timers.cancel_timer(self)

    def fire(self) -> None:
        """Its time has come: the callback is ready."""
        if self._callback is not None:
            self._loop.ready.append(RunHandle(self._callback, self._args, self._context))
            super().cancel()


def counted_hash(future: Any) -> int:
    """A future's place in its instance's order of first hashing; its address when that is outside of `run`."""
    try:
        return future._stepwell_number  # type: ignore[no-any-return]
    except AttributeError:
        scheduler = drained()
        number = object.__hash__(future) if scheduler is None else scheduler.next_number()
        future._stepwell_number = number
        return number


class RunFuture(asyncio.Future):  # type: ignore[type-arg]
    """A future of `run`'s."""

    __hash__ = counted_hash


class RunTask(asyncio.Task):  # type: ignore[type-arg]
    """A task of `run`'s; asyncio hashes it as it is created, so its number is its place among the tasks."""

    __hash__ = counted_hash


class Draining:
    """Which scheduler is being drained in this process: one at a time, and all in the thread that imported this."""

    loop: RunLoop | None = None
    thread: Final = get_ident()


def drained() -> RunLoop | None:
    """The scheduler that is being drained by the thread that asks: its `run` is at work."""
    scheduler = Draining.loop
    return scheduler if scheduler is not None and get_ident() == Draining.thread else None


@contextmanager
def _running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Within the block, asyncio takes this for the running loop."""
    outer = events._get_running_loop()
    events._set_running_loop(loop)
    try:
        yield
    finally:
        events._set_running_loop(outer)


SCHEDULER: Final[ContextVar[RunLoop | None]] = ContextVar("stepwell_scheduler", default=None)
"""Whose `run` a context belongs to; None in the bodies of its steps."""


class RunLoop:
    """The scheduler of one instance. `now_ms` is the time of the completion that entered last, since the epoch.

    `asyncio_loop` is the loop that asyncio knows: a GuestLoop. Where it does not run, as in tests, drains pretend that
    it does.
    """

    def __init__(self, timers: Timers, asyncio_loop: asyncio.AbstractEventLoop, now_ms: int, turns_max: int) -> None:
        self.timers = timers
        self._asyncio_loop = asyncio_loop
        self.now_ms = now_ms
        self.ready: deque[RunHandle] = deque()
        self._turns_max = turns_max
        self._numbers = 0
        self._names = 0
        self._tasks: list[RunTask] = []
        self._tasks_kept_max = 64
        self._generators: list[AsyncGeneratorType[Any, Any]] = []
        self._generators_kept_max = 64
        self._on_problem: Callable[[Any, dict[str, Any]], object] | None = None
        self.spoiled: BaseException | None = None

    def next_number(self) -> int:
        """The number of the next thing that hashes by one."""
        self._numbers += 1
        return self._numbers

    def drain(self, first: Callable[..., object], *args: object) -> None:
        """Let `first` happen, then run what is ready until nothing is.

        Raises WorkflowStalledError when that does not end, and whatever a callback raises that is no Exception, such as
        SystemExit: both end the instance.
        """
        if self._asyncio_loop.is_running():
            self._drain(first, args)
        else:
            with _running(self._asyncio_loop):
                self._drain(first, args)

    def _drain(self, first: Callable[..., object], args: tuple[object, ...]) -> None:
        ready = self.ready
        turns_left = self._turns_max
        collects = gc.isenabled()
        if collects:
            gc.disable()
        outer = SCHEDULER.set(self)
        Draining.loop = self
        try:
            first(*args)
            while ready:
                handle = ready.popleft()
                callback = handle._callback
                if callback is not None:
                    try:
                        handle._context.run(callback, *handle._args)
                    except Exception as error:
                        problem = {"message": f"Exception in callback {callback!r}", "exception": error}
                        handle._context.run(self.call_exception_handler, problem)
                    turns_left -= 1
                    if not turns_left:
                        raise WorkflowStalledError(
                            f"run did {self._turns_max} turns without waiting for a step, a sleep or an event: it "
                            "spins, such as on asyncio.sleep(0); await a step or step.sleep instead"
                        )
        finally:
            Draining.loop = None
            SCHEDULER.reset(outer)
            if collects:
                gc.enable()

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> RunHandle:
        """Have it called within this drain. Raises RunRestrictionError outside of one."""
        if Draining.loop is not self or get_ident() != Draining.thread:
            self.refuse_outsider()
        handle = RunHandle(callback, args, copy_context() if context is None else context)
        self.ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> RunTimer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> RunTimer:
        if Draining.loop is not self or get_ident() != Draining.thread:
            self.refuse_outsider()
        delay = when - self.time()
        if not delay <= _TIMER_DAYS_MAX * 86_400:
            raise ValueError(
                f"a timer in run reaches {_TIMER_DAYS_MAX} days at most, not {delay} seconds; use None for no timeout"
            )
        timer = RunTimer(self, when, callback, args, copy_context() if context is None else context)
        self.timers.ask_timer(timer, max(self.now_ms, round(when * 1000)))
        return timer

    def time(self) -> float:
        return self.now_ms / 1000

    def create_future(self) -> RunFuture:
        return RunFuture(loop=self._asyncio_loop)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> RunTask:
        if Draining.loop is not self or get_ident() != Draining.thread:
            self.refuse_outsider()
        if context is not None and context.get(SCHEDULER) is not self:
            context.run(SCHEDULER.set, self)
        self._names += 1
        name = f"Task-{self._names}" if name is None else name
        task = RunTask(coro, loop=self._asyncio_loop, name=name, context=context)
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._tasks_kept_max:
            self._tasks = [each for each in tasks if not each.done()]
            self._tasks_kept_max = 64 + 2 * len(self._tasks)
        return task

    def hold(self, generator: AsyncGeneratorType[Any, Any]) -> None:
        """Keep a generator that begins, until the instance ends: it is closed then, not when it becomes garbage."""
        generators = self._generators
        generators.append(generator)
        if len(generators) > self._generators_kept_max:
            self._generators = [each for each in generators if each.ag_frame is not None]
            self._generators_kept_max = 64 + 2 * len(self._generators)

    def live_tasks(self) -> list[RunTask]:
        """The tasks that are not done, in order of creation."""
        return [task for task in self._tasks if not task.done()]

    def failures(self) -> list[BaseException]:
        """What tasks ended with that nobody may have asked for: once given here, nobody is told of it as forgotten."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [error for task in ended if (error := task.exception()) is not None]

    def live_generators(self) -> list[AsyncGeneratorType[Any, Any]]:
        """The async generators that began and have not ended, in that order."""
        return [generator for generator in self._generators if generator.ag_frame is not None]

    def refuse_outsider(self) -> NoReturn:
        problem = RunRestrictionError(
            "the body of a step woke something that run waits for, such as an asyncio.Event, a future or a queue: that "
            "would not happen again on a replay; return a value from the step instead"
        )
        self.spoiled = problem
        raise problem

    def get_exception_handler(self) -> Any:
        return self._on_problem

    def set_exception_handler(self, handler: Any) -> None:
        self._on_problem = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._on_problem is not None:
            self._on_problem(self._asyncio_loop, context)
        else:
            tell_author(context)


def stalled() -> WorkflowStalledError:
    """What ends a `run` that nothing can wake."""
    return WorkflowStalledError(
        "run waits for something, but for no step, sleep or event, so nothing can ever wake it: such as a future, "
        "a lock or a queue that no task of run's will settle"
    )


def tell_author(context: dict[str, Any]) -> None:
    """What asyncio has to report, on stderr: nothing here decides what the instance does."""
    import sys
    import traceback

    message = context.get("message", "a problem in a callback")
    error = context.get("exception")
    text = "".join(traceback.format_exception(error)) if error is not None else ""
    sys.stderr.write(f"{message}\n{text}")
