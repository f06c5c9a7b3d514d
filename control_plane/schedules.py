"""Schedules: which are in force, by the routes as they are; pausing them, and telling when their times come.

In force for a workflow are those of the version that its route gives the most weight, the first of several: a canary
brings its own along when it is promoted. They are written in the transaction that changes the route, so that no node
can know of one without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.generations import Change, change
from cluster.records import Active, Route, Schedule, ScheduledWorkflow, Schedules, Tenant, Ticked, Version
from cluster.store import RANGE_LIMIT_MAX, ClusterStore, Delete, Operation, Put
from control_plane.limits import ControlLimits, refuse_over
from control_plane.pages import Page
from control_plane.workflows import Workflows
from stepwell.cron import next_after, parsed, zone
from stepwell.names import Digest, WorkflowId

NONE: Final = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A schedule in force, when its next instance is due, and when the latest was; ms since the epoch, None for never.

    While it is paused there is no next one.
    """

    schedule: Schedule
    next_ms: int | None
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class WorkflowSchedules:
    """Of one workflow."""

    workflow: WorkflowId
    paused: bool
    schedules: tuple[Told, ...]


async def enforced(
    store: ClusterStore,
    tenant: Tenant,
    routes: Iterable[Route],
    limits: ControlLimits,
    now_ms: int,
    new: Version | None = None,
) -> tuple[Operation, ...]:
    """What has to be written when those routes change to what they are here, within a `change` of the tenant.

    `new` is a version that is written along with them. Raises LimitExceededError.
    """
    known: dict[Digest, Version] = {} if new is None else {new.digest: new}
    before = await _stored(store, tenant)
    after = dict(before)
    for route in routes:
        digest = max(route.targets, key=lambda target: target.weight).digest
        if digest not in known:
            stored = await store.get(keys.version(tenant.uid, digest))
            if stored is None:
                continue
            known[digest] = decode_value(Version, stored)
        schedules = dict(known[digest].schedules).get(route.workflow, NONE)
        _put(after, _with(before.get(route.workflow), route.workflow, schedules, now_ms))
    count = sum(len(each.active) for each in after.values())
    if count > sum(len(each.active) for each in before.values()):
        refuse_over(tenant, "schedules_max", limits.schedules_max, count, "schedules")
    return _written(tenant, before, after)


async def lifted(store: ClusterStore, tenant: Tenant, workflow: WorkflowId) -> tuple[Operation, ...]:
    """What has to be written, within a `change` of the tenant, when the workflow goes: no pause of it stays either."""
    before = await _stored(store, tenant)
    after = {each: scheduled for each, scheduled in before.items() if each != workflow}
    return _written(tenant, before, after)


class ScheduleCalls:
    """Rules over the cluster's store; see there for consistency."""

    def __init__(self, store: ClusterStore, *, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._workflows = Workflows(store)

    async def list(self, tenant: Tenant, size: int, position: str = "") -> Page[WorkflowSchedules]:
        """Of workflows that have schedules or are paused, by id."""
        stored = await _stored(self._store, tenant)
        found = [stored[workflow] for workflow in sorted(stored) if workflow > position]
        page = found[:size]
        ticked = await self._store.range(keys.ticked_of(tenant.uid), limit=RANGE_LIMIT_MAX)
        done = {each.workflow: each for each in (decode_value(Ticked, one) for one in ticked)}
        told = tuple(self._told(each, done.get(each.workflow)) for each in page)
        return Page(told, page[-1].workflow if len(found) > size else "")

    async def pause(self, tenant: Tenant, workflow: WorkflowId) -> WorkflowSchedules:
        """Nothing is due from here on, whatever versions come. Raises NotFoundError without a route."""
        return await self._set(tenant, workflow, paused=True)

    async def resume(self, tenant: Tenant, workflow: WorkflowId) -> WorkflowSchedules:
        """What was due meanwhile is not made up for. Raises NotFoundError without a route."""
        return await self._set(tenant, workflow, paused=False)

    async def _set(self, tenant: Tenant, workflow: WorkflowId, *, paused: bool) -> WorkflowSchedules:
        async def decide() -> Change[ScheduledWorkflow]:
            await self._workflows.get(tenant.uid, workflow)
            before = await _stored(self._store, tenant)
            kept = before.get(workflow, ScheduledWorkflow(workflow, False, NONE))
            if kept.paused == paused:
                return Change((), lambda _: kept)
            now_ms, after = self._clock_ms(), dict(before)
            active = kept.active if paused else tuple(each._replace(since_ms=now_ms) for each in kept.active)
            changed = ScheduledWorkflow(workflow, paused, active)
            _put(after, changed)
            return Change(_written(tenant, before, after), lambda _: changed)

        scheduled = await change(self._store, tenant.uid, decide)
        stored = await self._store.get(keys.ticked(tenant.uid, workflow))
        return self._told(scheduled, None if stored is None else decode_value(Ticked, stored))

    def _told(self, scheduled: ScheduledWorkflow, ticked: Ticked | None) -> WorkflowSchedules:
        done = {(each.cron, each.timezone): each for each in (ticked.done if ticked is not None else ())}
        now_ms = self._clock_ms()
        told = []
        for schedule, since_ms in scheduled.active:
            tick = done.get((schedule.cron, schedule.timezone))
            next_ms = None
            if not scheduled.paused:
                begin = max(now_ms, since_ms, tick.done_ms if tick is not None else 0)
                next_ms = next_after(parsed(schedule.cron), zone(schedule.timezone), begin)
            told.append(Told(schedule, next_ms, (tick.fired_ms or None) if tick is not None else None))
        return WorkflowSchedules(scheduled.workflow, scheduled.paused, tuple(told))


async def _stored(store: ClusterStore, tenant: Tenant) -> Mapping[WorkflowId, ScheduledWorkflow]:
    stored = await store.get(keys.schedules(tenant.uid))
    return {} if stored is None else {each.workflow: each for each in decode_value(Schedules, stored).workflows}


def _with(
    before: ScheduledWorkflow | None, workflow: WorkflowId, schedules: tuple[Schedule, ...], now_ms: int
) -> ScheduledWorkflow:
    """What was in force before stays in force since then; what is paused stays so."""
    since = {each.schedule[:2]: each.since_ms for each in (before.active if before is not None else ())}
    active = tuple(Active(each, since.get(each[:2], now_ms)) for each in schedules)
    return ScheduledWorkflow(workflow, before is not None and before.paused, active)


def _put(workflows: dict[WorkflowId, ScheduledWorkflow], scheduled: ScheduledWorkflow) -> None:
    """Only what says anything is kept."""
    if scheduled.active or scheduled.paused:
        workflows[scheduled.workflow] = scheduled
    else:
        workflows.pop(scheduled.workflow, None)


def _written(
    tenant: Tenant, before: Mapping[WorkflowId, ScheduledWorkflow], after: Mapping[WorkflowId, ScheduledWorkflow]
) -> tuple[Operation, ...]:
    if after == before:
        return ()
    if not after:
        return (Delete(keys.schedules(tenant.uid)),)
    record = Schedules(tenant.uid, tuple(after[workflow] for workflow in sorted(after)))
    return (Put(keys.schedules(tenant.uid), encode(record)),)
