"""Cluster stores with leases to hold against the port's page, each with a way to let time pass."""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import Future, TimerHandle
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, Final, Protocol
from uuid import uuid4

from cluster.etcd.connection import EtcdConnection, EtcdSettings
from cluster.etcd.keys import KeySpace
from cluster.store import LeaseStore
from cluster.store_etcd import EtcdStore
from tests.contract.etcd_server import EtcdServer
from tests.contract.memory_store import MemoryStore
from tests.simulation.etcd import Etcd
from tests.simulation.etcd_faults import EtcdFaults

AT_ONCE: Final = EtcdFaults(hop_s=(0.0, 0.0), watch_hop_s=(0.0, 0.0))
"""Nothing fails, and nothing takes time."""


class LeaseWorld(Protocol):
    """A store, and its time. Leases may end up to 2 s late."""

    @property
    def store(self) -> LeaseStore: ...

    async def pass_time(self, seconds: float) -> None: ...


class OracleWorld:
    def __init__(self) -> None:
        self._now_s = 0.0
        self.store = MemoryStore(lambda: self._now_s)

    async def pass_time(self, seconds: float) -> None:
        self._now_s += seconds
        self.store.end_leases()


class ModelledEtcdWorld:
    def __init__(self) -> None:
        self._time = PassedTime()
        self.store = Etcd(self._time, random.Random(0), Counter(), AT_ONCE).client(lambda: True)

    async def pass_time(self, seconds: float) -> None:
        await self._time.pass_by(seconds)


class EtcdWorld:
    """A real etcd, in an installation of its own."""

    def __init__(self, store: LeaseStore) -> None:
        self.store = store

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def etcd_world(server: EtcdServer) -> AsyncIterator[EtcdWorld]:
    """Its revisions begin where those of the server stand. Nobody else writes meanwhile."""
    prefix = f"{uuid4().hex}/"
    async with EtcdConnection(EtcdSettings([server.endpoint], prefix)) as connection:
        stands_at = await EtcdStore(connection, KeySpace(prefix, 0)).revision()
        yield EtcdWorld(EtcdStore(connection, KeySpace(prefix, stands_at)))


class PassedTime:
    """The running loop, with a clock that stands still until it is told. What is due at once is done at once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now_s = 0.0
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._timers_made = 0

    def time(self) -> float:
        return self._now_s

    def create_future(self) -> Future[Any]:
        return self._loop.create_future()

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        timer = TimerHandle(when, callback, args, self._loop, context)
        if when <= self._now_s:
            self._loop.call_soon(self._run, timer)
        else:
            self._timers_made += 1
            heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    async def pass_by(self, seconds: float) -> None:
        """Let so much time pass, and all that is due in it happen in order."""
        until_s = self._now_s + seconds
        while self._timers and self._timers[0][0] <= until_s:
            self._now_s, _, timer = heapq.heappop(self._timers)
            self._run(timer)
            for _ in range(5):
                await asyncio.sleep(0)
        self._now_s = until_s

    def _run(self, timer: TimerHandle) -> None:
        if not timer.cancelled():
            timer._run()
