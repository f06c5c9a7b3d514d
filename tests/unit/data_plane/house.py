"""A node with a store in memory and guests that the test speaks for, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from itertools import count
from typing import Any, cast

from data_plane.calling import Choose, RoutedVersion
from data_plane.calls import InstanceCalls
from data_plane.journal.chain import chain
from data_plane.journal.store import InstanceKey
from data_plane.logs.limits import LogLimits
from data_plane.logs.recorder import Recorder
from data_plane.node import Node, NodeSettings
from data_plane.observing import InstanceObserver
from data_plane.quotas import TenantLimits
from data_plane.shard import Shard
from loader import messages as m
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Record
from stepwell.engine.status import status_of
from stepwell.errors import (
    NotFoundError,
)
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId
from stepwell.retention import NOT_SAID
from stepwell.workflow_limits import UNLIMITED
from tests.contract.oracle_log_store import OracleLogStore
from tests.unit.data_plane.fakes import FakeGuest, FakeLoader, MemoryStore
from tests.unit.data_plane.virtual_loop import VirtualLoop, run, until

SHARD = 0
TENANT, FLOW = TenantUid("tenant-1"), WorkflowId("flow")


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def sync(*args: Any, **kwargs: Any) -> None:
        run(lambda: test(*args, **kwargs))

    return sync


class Routes:
    digest = Digest("sha256-1")
    retired: frozenset[Digest] = frozenset()
    retention = NOT_SAID
    limits = UNLIMITED
    workflows = frozenset({FLOW})
    other_entrypoint = "other:Flow"

    async def routed(self, tenant: TenantUid, workflow: WorkflowId) -> Choose:
        if workflow not in self.workflows:
            raise NotFoundError("no route")
        digest, limits = self.digest, self.limits
        retention = self.retention
        return lambda _: RoutedVersion(digest, "main:Flow", retention, limits)

    async def check_version(self, tenant: TenantUid, digest: Digest) -> None:
        if digest in self.retired:
            raise NotFoundError("it is retired")

    async def on_version(self, tenant: TenantUid, workflow: WorkflowId, digest: Digest) -> RoutedVersion:
        await self.check_version(tenant, digest)
        if workflow != FLOW:
            raise NotFoundError("it has no such workflow")
        return RoutedVersion(digest, self.other_entrypoint, limits=self.limits)


class House:
    """One owner of the shard."""

    def __init__(
        self,
        store: MemoryStore,
        epoch: int,
        tasks: asyncio.TaskGroup,
        settings: NodeSettings,
        tenant_limits: TenantLimits,
        observer: InstanceObserver | None,
        limits: EngineLimits | None = None,
    ) -> None:
        loop = cast(VirtualLoop, asyncio.get_running_loop())
        self.owned = True
        self.store = store
        self.loader = FakeLoader()
        self.log_store = OracleLogStore(LogLimits(), {})
        self.recorder = Recorder(self.log_store, clock=loop.clock, limits=LogLimits())
        self.epoch = epoch
        self.node = Node(
            store,
            self.loader,
            tasks,
            shard_of=lambda key: SHARD,
            clock=loop.clock,
            limits=limits or EngineLimits(),
            settings=settings,
            tenant_limits=tenant_limits,
            forget_logs=self.recorder.forget,
            observer=observer,
        )
        minted = count(1)
        self.routes = Routes()
        self.calls = InstanceCalls(self.node, self.routes, mint=lambda: f"minted-{epoch}-{next(minted)}")
        self.tasks = tasks

    async def serve(self) -> None:
        """Own the shard."""
        await self.node.serve(Shard(SHARD, self.epoch, lambda: self.owned))
        self.server = self.node._servers[SHARD]

    async def create(self, name: str = "one", **more: Any) -> InstanceKey:
        tenant, workflow = more.pop("tenant", TENANT), more.pop("workflow", FLOW)
        request_id = more.pop("request_id", "")
        seen = await self.calls.create(tenant, workflow, InstanceId(name), b"null", request_id, **more)
        return seen.key

    async def guest(self, number: int) -> FakeGuest:
        """The guest of the activation `number`, from 1, once it was told to start."""
        await until(lambda: len(self.loader.leases) >= number)
        guest = self.loader.leases[number - 1].guest
        await until(lambda: guest.told("start"))
        return guest

    async def status(self, key: InstanceKey) -> str:
        return status_of((await self.calls.get(key)).instance)

    def records(self, key: InstanceKey) -> list[Record]:
        rows = [put.row for _, put in sorted(self.store.rows.get(key, {}).items())]
        return [record for row in chain(rows) for record in row.records]

    async def asleep(self) -> None:
        await until(lambda: self.node.resident_count == 0)


@asynccontextmanager
async def serving(
    store: MemoryStore | None = None,
    epoch: int = 1,
    settings: NodeSettings | None = None,
    tenant_limits: TenantLimits | None = None,
    observer: InstanceObserver | None = None,
    limits: EngineLimits | None = None,
) -> AsyncIterator[House]:
    """A node that owns the shard until the block ends, and then dies as by SIGKILL."""
    async with asyncio.TaskGroup() as tasks:
        house = House(
            store or MemoryStore(),
            epoch,
            tasks,
            settings or NodeSettings(),
            tenant_limits or TenantLimits(),
            observer,
            limits,
        )
        await house.serve()
        recording = tasks.create_task(house.recorder.run())
        try:
            yield house
        finally:
            house.owned = False
            house.node.close()
            recording.cancel()


def sleeping(guest: FakeGuest, duration_ms: int, act: int = 1) -> None:
    guest.say(m.Sleep(act, "nap", 1, duration_ms, None), m.Idle(act, 0))
    guest.say(m.Closed(act))
