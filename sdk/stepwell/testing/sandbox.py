"""A sandbox in the test's own process: the guest's instances, schedulers and bodies, without wire and gVisor.

It implements the guest's `InstanceHost`. What instances say is handed to `heard` when their turn of the loop is over,
as a guest would write it. A crash abandons a sandbox: its loop is never run again, so that a body that was under way
stops where it stood, and not even its `finally` blocks run before the test is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from stepwell.frames import PAYLOAD_BYTES_MAX
from stepwell.guest import closing
from stepwell.guest.bodies import Attempt, Bodies
from stepwell.guest.calls import Calls
from stepwell.guest.instance import Instance
from stepwell.guest.limits import Limits
from stepwell.guest.scheduler import SCHEDULER
from stepwell.testing.clock import VirtualClock
from stepwell.testing.loop import Idle, SkippingLoop
from stepwell.testing.threads import CountedThreads

if TYPE_CHECKING:
    from stepwell.guest.asks import Ask
    from stepwell.guest.logs import Logs

THREAD_GRACE_S: Final = 5.0
"""How long a crash, or the end of a test, waits for the thread of a plain function, in real time."""

_kept_open: list[SkippingLoop] = []
"""Loops that a thread may still call, after its test."""


class Sandbox:
    """`heard` gets each (envelope, payload); `replaced` may give a body another function to call."""

    def __init__(
        self,
        clock: VirtualClock,
        idle: Idle,
        logs: Logs,
        heard: Callable[[bytes, bytes], None],
        settled: Callable[[], None],
        replaced: Callable[[Ask, int, int], Any],
    ) -> None:
        self.loop = SkippingLoop(clock, idle, lambda: self.awaits_the_world)
        self.flush_logs = logs.flush
        self.alive = True
        self._heard = heard
        self._settled = settled
        self._replaced = replaced
        self._limits = Limits()
        self.calls = Calls(self.loop, self.send)
        self.calls.payload_bytes_max = self._limits.payloadBytes
        self._threads = CountedThreads(self.loop)
        self._bodies = Bodies(self.loop, self.soon, logs.flush, self._threads)
        self._bodies.limit(PAYLOAD_BYTES_MAX, self._limits.threads)
        self._ready: list[tuple[bytes, bytes]] = []
        self._touched: dict[int, Instance] = {}
        self._instances: list[Instance] = []
        self._attempts: list[Attempt] = []
        self._originals: dict[Ask, Any] = {}
        self._scheduled = False
        self._bodies_began = False
        self._context = copy_context()
        self._context.run(SCHEDULER.set, None)  # no `run`'s, even where one asks for a turn of the loop

    # ---------------------------------------------------------------- InstanceHost
    def send(self, envelope: bytes, payload: bytes = b"") -> None:
        self._ready.append((envelope, payload))
        self.soon()

    def touch(self, instance: Instance) -> None:
        self._touched[instance.act] = instance
        self.soon()

    def start(self, instance: Instance, ask: Ask, number: int) -> None:
        original = self._originals.setdefault(ask, ask.call)
        ask.call = self._replaced(ask, instance.act, number) or original
        self._bodies.start(instance, ask, number)
        self._bodies_began = True
        self.soon()  # behind the body's beginning, which is told then
        if ask.attempt is not None:
            self._attempts.append(ask.attempt)

    # ---------------------------------------------------------------- its host
    def open(
        self,
        act: int,
        entrypoint: Callable[[], Any],
        info: dict[str, Any],
        recorded: int,
        opened: list[list[Any]],
        params: bytes,
    ) -> Instance:
        """A new activation; the host lets it begin."""
        instance = Instance(self, act, entrypoint, info, recorded, opened, params, self._limits)
        self._instances.append(instance)
        return instance

    def soon(self) -> None:
        """Have what instances say heard, once what is ready now has run."""
        if not self._scheduled and self.alive:
            self._scheduled = True
            self.loop.call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        self._bodies.tell()
        while self._touched:
            touched, self._touched = self._touched, {}
            for instance in touched.values():
                instance.settle()
        ready, self._ready = self._ready, []
        for envelope, payload in ready:
            if self.alive:
                self._heard(envelope, payload)
        self._instances = [instance for instance in self._instances if not instance.gone]
        self._settled()
        self._scheduled = False  # not before: a drain within this callback has this very context
        if self._ready or self._touched or self._bodies_began:
            self._bodies_began = False
            self.soon()

    def attempts(self) -> list[Attempt]:
        """Those whose bodies run, or are about to."""
        self._attempts = [attempt for attempt in self._attempts if not attempt.over]
        return self._attempts

    @property
    def awaits_the_world(self) -> bool:
        """Whether what goes on outside of the event loop may wake a body."""
        return self._threads.busy > self._bodies.abandoned or self.loop.awaits_the_world

    # ---------------------------------------------------------------- its end
    def abandon(self) -> None:
        """It is dead from here on. Bodies in threads can't be stopped: they end, and count for nothing."""
        self.alive = False
        self._ready.clear()
        self._touched.clear()
        self._threads.wait(THREAD_GRACE_S)

    def close(self) -> None:
        """Let go of everything. Never raises."""
        self.abandon()
        for instance in self._instances:
            instance._stopped = True  # what it prints from here on is nobody's
            closing.close(instance._asking.loop)
        for task in [attempt.task for attempt in self._attempts if attempt.task is not None]:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with suppress(BaseException):
                task.get_coro().close()
        for left in asyncio.all_tasks(self.loop):
            left._log_destroy_pending = False  # type: ignore[attr-defined]
            with suppress(BaseException):
                left.get_coro().close()
        if self._threads.busy:
            _kept_open.append(self.loop)
        else:
            self.loop.close()
