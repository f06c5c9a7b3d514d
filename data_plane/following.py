"""Following the shard's wakes: what is due is looked at, at most so many instances at once, tenants in turn.

A wake is given once, so an instance that could not be looked at is tried again from here, with growing delays. Its wake
holds the mark all the while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from data_plane.due import DueInstances
from data_plane.journal.store import InstanceKey, Wake
from data_plane.loads import LOADS_MAX, Loads
from data_plane.unstarted import Unstarted
from data_plane.wakes import DUE_NOW, ShardWakes
from stepwell.names import TenantUid, WorkflowId

log = structlog.get_logger(__name__)

WAKE_READ_EVERY_S: Final = 1.0
"""How often the buckets that are due are read and the low mark may move."""

TAKEN_MAX: Final = 1_000
"""Due wakes that are taken without a turn of the event loop between them."""

LOOK_AGAIN_DELAY_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Before an instance that could not be looked at is tried again; the last one repeats."""


class WakeFollower:
    """`look` does what is due for an instance; `working` says that somebody does so already, and will go on.

    Once `serving` is not true any more, nothing is begun.
    """

    def __init__(
        self,
        wakes: ShardWakes,
        loads: Loads,
        held_back: Callable[[TenantUid, WorkflowId], bool],
        *,
        clock: Callable[[], int],
        sooner: asyncio.Event,
        later: Callable[[float, Callable[[], None]], object],
        spawn: Callable[[Awaitable[object]], None],
        look: Callable[[InstanceKey], Awaitable[None]],
        working: Callable[[InstanceKey], bool],
        serving: Callable[[], bool],
        unstarted: Unstarted,
    ) -> None:
        self._wakes = wakes
        self._loads = loads
        self._clock = clock
        self._sooner = sooner
        self._later = later
        self._spawn = spawn
        self._look = look
        self._working = working
        self._serving = serving
        self._unstarted = unstarted
        self._due = DueInstances(loads.ready, held_back)
        self._failures: dict[InstanceKey, int] = {}
        """How often in a row each could not be looked at: these are tried again from here alone."""

    async def follow(self) -> None:
        """Until the node serves no more."""
        while self._serving():
            self._sooner.clear()
            try:
                await self._wakes.read_ahead()
            except Exception:
                # What is known goes on; what could not be read is read again, and holds the mark until then.
                log.exception("wakes could not be read")
            now = self._clock()
            for key in self._wakes.take_due(now, TAKEN_MAX):
                self._due.add(key)
                if not self._working(key):
                    self._unstarted.add(key, self._wakes.due_since(key))
            self._load_due()
            for key in self._wakes.move(now, LOADS_MAX):
                self._wakes.put(key, DUE_NOW, _forget_wake)
            self._wakes.advance()
            await self._sleep_until_due()

    async def _sleep_until_due(self) -> None:
        due = self._wakes.next_due()
        wait_s = WAKE_READ_EVERY_S
        if due is not None:
            wait_s = min(wait_s, (due - self._clock()) / 1000)
        if wait_s <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._sooner.wait()

    def _load_due(self) -> None:
        while not self._loads.are_all_taken and (key := self._due.take()) is not None:
            if key not in self._failures and not self._working(key):
                self._begin(key)
        if self._due:
            self._loads.hold_up(self._sooner.set)

    def _begin(self, key: InstanceKey) -> None:
        self._loads.begin(key.tenant)
        self._spawn(self._wake(key))

    async def _wake(self, key: InstanceKey) -> None:
        try:
            await self._look(key)
        except Exception:
            if self._serving():
                log.exception("an instance that is due could not be looked at; it is tried again")
                self._try_again(key)
        else:
            self._failures.pop(key, None)
        finally:
            self._loads.end(key.tenant)

    def _try_again(self, key: InstanceKey) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1

        def again() -> None:
            if self._serving():
                self._begin(key)

        self._later(LOOK_AGAIN_DELAY_S[min(failures, len(LOOK_AGAIN_DELAY_S) - 1)], again)


def _forget_wake(wake: Wake) -> None:
    """It is known to the shard's wakes, which is all that it is for."""
