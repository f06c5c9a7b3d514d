"""Schedules in the simulation: what operators do with them while things go wrong, and what must have come of it.

Each tenant has two workflows that the clock runs. The schedule of `STEADY` is there from the beginning, with times from
before it that were missed; that of `MOODY` is paused, resumed and replaced, and may be left in either state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.generations import Change, change
from cluster.records import Active, CatchUp, Route, Schedule, ScheduledWorkflow, Schedules, Tenant, Version
from cluster.store import ClusterStore, Put
from control_plane.schedules import ScheduleCalls
from data_plane.ticks import jitter_ms
from stepwell import WorkflowEntrypoint
from stepwell.cron import MINUTE_MS
from stepwell.errors import StepwellError
from stepwell.names import Digest, WorkflowId
from stepwell.v1 import instances_pb2 as pb
from tests.simulation.calls import Calls
from tests.simulation.loop import EPOCH_S
from tests.simulation.oracle import Oracle
from tests.simulation.programs import RETRIES, Tokens, entrypoint_of

if TYPE_CHECKING:
    from tests.simulation.world import World

STEADY, MOODY = WorkflowId("steady"), WorkflowId("moody")
CRON: Final = "* * * * *"
ALIKE: Final = ("* * * * *", "*/1 * * * *", "0-59 * * * *", "*/1 * * * SUN-SAT")
"""Different schedules, all of every minute."""

MISSED: Final = 20
"""Times of the steady schedule that lie before the beginning."""

BACK_MINUTES: Final = 3
"""Of a schedule that is new: so many of its times are due at once."""

LATE_S: Final = 30.0
"""So long after its time, a tenant's jitter and clocks' errors, an instance is there, once all is well."""


@dataclass
class _Term:
    """While this is in force, as far as its operator knows: `ended_ms` is when it was told that it is not any more."""

    cron: str
    since_ms: int
    ended_ms: float = float("inf")


@dataclass
class TickOracle:
    """Which instances the clock made, by what they saw of themselves."""

    oracle: Oracle
    made: dict[tuple[str, str, str, int], str] = field(default_factory=dict)
    """By tenant, workflow, expression and time: the uid."""
    terms: dict[tuple[str, str], list[_Term]] = field(default_factory=dict)

    def runs(self, tenant: str, workflow: str, uid: str, schedule: Any) -> None:
        """An instance tells what it was created by."""
        if schedule is None:
            self.oracle.violated(f"{workflow} of {tenant} ({uid}) was made by nobody")
        tick = (tenant, workflow, schedule.cron, schedule.scheduledTime)
        other = self.made.setdefault(tick, uid)
        if other != uid:
            self.oracle.violated(f"{tick} made two instances: {other} and {uid}")
        if not any(
            term.cron == schedule.cron
            and term.since_ms < schedule.scheduledTime <= term.ended_ms + self.oracle.clock_error_s * 1000
            for term in self.terms[tenant, workflow]
        ):
            self.oracle.violated(f"{tick} made {uid}, and was not in force: {self.terms[tenant, workflow]}")

    def missing(self, tenant: Tenant, scheduled: ScheduledWorkflow, now_ms: int) -> Iterator[str]:
        """Times of what is in force that nobody made an instance for."""
        late_ms = jitter_ms(tenant.uid) + round((LATE_S + self.oracle.clock_error_s) * 1000)
        for active in () if scheduled.paused else scheduled.active:
            first_ms = active.since_ms - active.since_ms % MINUTE_MS + MINUTE_MS
            for at_ms in range(first_ms, now_ms - late_ms + 1, MINUTE_MS):
                tick = (str(tenant.id), str(scheduled.workflow), active.schedule.cron, at_ms)
                if tick not in self.made:
                    yield f"{tick} made no instance"


class Ticked(WorkflowEntrypoint):
    """What the clock runs; each tenant's is a subclass. `ctx` is the instance's uid."""

    ticks: TickOracle
    tokens: Tokens
    tenant: str
    version: str

    async def run(self, event: Any, step: Any) -> Any:
        oracle = self.ticks.oracle
        name = f"tenants/{self.tenant}/workflows/{event.workflowName}/instances/{event.instanceId}"
        life = oracle.runs(self.ctx, name, self.version, self.tenant)
        self.ticks.runs(self.tenant, event.workflowName, life.uid, event.schedule)
        value = await step.do("note", config=RETRIES)(self._note)()
        oracle.sees(life, ("note",), value)
        output = {"version": self.version, "saw": value}
        oracle.returns(life, output)
        return output

    async def _note(self) -> int:
        return self.tokens.next()


class Operators:
    """Those who deploy schedules and pause them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"{world.seed} schedules")
        self.ticks = TickOracle(world.oracle)

    @property
    def _store(self) -> ClusterStore:
        return self._world.etcd.client(lambda: True)

    def _now_ms(self) -> int:
        return round((EPOCH_S + self._world.loop.now_s) * 1000)

    async def deploy(self, tenant: Tenant, tokens: Tokens) -> None:
        """Before anything goes wrong."""
        digest = Digest(f"sha256-{tenant.id}-ticked")
        of_it = {"ticks": self.ticks, "tokens": tokens, "tenant": tenant.id, "version": digest}
        entrypoint = entrypoint_of(digest)
        self._world.classes[entrypoint] = type("Ticked", (Ticked,), of_it)
        routes = [Route(tenant.uid, each, digest, entrypoint, 0, 0) for each in (STEADY, MOODY)]
        puts = tuple(Put(keys.route(tenant.uid, route.workflow), encode(route)) for route in routes)
        workflows = tuple((route.workflow, entrypoint) for route in routes)
        version = Version(tenant.uid, digest, workflows, {}, 0, 1, 1)
        await self._store.txn((), (*puts, Put(keys.version(tenant.uid, digest), encode(version))))
        since_ms = self._now_ms() - MISSED * MINUTE_MS
        self.ticks.terms[tenant.id, STEADY] = [_Term(CRON, since_ms)]
        self.ticks.terms[tenant.id, MOODY] = []
        await self._write(tenant, STEADY, CRON, since_ms)

    async def work(self, tenants: list[Tenant]) -> None:
        """Until cancelled."""
        world = self._world
        calls = ScheduleCalls(self._store, clock_ms=self._now_ms)
        while True:
            await asyncio.sleep(self._random.expovariate(1 / 5))
            tenant = self._random.choice(tenants)
            terms = self.ticks.terms[tenant.id, MOODY]
            before, now_ms = list(terms), self._now_ms()
            what = self._random.choice(("pause", "resume", "replace", "replace"))
            try:
                if what == "pause":
                    await calls.pause(tenant, MOODY)
                elif what == "resume":
                    terms += [_Term(each, now_ms) for each in ALIKE]
                    await calls.resume(tenant, MOODY)
                else:
                    cron = self._random.choice(ALIKE)
                    is_new = all(term.cron != cron for term in before)  # otherwise later times may be marked already
                    since_ms = now_ms - BACK_MINUTES * MINUTE_MS if is_new else now_ms
                    terms.append(_Term(cron, since_ms))
                    await self._write(tenant, MOODY, cron, since_ms)
            except StepwellError as error:
                world.tell(f"schedules of {tenant.id}: {what}, maybe: {error!r}")
                continue
            world.tell(f"schedules of {tenant.id}: {what}")
            world.seen[f"schedules: {what}"] += 1
            if what != "resume":  # of what was not paused, it changes nothing
                for term in before:
                    term.ended_ms = min(term.ended_ms, self._now_ms())

    async def _write(self, tenant: Tenant, workflow: WorkflowId, cron: str, since_ms: int) -> None:
        """As a deploy does, but for when it began."""
        active = Active(Schedule(cron, catch_up=CatchUp.ALL), since_ms)

        async def decide() -> Change[None]:
            stored = await self._store.get(keys.schedules(tenant.uid))
            all_ = {} if stored is None else {each.workflow: each for each in decode_value(Schedules, stored).workflows}
            all_[workflow] = ScheduledWorkflow(workflow, False, (active,))
            record = Schedules(tenant.uid, tuple(all_[each] for each in sorted(all_)))
            return Change((Put(keys.schedules(tenant.uid), encode(record)),), lambda revision: None)

        await change(self._store, tenant.uid, decide)

    async def close(self, tenant: Tenant) -> None:
        """What is in force has made all that it should; from here on it makes nothing more."""
        await self._resume_what_could_not_be_imported(tenant)
        await self._check(tenant)
        calls = ScheduleCalls(self._store, clock_ms=self._now_ms)
        for workflow in (STEADY, MOODY):
            await calls.pause(tenant, workflow)
            for term in self.ticks.terms[tenant.id, workflow]:
                term.ended_ms = min(term.ended_ms, self._now_ms())

    async def _resume_what_could_not_be_imported(self, tenant: Tenant) -> None:
        """By the rules, somebody has to look at what was paused since sandboxes hung while they imported its code."""
        calls = Calls(self._world, tenant.id)
        for workflow in (STEADY, MOODY):
            paused = pb.ListInstancesRequest(
                parent=f"tenants/{tenant.id}/workflows/{workflow}",
                statuses=[pb.INSTANCE_STATUS_PAUSED],
                page_size=1_000,
            )
            for each in (await calls.answered("ListInstances", paused)).instances:
                self._world.oracle.counted["instances of schedules resumed"] += 1
                await calls.answered("ResumeInstance", pb.ResumeInstanceRequest(name=each.name))
                await asyncio.sleep(1)

    async def _check(self, tenant: Tenant) -> None:
        stored = await self._store.get(keys.schedules(tenant.uid))
        assert stored is not None
        for scheduled in decode_value(Schedules, stored).workflows:
            for what in self.ticks.missing(tenant, scheduled, self._now_ms()):
                self.ticks.oracle.violated(what)
        self._world.oracle.counted["instances of schedules"] = len(self.ticks.made)
