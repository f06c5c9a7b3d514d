"""Attempts of steps: bodies run on the guest's event loop, plain functions in threads, each within its timeout.

A body gets its own copies of its arguments, decoded for each attempt, so that no attempt sees what another did to them.
What an attempt ends with goes to its instance once, and not at all when it was cancelled.
"""

from __future__ import annotations

import json
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from contextvars import Context
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from stepwell.calls import Argument
from stepwell.context import StepContext
from stepwell.errors import (
    ApiError,
    NonRetryableError,
    RunRestrictionError,
    StepDefinitionError,
    StepTimeoutError,
    StepValueError,
)
from stepwell.guest.failures import described, message_of, rebuilt, traceback_of
from stepwell.guest.kept import kept
from stepwell.guest.logs import SOURCE
from stepwell.guest.scheduler import SCHEDULER
from stepwell.guest.threads import Threads
from stepwell.parameters import is_coroutine_function
from stepwell.values import decode

if TYPE_CHECKING:
    from stepwell.guest.asks import Ask
    from stepwell.guest.instance import Instance

FINAL = (NonRetryableError, StepDefinitionError, StepValueError, RunRestrictionError)
"""What another attempt would only meet again."""


class Attempt:
    """One try of one step."""

    __slots__ = (
        "_arguments",
        "_keywords",
        "act",
        "ask",
        "began_ns",
        "bodies",
        "calls",
        "cancelled",
        "expired",
        "instance",
        "left_out",
        "number",
        "over",
        "partial",
        "silent",
        "task",
        "timer",
    )

    def __init__(self, bodies: Bodies, instance: Instance, ask: Ask, number: int) -> None:
        self.bodies = bodies
        self.instance = instance
        self.ask = ask
        self.number = number
        self.act = instance.act
        self.silent = False
        self.partial: dict[int, str] = {}
        self.left_out = 0
        self.task: Task[None] | None = None
        self.timer: Any = None
        self.began_ns = 0
        """0 until the body begins."""
        self.over = False
        self.cancelled = False
        self.expired = False
        self.calls = 0
        """Through bindings, so far."""

    def log_name(self) -> tuple[str, int, int]:
        _, name, count = self.ask.key
        return (name, count, self.number)

    def cancel(self) -> None:
        """`run` does not want it any more: end the body, and drop what it ends with."""
        self.cancelled = True
        if self.began_ns and self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        """The whole life of an `async def` body."""
        if self.cancelled:
            self._end(None, None)
            return
        self.began_ns = perf_counter_ns()
        payload: bytes | None = None
        error: BaseException | None = None
        try:
            payload = self._kept(await self._called())
        except BaseException as raised:
            error = raised
        self._end(payload, error)

    def run_in_thread(self, context: Context) -> None:
        """The body of a plain function, from within the thread that it is given."""
        context.run(self._run_in_thread)

    def _run_in_thread(self) -> None:
        loop = self.bodies.loop
        if self.cancelled:
            loop.call_soon_threadsafe(self._end, None, None)
            return
        self.began_ns = perf_counter_ns()
        loop.call_soon_threadsafe(self.bodies.begun, self)
        payload: bytes | None = None
        error: BaseException | None = None
        try:
            result = self._called()
            if hasattr(result, "__await__"):
                loop.call_soon_threadsafe(self._await_rest, result)
                return
            payload = self._kept(result)
        except BaseException as raised:
            error = raised
        loop.call_soon_threadsafe(self._end, payload, error)

    def _await_rest(self, awaitable: Any) -> None:
        """A plain function gave an awaitable: the event loop does the rest."""
        if self.over or self.cancelled or self.expired:
            getattr(awaitable, "close", int)()
            self._end(None, None)
            return
        self.task = self.bodies.loop.create_task(self._run_rest(awaitable))

    async def _run_rest(self, awaitable: Any) -> None:
        payload: bytes | None = None
        error: BaseException | None = None
        try:
            payload = self._kept(await awaitable)
        except BaseException as raised:
            error = raised
        self._end(payload, error)

    def _called(self) -> Any:
        call = self.ask.call
        assert call is not None
        if not call.positional and not call.keywords:
            return call.function()
        positional = [self._argument(value) for value in call.positional]
        keywords = {name: self._argument(value) for name, value in call.keywords}
        return call.function(*positional, **keywords)

    def _argument(self, value: Argument) -> Any:
        if isinstance(value, bytes):
            return decode(value)
        if value is not None:
            return rebuilt(json.loads(value.described))
        return self._step_context()

    def _step_context(self) -> StepContext:
        kind, name, count = self.ask.key
        assert self.ask.config is not None
        config = self.ask.config.shown()
        return StepContext.of(self.instance.uid, name, count, self.number, config, rollback=kind == "rollback")

    def _kept(self, result: Any) -> bytes:
        if self.ask.key[0] == "rollback":
            return b"null"
        return kept(f"step {self.ask.key[1]!r}: its result", result, self.bodies.payload_bytes_max)

    def expire(self) -> None:
        """Its timeout has come: an `async def` is cancelled and then failed; a thread is failed, and left behind."""
        self.timer = None
        self.expired = True
        if self.task is not None:
            self.task.cancel()
        else:
            self.bodies.abandon(self)
            self._finish(None, None)

    def _end(self, payload: bytes | None, error: BaseException | None) -> None:
        if self.over:
            self.bodies.recover(self)
        else:
            self._finish(payload, error)

    def _finish(self, payload: bytes | None, error: BaseException | None) -> None:
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        instance = self.instance
        elapsed_us = (perf_counter_ns() - self.began_ns) // 1000 if self.began_ns else 0
        delay_ms: int | None = None
        if not self.cancelled:
            if self.expired:
                error = self._timed_out(error)
            if error is not None and not _is_final(error):
                delay_ms, error = self._delayed(error)
        if self.partial or self.left_out:
            self.bodies.flush_logs(self)
        if self.cancelled:
            instance.attempt_dropped(self)
        elif error is not None:
            instance.attempt_failed(self, elapsed_us, delay_ms, described(error))
        else:
            assert payload is not None
            instance.attempt_succeeded(self, elapsed_us, payload)

    def _timed_out(self, error: BaseException | None) -> StepTimeoutError:
        assert self.ask.config is not None
        what = "step" if self.ask.key[0] == "do" else "rollback of step"
        name, timeout_ms = self.ask.key[1], self.ask.config.timeout_ms
        text = f"{what} {name!r}: attempt {self.number} ran longer than its timeout of {timeout_ms} ms"
        timeout = StepTimeoutError(text)
        timeout.__traceback__ = traceback_of(error) if error is not None else None
        return timeout

    def _delayed(self, error: BaseException) -> tuple[int | None, BaseException]:
        """Before the next attempt, and what this one failed with: a step whose delay function fails is not tried
        again."""
        config = self.ask.config
        assert config is not None
        if config.delay is None or self.number > config.limit:
            return config.delay_ms, error
        assert self.ask.context is not None
        context = self.ask.context.copy()
        context.run(_belong_to, self)
        try:
            return context.run(config.delay.ms, error, self._step_context()), error
        except BaseException as problem:
            failed = StepDefinitionError(
                f"step {self.ask.key[1]!r}: config['retries']['delay'] failed ({message_of(problem)}) after attempt "
                f"{self.number} ({message_of(error)})"
            )
            failed.__cause__ = problem
            return None, failed


class Bodies:
    """Every attempt of this process."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        touched: Callable[[], None],
        flush_logs: Callable[[Any], None],
        threads: Threads | None = None,
    ) -> None:
        self.loop = loop
        self.payload_bytes_max = 0
        self.abandoned = 0
        """Threads whose attempt ran out of time and that still run."""
        self.flush_logs = flush_logs
        self._touched = touched
        self._threads = threads or Threads(1)
        self._fresh: list[Attempt] = []

    def limit(self, payload_bytes_max: int, threads_max: int) -> None:
        """The host's figures, as they come with the bundle."""
        self.payload_bytes_max = payload_bytes_max
        self._threads.running_max = threads_max

    def start(self, instance: Instance, ask: Ask, number: int) -> None:
        """Begin an attempt; its instance hears how it ends."""
        assert ask.context is not None
        assert ask.call is not None
        context = ask.context.copy()
        attempt = ask.attempt = Attempt(self, instance, ask, number)
        context.run(_belong_to, attempt)
        if is_coroutine_function(ask.call.function):
            attempt.task = Task(attempt.run(), loop=self.loop, context=context)
            self._fresh.append(attempt)
        else:
            self.loop.call_soon(self._threads.run, lambda: attempt.run_in_thread(context), context=context.copy())

    def begun(self, attempt: Attempt) -> None:
        """A thread took it on."""
        if not attempt.over:
            self._fresh.append(attempt)
            self._touched()

    def tell(self) -> None:
        """Tell the host of the attempts that began and have not ended by now, and arm their timeouts."""
        fresh, self._fresh = self._fresh, []
        for attempt in fresh:
            if attempt.over:
                continue
            if not attempt.began_ns:
                self._fresh.append(attempt)
                self.loop.call_soon(self._touched)  # not within this writing, of which nothing would come
                continue
            config = attempt.ask.config
            assert config is not None
            if not attempt.cancelled:
                numbers = f"{attempt.ask.key[2]},{attempt.number},{config.timeout_ms}"
                attempt.instance.say(f'["started",{attempt.act},{attempt.ask.quoted},{numbers}{attempt.ask.kind}]')
            passed_ns = perf_counter_ns() - attempt.began_ns
            attempt.timer = self.loop.call_later(config.timeout_ms / 1000 - passed_ns / 1e9, attempt.expire)

    def abandon(self, attempt: Attempt) -> None:
        """Its thread can't be ended."""
        self.abandoned += 1

    def recover(self, attempt: Attempt) -> None:
        """The thread of an abandoned attempt ended after all."""
        self.abandoned -= 1


def _is_final(error: BaseException) -> bool:
    """Whether another attempt would only meet it again; so it is with calls through bindings that were refused."""
    kind = type(error)
    if issubclass(kind, ApiError):
        return not kind.retryable and kind.committed == "no"
    return issubclass(kind, FINAL)


def _belong_to(attempt: Attempt) -> None:
    """From here on, this context is the body's and no longer `run`'s."""
    SOURCE.set(attempt)
    SCHEDULER.set(None)
