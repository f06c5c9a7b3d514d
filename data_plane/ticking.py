"""Schedules at work: whoever owns the shard of a workflow's schedules creates an instance for each of their times.

What is in force is read anew before each instance, so that none comes of a time after a pause that was acknowledged.
The instance is created first, by an id that the time gives it, and only then is the time marked as done: whoever takes
over begins behind the mark, and creates nothing twice. What a node knows without reading is only when to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

import structlog

from cluster import keys
from cluster.codec import RecordFormatError, decode_value, encode
from cluster.records import Active, Schedules, TickDone, Ticked
from cluster.store import ClusterStore, CompactedError, Compare, KeyValue, Put
from data_plane.calls import InstanceCalls
from data_plane.node import Node
from data_plane.ticks import driver_key, due, jitter_ms, next_due, tick_id
from stepwell.engine.schedule import Schedule
from stepwell.errors import AlreadyExistsError, ApiError, UnavailableError
from stepwell.names import TenantUid, WorkflowId

log = structlog.get_logger(__name__)

LOOKS_AT_ONCE: Final = 64
"""Workflows whose schedules are looked at together; more take their turn."""

SCAN_PAGE: Final = 500
"""Tenants' schedules that are read together when shards came."""

SCAN_DELAY_S: Final = 1.0
"""Shards come many at a time: all that came within it are looked through together."""

RETRY_DELAY_S: Final = 1.0
"""Between attempts to watch, or to look through all, again."""

BACKOFF_MS_MAX: Final = 60_000
"""Between attempts to create an instance that was refused; the first comes after a second."""

BACKOFF_AWAY_MS_MAX: Final = 5_000
"""The same where a store was away, or the shard moves."""

NO_PARAMS: Final = b"null"


class _Name(NamedTuple):
    tenant: TenantUid
    workflow: WorkflowId


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Driven:
    """A workflow whose schedules are driven here. `revision` is that of the newest record that was seen of them."""

    ticker: Ticker
    name: _Name
    revision: int
    armed: int | None = None
    looking: bool = False
    again: bool = False
    failures: int = 0

    def tick(self) -> None:
        self.ticker.look(self)


class Ticker:
    """One per node. `run` must run. `heard` waits until new instances are created by the routes of that revision.

    `store` holds what is in force and how far each schedule has come; an instance is a create like any other, with its
    quotas, and waits for them.
    """

    def __init__(
        self, node: Node, store: ClusterStore, calls: InstanceCalls, *, heard: Callable[[int], Awaitable[None]]
    ) -> None:
        self._node = node
        self._store = store
        self._calls = calls
        self._heard = heard
        self._driven: dict[_Name, _Driven] = {}
        self._room = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._scanning = False
        self._scan_again = False

    # ---------------------------------------------------------------- what there is to drive
    async def run(self) -> NoReturn:
        """Follow what is in force until cancelled; a broken watch is begun again."""
        self._node.on_shards = self._shards_changed
        while True:
            try:
                await self._follow()
            except (UnavailableError, CompactedError):
                await asyncio.sleep(RETRY_DELAY_S)

    async def _follow(self) -> None:
        revision = await self._store.revision()
        self._scan_soon()
        async with aclosing(self._store.watch(keys.SCHEDULES, after=revision)) as batches:
            async for batch in batches:
                for event in batch.events:
                    if event.value is not None:
                        self._learn(KeyValue(event.key, event.value, 0, event.mod_revision))

    def _shards_changed(self, came: bool) -> None:
        if came:
            self._scan_soon()
            return
        for name, driven in list(self._driven.items()):
            if not self._node.is_served(driver_key(*name)):
                self._forget(driven)

    def _scan_soon(self) -> None:
        self._scan_again = True
        if not self._scanning:
            self._scanning = True
            self._node.spawn(self._scan())

    async def _scan(self) -> None:
        """Look through what is in force for all tenants, for what is driven here."""
        try:
            while self._scan_again:
                await asyncio.sleep(SCAN_DELAY_S)
                self._scan_again = False
                try:
                    await self._scan_once()
                except UnavailableError:
                    self._scan_again = True
        finally:
            self._scanning = False

    async def _scan_once(self) -> None:
        after = ""
        while page := await self._store.range(keys.SCHEDULES, after=after, limit=SCAN_PAGE):
            for stored in page:
                self._learn(stored)
            after = page[-1].key

    def _learn(self, stored: KeyValue) -> None:
        """What is gone, or not in force any more, shows when it is looked at."""
        try:
            schedules = decode_value(Schedules, stored)
        except RecordFormatError:
            log.exception("a tenant's schedules can't be read, and create nothing here")
            return
        for scheduled in schedules.workflows:
            name = _Name(schedules.tenant_uid, scheduled.workflow)
            if scheduled.paused or not scheduled.active or not self._node.is_served(driver_key(*name)):
                continue
            driven = self._driven.get(name)
            if driven is None:
                driven = self._driven[name] = _Driven(self, name, 0)
            if driven.revision < stored.mod_revision:
                driven.revision = stored.mod_revision
                self.look(driven)

    def _forget(self, driven: _Driven) -> None:
        driven.armed = None
        if self._driven.get(driven.name) is driven:
            del self._driven[driven.name]

    # ---------------------------------------------------------------- looking at one
    def look(self, driven: _Driven) -> None:
        """Now, or as soon as the look that is under way is over."""
        driven.armed = None
        if driven.looking:
            driven.again = True
            return
        driven.looking = True
        self._node.spawn(self._look(driven))

    async def _look(self, driven: _Driven) -> None:
        try:
            async with self._room:
                next_ms = await self._drive(driven.name)
            driven.failures = 0
        except Exception as error:
            away = isinstance(error, UnavailableError)
            most = BACKOFF_AWAY_MS_MAX if away else BACKOFF_MS_MAX
            next_ms = self._node.clock() + min(most, 1_000 << min(driven.failures, 10))
            driven.failures += 1
            if not away:
                failed = log.warning if isinstance(error, ApiError) else log.exception
                failed("a schedule's instance was not created", tenant=driven.name.tenant, error=str(error))
        finally:
            driven.looking = False
        if self._driven.get(driven.name) is not driven:
            return
        if driven.again:
            driven.again = False
            self.look(driven)
        elif next_ms is None:
            self._forget(driven)
        else:
            driven.armed = next_ms
            self._node.timers.arm(driven, next_ms)

    async def _drive(self, name: _Name) -> int | None:
        """Create what is due. When to look again; None when there is nothing to be driven here."""
        delay_ms = jitter_ms(name.tenant)
        while self._node.is_served(driver_key(*name)):
            stored = await self._store.get(keys.schedules(name.tenant))
            active = () if stored is None else _in_force(decode_value(Schedules, stored), name.workflow)
            if stored is None or not active:
                return None
            marked = await self._store.get(keys.ticked(*name))
            done = {} if marked is None else {each[:2]: each for each in decode_value(Ticked, marked).done}
            now_ms = self._node.clock() - delay_ms
            times = [(at_ms, each) for each in active for at_ms in due(each, done.get(each.schedule[:2]), now_ms)[:1]]
            if not times:
                later = [at_ms for each in active if (at_ms := next_due(each, now_ms)) is not None]
                return min(later) + delay_ms if later else None
            at_ms, ticking = min(times, key=lambda each: each[0])
            await self._heard(stored.mod_revision)
            await self._tick(name, active, ticking, at_ms, done, marked)
        return None

    async def _tick(
        self,
        name: _Name,
        active: tuple[Active, ...],
        ticking: Active,
        at_ms: int,
        done: Mapping[tuple[str, str], TickDone],
        marked: KeyValue | None,
    ) -> None:
        await self._create(name, ticking, at_ms)
        await self._mark(name, active, ticking, at_ms, done, marked)

    async def _create(self, name: _Name, ticking: Active, at_ms: int) -> None:
        """Return once the instance is durable. Raises what `InstanceCalls.create` does."""
        schedule = ticking.schedule
        instance = tick_id(*name, schedule, at_ms)
        tick = Schedule(schedule.cron, at_ms)
        try:
            await self._calls.create(*name, instance, NO_PARAMS, instance, schedule=tick)
        except AlreadyExistsError:
            log.warning("the id of a schedule's instance was taken", tenant=name.tenant, instance=instance)

    async def _mark(
        self,
        name: _Name,
        active: tuple[Active, ...],
        ticking: Active,
        at_ms: int,
        done: Mapping[tuple[str, str], TickDone],
        marked: KeyValue | None,
    ) -> None:
        """Unless somebody else has done so by now. Only schedules that are in force keep a mark."""
        known = {each.schedule[:2] for each in active} & done.keys()
        after = {which: done[which] for which in known}
        after[ticking.schedule[:2]] = TickDone(*ticking.schedule[:2], at_ms, at_ms)
        record = Ticked(*name, tuple(after[which] for which in sorted(after)))
        key = keys.ticked(*name)
        await self._store.txn(
            (Compare(key, 0 if marked is None else marked.mod_revision),), (Put(key, encode(record)),)
        )


def _in_force(schedules: Schedules, workflow: WorkflowId) -> tuple[Active, ...]:
    """Of a workflow; nothing while it is paused."""
    found = next((each for each in schedules.workflows if each.workflow == workflow), None)
    return () if found is None or found.paused else found.active
