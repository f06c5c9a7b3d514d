"""An event loop on virtual time for several processes at once, in an order that a seed chooses.

Within a process, what is ready runs in order, as asyncio promises; which process goes next is drawn. Each process has
clocks of its own, may be paused, and may die: what it still wanted to do then never happens. Whose a callback is, its
context says. When nothing is ready, it is at once the time of the next timer.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import AbstractEventLoop, Future, Task
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")

EPOCH_S: Final = 1_700_000_000.0
"""When every run begins, by clocks that are right."""

TURN_S: Final = 20e-6
"""How long a turn of a process takes. So time passes even for those that never wait."""

TURNS_MAX: Final = 3_000_000
"""Of one run: more is a run that goes round in circles."""

PROCESS: ContextVar[Process] = ContextVar("simulated_process")


class StuckError(Exception):
    """A run took more turns than any should."""


class Call:
    """What asyncio calls a handle, and a timer's, without the debugging that costs as much as the call."""

    __slots__ = ("_args", "_callback", "_context", "_when")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, when: float | None = None
    ) -> None:
        self._callback: Callable[..., Any] | None = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._when = when

    def cancel(self) -> None:
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._callback is None

    def when(self) -> float:
        """By the loop's own time. Raises AssertionError for what is no timer."""
        assert self._when is not None
        return self._when

    def run(self) -> None:
        """Unless it was cancelled. Raises what the callback does."""
        if self._callback is not None:
            self._context.run(self._callback, *self._args)


class Process:
    """Something that runs code, sees its own clocks, and can be paused or killed as a whole.

    `rate` is how fast its clocks go, by those that are right; `skew_s` is by how much its wall clock is ahead, and may
    be changed at any time.
    """

    def __init__(self, loop: SimulatedLoop, name: str, *, rate: float = 1.0, skew_s: float = 0.0) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.rate = rate
        self.skew_s = skew_s
        self.ready: deque[Call] = deque()
        self.tasks: dict[Task[Any], None] = {}
        self.farewells: dict[Callable[[], None], None] = {}
        """Called when it dies: what others see of that."""
        self.end: Callable[[], None] = self.kill
        """How what runs in it ends it."""
        self.end_machine: Callable[[], None] = self.kill
        """And all of what it runs on."""
        self._loop = loop
        self._born_s = loop.now_s
        loop.processes.append(self)
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def monotonic_s(self) -> float:
        """Seconds of its own clock since it was started; it goes on while the process is paused."""
        return (self._loop.now_s - self._born_s) * self.rate

    def wall_ms(self) -> int:
        """ms since the epoch, as its clock has them."""
        return round((EPOCH_S + self._loop.now_s * self.rate + self.skew_s) * 1000)

    def true_time_s(self, monotonic_s: float) -> float:
        """When its own clock shows that."""
        return self._born_s + monotonic_s / self.rate

    def run(self, call: Callable[..., T], *args: Any) -> T:
        """Call it as the process."""
        return self.context.copy().run(call, *args)

    def spawn(self, work: Coroutine[Any, Any, T]) -> Task[T]:
        """Have the process do it."""
        return self._loop.create_task(work, context=self.context.copy())

    def pause(self) -> None:
        """It stands still; time goes on."""
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self._loop.made_ready(self)

    def kill(self) -> None:
        """As by SIGKILL, or by the loss of its machine's power."""
        self.alive = False
        self.ready.clear()
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            awaited = task._fut_waiter  # type: ignore[attr-defined]
            if awaited is not None and awaited.done() and not awaited.cancelled():
                awaited.exception()  # which nobody will hear of
        self._loop.buried += self.tasks
        self.tasks = {}
        farewells, self.farewells = self.farewells, {}
        for farewell in farewells:
            farewell()


@runtime_checkable
class Readable(Protocol):
    """A stream in memory."""

    def listen(self, on_readable: Callable[[], None] | None) -> None:
        """Call it while there is something to read; None: nobody."""


_Loop: Any = AbstractEventLoop  # typeshed ties a callback's arguments together, which can't be passed on


class SimulatedLoop(_Loop):  # type: ignore[misc]
    """`on_error` hears of what nobody handled."""

    def __init__(self, random: Random, on_error: Callable[[dict[str, Any]], None]) -> None:
        self.now_s = 0.0
        self.processes: list[Process] = []
        self.buried: list[Task[Any]] = []
        self._random = random
        self._on_error = on_error
        self._timers: list[tuple[float, int, Call, Process]] = []
        self._timer_count = 0
        self._runnable: list[Process] = []
        self._turns = 0
        self.world = Process(self, "world")
        """Whoever is no process: the stores, the network, the hand that breaks things."""

    # ---------------------------------------------------------------- what runs
    def run_until_complete(self, future: Any) -> Any:
        """Run as the world until that is done; raises what it raises."""
        before = asyncio.events._get_running_loop()
        asyncio.events._set_running_loop(self)
        try:
            task = self.world.spawn(future)
            while not task.done():
                self._turn()
            return task.result()
        finally:
            self._bury()
            asyncio.events._set_running_loop(before)

    def _turn(self) -> None:
        timers, runnable = self._timers, self._runnable
        if timers:
            if not runnable and timers[0][0] > self.now_s:
                self.now_s = timers[0][0]
            while timers and timers[0][0] <= self.now_s:
                _, _, timer, process = heapq.heappop(timers)
                if process.alive and not timer.cancelled():
                    self._add(process, timer)
        if not runnable:
            if not timers:
                raise StuckError("nothing is left that could happen")
            return
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise StuckError(f"more than {TURNS_MAX} turns, at {self.now_s:.3f} s")
        index = int(self._random.random() * len(runnable)) if len(runnable) > 1 else 0
        process = runnable[index]
        runnable[index] = runnable[-1]
        runnable.pop()
        ready = process.ready
        for _ in range(len(ready)):
            if not ready or process.paused:
                break
            try:
                ready.popleft().run()
            except Exception as error:
                self._on_error({"message": "raised by a callback", "exception": error})
        self.now_s += TURN_S
        if ready:
            self.made_ready(process)

    def made_ready(self, process: Process) -> None:
        """It has something to do, maybe."""
        if process.ready and process.alive and not process.paused and process not in self._runnable:
            self._runnable.append(process)

    def _add(self, process: Process, call: Call) -> None:
        ready = process.ready
        ready.append(call)
        if len(ready) == 1 and not process.paused and process not in self._runnable:
            self._runnable.append(process)

    def _bury(self) -> None:
        """Close what dead processes left, so that nobody does it later; they can do nothing any more."""
        for process in self.processes:
            process.kill()
        while self.buried:
            task = self.buried.pop()
            coroutine = task.get_coro()
            with suppress(BaseException):  # nobody can see what it does while it is closed
                coroutine.close()

    # ---------------------------------------------------------------- what asyncio asks for
    def time(self) -> float:
        return PROCESS.get(self.world).monotonic_s()

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Call:
        call = Call(callback, args, context)
        process = PROCESS.get(self.world) if context is None else context.get(PROCESS, self.world)
        if process.alive:
            self._add(process, call)
        return call

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Call:
        process = PROCESS.get(self.world) if context is None else context.get(PROCESS, self.world)
        return self._at(self.now_s + delay / process.rate, process, callback, args, context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Call:
        process = PROCESS.get(self.world) if context is None else context.get(PROCESS, self.world)
        return self._at(process.true_time_s(when), process, callback, args, context)

    def _at(
        self,
        when_s: float,
        process: Process,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> Call:
        call = Call(callback, args, context, when_s)
        self._timer_count += 1
        heapq.heappush(self._timers, (when_s, self._timer_count, call, process))
        return call

    def create_future(self) -> Future[Any]:
        return Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> Task[T]:
        process = PROCESS.get(self.world) if context is None else context.get(PROCESS, self.world)
        task: Task[T] = Task(coro, loop=self, name=name, context=context)
        if process.alive:
            process.tasks[task] = None
            task.add_done_callback(lambda task: process.tasks.pop(task, None))
        else:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            self.buried.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> Future[T]:
        """There are no threads: it is done at once, and told of a moment later."""
        done: Future[T] = self.create_future()
        try:
            result = func(*args)
        except BaseException as error:
            self.call_later(0.001, _settle, done, None, error)
        else:
            self.call_later(0.001, _settle, done, result, None)
        return done

    def add_reader(self, fd: Any, callback: Callable[[], None], *args: Any) -> None:
        """Of streams in memory; what has a number is a file, and nothing comes from it."""
        if isinstance(fd, Readable):
            fd.listen(callback)

    def remove_reader(self, fd: Any) -> bool:
        if isinstance(fd, Readable):
            fd.listen(None)
        return True

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._on_error(context)


def _settle(future: Future[T], result: T, error: BaseException | None) -> None:
    if not future.done():
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
