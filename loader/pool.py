"""Warm sandboxes: Python started, SDK imported, hello received, and nothing of any tenant in them.

Each is given out once. Boots run in the background, a few at a time; whoever waits is served before the stock is
refilled.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import islice

from loader.guest import Guest, GuestDiedError
from loader.observing import BootObserver
from loader.sandbox.sandbox import Sandbox, SandboxError, SandboxLauncher
from loader.settings import LoaderSettings

_log = logging.getLogger(__name__)

_BACKOFF_MS_MAX = 10_000


class BootFailedError(Exception):
    """No sandbox came up. The text is for the operator's log."""


class WarmPool:
    """The stock of warm guests. Its boots are tasks of the group that the owner gave it.

    `on_starts` hears the reason once so many starts in a row failed that those who wait are told; "" once one succeeds.
    """

    def __init__(
        self,
        launcher: SandboxLauncher,
        settings: LoaderSettings,
        tasks: asyncio.TaskGroup,
        on_starts: Callable[[str], None],
        observer: BootObserver | None = None,
    ) -> None:
        self._on_starts = on_starts
        self._observer = observer
        self._launcher = launcher
        self._settings = settings
        self._tasks = tasks
        self._ready: deque[Guest] = deque()
        self._waiting: deque[asyncio.Future[Guest]] = deque()
        self._booting: set[asyncio.Task[None]] = set()
        self._saying_hello: dict[Sandbox, None] = {}
        """In the order of their starts."""
        self._hurried: set[asyncio.Future[Guest]] = set()
        """Of those who wait."""
        self._failures = 0
        self._closed = False

    @property
    def ready(self) -> int:
        """How many warm guests are in stock."""
        return len(self._ready)

    def fill(self) -> None:
        """Start as many boots as are wanted and allowed. Idempotent."""
        wanted = self._settings.warm_sandboxes + len(self._waiting) - len(self._ready)
        room = min(wanted, self._settings.boots_parallel_max) - len(self._booting)
        for _ in range(0 if self._closed else room):
            task = self._tasks.create_task(self._boot())
            self._booting.add(task)
            task.add_done_callback(self._booted)

    async def take(self, *, in_hurry: bool) -> Guest:
        """A guest that has said hello, the caller's from now on; in the background. Until then, one boots in the
        foreground for each caller in a hurry, and none for the stock. Raises BootFailedError.
        """
        while self._ready:
            guest = self._ready.popleft()
            if guest.usable:
                self.fill()
                return guest
        if self._closed:
            raise BootFailedError("the pool is closed")
        waiting: asyncio.Future[Guest] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        if in_hurry:
            self._hurried.add(waiting)
            self._hurry()
        self.fill()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._put(waiting.result())
            raise
        finally:
            self._hurried.discard(waiting)
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def close(self) -> None:
        """Boot no more, and end what is warm. Idempotent."""
        self._closed = True
        for task in self._booting:
            task.cancel()
        for guest in list(self._ready):
            guest.kill("the server stops")
        self._ready.clear()
        self._refuse("the pool is closed")

    async def _boot(self) -> None:
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            sandbox = await self._launcher.launch()
            self._saying_hello[sandbox] = None
            self._hurry()
            guest = Guest(
                sandbox,
                outgoing_bytes_max=self._settings.outgoing_bytes_max,
                log_lines_a_second=self._settings.log_lines_a_second_max,
                log_bytes_a_second=self._settings.log_bytes_a_second_max,
                loop_stall_ms=self._settings.loop_stall_ms,
            )
            try:
                await guest.greet(self._settings.boot_timeout_ms)
            except asyncio.CancelledError:
                guest.kill("the server stops")
                raise
            finally:
                del self._saying_hello[sandbox]
                sandbox.schedule(1, is_background=True)
        except (SandboxError, GuestDiedError, OSError) as error:
            await self._failed(error)
        else:
            if self._failures >= self._settings.boot_attempts_max:
                self._on_starts("")
            self._failures = 0
            if self._observer is not None:
                self._observer.booted(clock() - began_s)
            self._put(guest)

    def _hurry(self) -> None:
        """Put the oldest boots, which are the next to end, into the foreground."""
        for sandbox in islice(self._saying_hello, len(self._hurried)):
            sandbox.schedule(1, is_background=False)

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._hurry()
        if self._observer is not None:
            self._observer.boot_failed()
        _log.error("a sandbox did not start (%d in a row): %s", self._failures, error)
        if self._failures >= self._settings.boot_attempts_max:
            self._on_starts(str(error))
            self._refuse(str(error))
        pause_ms = self._settings.boot_backoff_ms * 2 ** min(self._failures - 1, 10)
        await asyncio.sleep(min(pause_ms, _BACKOFF_MS_MAX) / 1000)

    def _booted(self, task: asyncio.Task[None]) -> None:
        self._booting.discard(task)
        if not task.cancelled() and task.exception() is None:
            self.fill()

    def _put(self, guest: Guest) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(guest)
                return
        if self._closed:
            guest.kill("the server stops")
            return
        self._ready.append(guest)
        guest.death.add_done_callback(lambda _: self._lost(guest))

    def _lost(self, guest: Guest) -> None:
        if guest in self._ready:
            self._ready.remove(guest)
            self.fill()

    def _refuse(self, why: str) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(BootFailedError(why))
