"""A node: it serves the shards that it owns, and lends them what they share: guests, quotas, timers, what was read."""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from data_plane.activating import GuestLoader, Guests
from data_plane.journal.store import InstanceKey, JournalStore
from data_plane.loads import Loads
from data_plane.observing import InstanceObserver
from data_plane.quotas import Quotas, TenantLimits
from data_plane.readings import Readings
from data_plane.removals import ForgetLogs, no_logs
from data_plane.replaying import Replays
from data_plane.shard import Shard
from data_plane.shard_server import ShardServer
from data_plane.timers import Timers
from data_plane.wakes import OwnershipLostError
from data_plane.watchers import Watchers
from stepwell.engine.instance import Instance
from stepwell.engine.limits import EngineLimits
from stepwell.errors import UnavailableError
from stepwell.names import TenantUid

if TYPE_CHECKING:
    from data_plane.bindings import Bindings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Operator-set."""

    activations_max: int = 2_000
    """Instances that run at once, of all tenants; more wait, and tenants take turns."""

    readings_bytes_max: int = 64 * 1024 * 1024
    """In memory, of instances that somebody looked at: large ones are read once and not for each page. An instance of
    10,000 steps takes up to 19 MB."""


class NotOwnedError(UnavailableError):
    """The instance's shard is not served here: its owner is to be asked, if there is one."""

    def __init__(self, shard: int, key: InstanceKey) -> None:
        super().__init__("the instance is moving to another server; try again in a moment")
        self.shard = shard
        self.key = key


class Node:
    """One per process; `ShardHost` to whoever says which shards it owns. `close` at the end.

    `clock` gives ms since the epoch; `shard_of` says in which shard an instance is. Everything that runs is a task of
    `tasks`.
    """

    def __init__(
        self,
        store: JournalStore,
        loader: GuestLoader,
        tasks: TaskGroup,
        *,
        shard_of: Callable[[InstanceKey], int],
        clock: Callable[[], int],
        limits: EngineLimits,
        settings: NodeSettings,
        tenant_limits: TenantLimits,
        forget_logs: ForgetLogs = no_logs,
        observer: InstanceObserver | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.limits = limits
        self.forget_logs = forget_logs
        self.bindings: Bindings | None = None
        """What serves calls of guests, and ends of children; there once the node's calls are."""
        self.observer = observer
        self.watchers = Watchers()
        self.readings = Readings(store, settings.readings_bytes_max)
        self.replays = Replays(loader, store, clock)
        self.shard_of = shard_of
        self._servers: dict[int, ShardServer] = {}
        self.on_shards: Callable[[bool], None] = lambda came: None
        """Told whenever a shard has come, or gone."""
        self._tasks = tasks
        self._running: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.get_running_loop()
        self.timers = Timers(self._loop, clock)
        self.guests = Guests(
            loader,
            settings.activations_max,
            tenant_limits.activations_max,
            clock=clock,
            limits=limits,
            later=self.later,
            spawn=self.spawn,
            observer=observer,
            entered=lambda: self.loads.go_on(),
        )
        self.loads = Loads(self.guests.waiting_for_room)
        self.quotas = Quotas(tenant_limits, store, monotonic=self._loop.time, queued=self.guests.waiting)

    @property
    def resident_count(self) -> int:
        return sum(server.resident_count for server in self._servers.values())

    @property
    def activations(self) -> int:
        """Instances that have a place to run."""
        return self.guests.active

    @property
    def queued(self) -> int:
        """Instances that wait for one."""
        return self.guests.queued

    @property
    def serves(self) -> frozenset[int]:
        """The shards that are served here and surely owned."""
        return frozenset(number for number, server in self._servers.items() if server.shard.owned())

    def residents_of(self, tenant: TenantUid) -> Iterator[tuple[InstanceKey, Instance]]:
        """A tenant's instances in memory, as they are there: ahead of their journals."""
        for server in self._servers.values():
            yield from server.residents_of(tenant)

    def unstarted_ms(self) -> dict[int, int]:
        """Of each shard that is served here, how long what waits longest to be started has waited; 0 for nothing."""
        now = self.clock()
        oldest = {number: server.oldest_unstarted() for number, server in self._servers.items()}
        return {number: 0 if since is None else max(0, now - since) for number, since in oldest.items()}

    @property
    def shard_count(self) -> int:
        """Shards that are served here."""
        return len(self._servers)

    # ---------------------------------------------------------------- shards
    async def serve(self, shard: Shard) -> None:
        """Take it over; once this returns, its instances are served here.

        Raises EpochSupersededError, OwnershipLostError, and what the store raises; it is not served then.
        """
        assert shard.number not in self._servers
        server = ShardServer(self, shard)
        await server.take_over()
        if not shard.owned():
            server.drop()
            raise OwnershipLostError(f"shard {shard.number} was lost while epoch {shard.epoch} took it over")
        self._servers[shard.number] = server
        self.on_shards(True)

    async def release(self, number: int, within_s: float) -> None:
        """Begin nothing more in the shard, end its activations in good order, and let go of it. Idempotent."""
        server = self._servers.get(number)
        if server is not None:
            await server.drain(within_s)
            self._drop(server)

    def drop(self, number: int) -> None:
        """It is owned no more: let go of it at once. Idempotent."""
        server = self._servers.get(number)
        if server is not None:
            self._drop(server)

    def _drop(self, server: ShardServer) -> None:
        server.drop()
        if self._servers.get(server.shard.number) is server:
            del self._servers[server.shard.number]
            self.watchers.lose(lambda key: self.shard_of(key) == server.shard.number)
            self.on_shards(False)

    def is_served(self, key: InstanceKey) -> bool:
        """Whether it is in a shard that is served here and surely owned, and things may be begun in it."""
        server = self._servers.get(self.shard_of(key))
        return server is not None and server.serving()

    def server_of(self, key: InstanceKey) -> ShardServer:
        """Who serves the instance. Raises NotOwnedError."""
        number = self.shard_of(key)
        server = self._servers.get(number)
        if server is None:
            raise NotOwnedError(number, key)
        return server

    # ---------------------------------------------------------------- life
    def close(self) -> None:
        """No timer rings, no task goes on."""
        for server in list(self._servers.values()):
            self._drop(server)
        self.timers.close()
        for task in list(self._running):
            task.cancel()

    def later(self, delay_s: float, then: Callable[[], None]) -> object:
        return self._loop.call_later(delay_s, then)

    def spawn(self, work: Awaitable[object]) -> None:
        """Work for one instance or shard: a fault in it is logged, and takes nothing else down."""

        async def run() -> None:
            try:
                await work
            except Exception:
                log.exception("work for an instance failed")

        task = self._tasks.create_task(run())
        self._running[task] = None
        task.add_done_callback(self._running.pop)
