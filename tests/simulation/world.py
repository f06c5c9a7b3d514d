"""One run of the simulation: a cluster of real nodes on models of its stores, its tenants' clients, and disasters.

Faults happen for a while; then everything is mended, and what was promised must come true by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

from cluster import keys
from cluster.codec import encode
from cluster.generations import Change, change
from cluster.records import WEIGHTS_SUM, Route, Scope, Target, Tenant, Version
from cluster.store import Put
from cluster.tenant_uids import tenant_uid
from data_plane import wakes
from data_plane.assignment import shard_of
from data_plane.journal.store import InstanceKey
from stepwell import retention
from stepwell.errors import StepwellError
from stepwell.guest import bodies
from stepwell.names import Digest, InstanceId, InstanceUid, TenantId, WorkflowId
from stepwell.workflow_limits import WorkflowLimits
from tests.simulation import (
    cassandra_tables,
    circumstances,
    deletions,
    etcd_faults,
    families,
    forks,
    letters,
    network,
    sandbox,
    steering,
)
from tests.simulation.cassandra import Cassandra
from tests.simulation.cassandra_client import ReadUnavailableError
from tests.simulation.circumstances import Circumstances
from tests.simulation.clients import Client
from tests.simulation.etcd import Etcd
from tests.simulation.havoc import Havoc
from tests.simulation.lives import Life
from tests.simulation.loop import SimulatedLoop, StuckError
from tests.simulation.machine import WORKFLOW, Machine
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.programs import VERSIONS, Tokens, digest_of, drawn_plan, entrypoint_of, versions
from tests.simulation.referee import Referee
from tests.simulation.schedules import Operators

MACHINES: Final = ("ash", "birch", "cedar")
TENANTS: Final = ("acme", "globex")

CONCURRENCY: Final = 3
"""So many instances may run at once on a machine, say all versions but the first."""

BUCKET_MS: Final = 4_000
"""Narrower than in truth, so that marks move often within a run."""

FAULTS_S: Final = 60.0
"""For so long things go wrong."""

POWER_CUT_WITHIN_S: Final = 40.0
"""Then, once more, all that is not durable is lost."""

QUIET_S: Final = 300.0
"""So long after that, all that was begun must have ended: the longest sleep, retries and clocks' errors included."""

LATE_S: Final = 20.0
"""So long after that, and after it could, everything has gone on: leases have ended, shards were taken over. What
another node's clock called now may be later by this one's."""

REST_S: Final = 90.0
"""And so long after the last of it, nothing of it may be left in memory."""


class World:
    """`run` once. `trace` is what happened, line by line: the same for the same seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.circumstances: Circumstances = circumstances.drawn(self.random)
        self.shard_count = self.circumstances.shard_count
        self.trace: list[str] = []
        self.seen: Counter[str] = Counter()
        self.loop = SimulatedLoop(self.random, self._on_error)
        self.folder = folder
        self.scopes = tuple(Scope)
        self.pace = self.random.choice((1.0, 3.0, 10.0))
        self.skew_s = self.random.choice((0.0, 1.0, 20.0))
        self.drift = 0.001
        self.steering = steering.drawn(seed, self.circumstances)
        self.forks = forks.drawn(seed, self.circumstances) if self.steering is None else None
        self.deletions = deletions.drawn(seed, self.circumstances, restarts=self.steering is not None)
        self.families = families.drawn(seed, self.circumstances, self.deletions, forks=self.forks is not None)
        self.letters = letters.drawn(seed, self.circumstances)
        self.quiet = False
        self.last_fault_s = 0.0
        self.expected: dict[str, list[Any]] = {}
        self.driven: dict[str, Life] = {}
        """Instances that a client leads to their end, by name."""
        self.sent: dict[str, int] = {}
        self.oracle = Oracle(lambda: self.loop.now_s, self.tell, 2 * self.skew_s + 1.0)
        self.etcd: Etcd
        self.cassandra: Cassandra
        self.network = Network(self)
        self.operators = Operators(self)
        self.sandbox_faults = sandbox.CALM if self.circumstances.poisonous else sandbox.HOSTILE
        self.referee = Referee(self)
        self.machines = {name: Machine(self, name) for name in MACHINES}
        self.classes: dict[str, Any] = {}
        self._tenants = {
            name: Tenant(TenantId(name), tenant_uid(name.encode(), self.random.choice((1, 2, 4))), 0)
            for name in TENANTS
        }
        self._locks: dict[str, asyncio.Lock] = {}
        self._minted = 0

    # ---------------------------------------------------------------- what everybody uses
    def tell(self, line: str) -> None:
        self.trace.append(f"{self.loop.now_s:10.4f} {line}")

    def fault(self, what: str, process: str) -> None:
        """Something befalls a machine."""
        self.last_fault_s = self.loop.now_s
        self.seen[what] += 1
        self.tell(f"{what}: {process}")

    def mint(self) -> str:
        self._minted += 1
        return f"{self._minted:04x}" + self.random.randbytes(9).hex()

    def plan(self) -> list[Any]:
        """Of an instance that is to be created."""
        circumstances = self.circumstances
        plan = drawn_plan(self.random, circumstances.operations, poisonous=circumstances.poisonous)
        plan = plan if self.letters is None else self.letters.broadcasts.plan(plan, self)
        plan = plan if self.families is None else self.families.plan(plan)
        return plan if self.steering is None else self.steering.plan(plan)

    def lock(self, name: str) -> asyncio.Lock:
        """Whoever drives that instance holds it."""
        return self._locks.setdefault(name, asyncio.Lock())

    def shard_of(self, key: InstanceKey) -> int:
        return shard_of(key.tenant, key.instance, self.shard_count)

    def _now_ns(self) -> int:
        return round(self.loop.now_s * 1e9)

    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def _on_error(self, context: dict[str, Any]) -> None:
        if "destroyed" in context["message"]:
            return  # what a process was at when it died
        error = context.get("exception")
        if isinstance(error, ReadUnavailableError) and "task" not in context:
            return  # several partitions were read together, and whoever waited died as the first answer came
        self.oracle.violations.append(f"nobody handled: {context.get('message')}: {error!r}")
        self.tell(self.oracle.violations[-1])

    # ---------------------------------------------------------------- the run
    def run(self) -> list[str]:
        """What was violated."""
        with (
            mock.patch.object(bodies, "perf_counter_ns", self._now_ns),
            mock.patch.object(os, "_exit", sandbox.end_process),
            mock.patch.object(retention, "RETENTION_MS_MIN", 0),
            mock.patch.object(wakes, "BUCKET_MS", BUCKET_MS),
            mock.patch.object(wakes, "READ_AHEAD_MS", BUCKET_MS // 4),
        ):
            try:
                self.loop.run_until_complete(self._run())
            except (Violation, StuckError) as wrong:
                if str(wrong) not in self.oracle.violations:
                    self.oracle.violations.append(f"{type(wrong).__name__}: {wrong}")
            finally:
                for machine in self.machines.values():
                    machine.close()
        return self.oracle.violations

    async def _run(self) -> None:
        self.tell(f"circumstances: {self.circumstances.name}")
        self.etcd = Etcd(self.loop, self.random, self.seen)
        self.cassandra = Cassandra(self.loop, self.random, self.seen)
        await self._deploy()
        for machine in self.machines.values():
            machine.start()
        if self.circumstances.referee:
            self.referee.begin()
        self._be_hostile()
        havoc = Havoc(self)
        wreaking = self.loop.world.spawn(havoc.wreak())
        routing = self.loop.world.spawn(self._reroute())
        operating = self.loop.world.spawn(self.operators.work(list(self._tenants.values())))
        if self.families is not None:
            self.loop.world.spawn(self.families.attend(self, list(TENANTS)))
        ids = [f"id-{number}" for number in range(1, self.circumstances.ids + 1)]
        clients = [
            self.loop.world.spawn(Client(self, tenant, ids).live())
            for tenant in TENANTS
            for _ in range(self.circumstances.clients_each)
        ]
        for tenant in TENANTS:
            for _ in range(self.circumstances.readers_each):
                self.loop.world.spawn(Client(self, tenant, ids).look())
        calling = [] if self.letters is None else [self.letters.broadcasts.call_out(self, tenant) for tenant in TENANTS]
        watched = clients + (callers := [self.loop.world.spawn(each) for each in calling])
        await self._watched(asyncio.sleep(FAULTS_S), watched)
        self.tell("mended")
        self.quiet = True
        if self.steering is not None:
            self.steering.over = True
        if self.deletions is not None:
            self.deletions.over = True
        wreaking.cancel()
        routing.cancel()
        operating.cancel()
        self._be_calm()
        havoc.mend()
        await self._watched(asyncio.sleep(self.random.random() * POWER_CUT_WITHIN_S), watched)
        havoc.cut_the_power()
        self.oracle.calm = True
        looking = self.loop.world.spawn(self._look_for_what_is_late())
        await self._watched(asyncio.wait(clients, timeout=QUIET_S), watched)
        looking.cancel()
        for client in clients:
            if not client.done():
                stuck = [life for life in self.oracle.lives.values() if not life.status and life.uid in self.expected]
                self.oracle.violated(f"not at its end {QUIET_S} s after the last fault: {stuck}")
        for caller in callers:
            caller.cancel()
        await asyncio.sleep(REST_S)
        for each in self._tenants.values():
            await self.operators.close(each)
        await asyncio.sleep(REST_S)
        self._check_rest()
        if self.letters is not None:
            self.letters.check(self)
        for tenant in TENANTS:
            await Client(self, tenant, ids).look_at_the_list()
            if self.families is not None:
                await self.families.check(self, tenant)
                for life in self.families.lives(self.oracle, tenant, there=True):
                    await Client(self, tenant, ids).look_at(life)

    async def _watched(self, work: Any, clients: list[asyncio.Task[None]]) -> None:
        """Wait for it; whatever is violated ends the run."""
        waiting = self.loop.world.spawn(_awaited(work))
        while not waiting.done():
            await asyncio.wait([waiting], timeout=1.0)
            if self.oracle.violations:
                raise Violation(self.oracle.violations[0])
            for client in clients:
                if client.done() and client.exception() is not None:
                    self.oracle.violated(f"a client failed: {client.exception()!r}")

    async def _look_for_what_is_late(self) -> None:
        """Nothing goes wrong any more."""
        oracle = self.oracle
        while True:
            await asyncio.sleep(1)
            for life, what, late_s in oracle.late(self.last_fault_s):
                oracle.latest_s = max(oracle.latest_s, late_s)
                if late_s > LATE_S + oracle.clock_error_s:
                    await Client(self, life.name.split("/")[1], []).look_at(life)
                    if not (life.status or life.paused):
                        oracle.violated(f"{life.name} ({life.uid}) could go on at {what} {late_s:.0f} s ago")

    def _check_rest(self) -> None:
        owners: dict[int, list[str]] = {}
        for machine in self.machines.values():
            node = machine.node
            assert node is not None
            for number in node._servers:
                owners.setdefault(number, []).append(machine.name)
            if node.activations or node.queued:
                self.oracle.violated(f"on {machine.name} {node.activations} have a place, {node.queued} wait for one")
            if node.resident_count:
                self.oracle.violated(f"{machine.name} has {node.resident_count} instances in memory, and none is left")
        for life in self.oracle.lives.values():
            left = self._left_of(life) if life.deleted or life.kept_s is not None else []
            if left:
                self.oracle.violated(f"of {life.name} ({life.uid}), which is gone, there still are {left}")
        if sorted(owners) != list(range(self.shard_count)) or any(len(names) > 1 for names in owners.values()):
            self.oracle.violated(f"shards are served by {owners}")

    def _left_of(self, life: Life) -> list[str]:
        """Of its blobs, and of its journal where no other instance has its name now."""
        _, tenant, _, workflow, _, instance = life.name.split("/")
        key = InstanceKey(self._tenants[tenant].uid, WorkflowId(workflow), InstanceId(instance))
        partitions = {"blobs": cassandra_tables.blobs(key, InstanceUid(life.uid))}
        if self.oracle.newest[life.name] == life.uid:
            partitions["journal"] = cassandra_tables.journal(key)
        return [what for what, partition in partitions.items() if self.cassandra.has(partition)]

    # ---------------------------------------------------------------- circumstances
    def _be_hostile(self) -> None:
        self.etcd.faults = etcd_faults.HOSTILE
        self.cassandra.faults = self.random.choice(self.circumstances.cassandra)
        self.network.faults = network.HOSTILE

    def _be_calm(self) -> None:
        self.etcd.quiet()
        self.cassandra.quiet()
        self.network.faults = network.CALM
        self.sandbox_faults = sandbox.CALM
        for machine in self.machines.values():
            machine.calm()

    async def _deploy(self) -> None:
        store, tokens = self.etcd.client(lambda: True), Tokens()
        for tenant in self._tenants.values():
            await store.txn((), (Put(keys.tenant(tenant.id), encode(tenant)),))
            for number, (digest, version) in enumerate(versions(self.oracle, tokens, tenant.id, VERSIONS).items()):
                entrypoint = entrypoint_of(Digest(digest))
                self.classes[entrypoint] = version
                limits = ((WORKFLOW, WorkflowLimits(concurrency=CONCURRENCY)),) if number else ()
                record = Version(tenant.uid, Digest(digest), ((WORKFLOW, entrypoint),), {}, 0, 1, 1, limits=limits)
                await store.txn((), (Put(keys.version(tenant.uid, record.digest), encode(record)),))
            await self._route(tenant, 1)
            if self.families is not None:
                ((digest, version),) = versions(
                    self.oracle, tokens, tenant.id, VERSIONS + 1, since=VERSIONS + 1
                ).items()
                entrypoint = entrypoint_of(Digest(digest))
                self.classes[entrypoint] = version
                await self.families.deploy(self, tenant, digest, entrypoint)
            await self.operators.deploy(tenant, tokens)

    async def _reroute(self) -> None:
        """New instances get another version, or one of two by weight, every now and then."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 10))
            try:
                tenant = self.random.choice(list(self._tenants.values()))
                await self._route(tenant, *self.random.sample(range(1, VERSIONS + 1), self.random.choice((1, 1, 2))))
            except StepwellError as error:
                self.tell(f"not routed, maybe: {error!r}")

    async def _route(self, tenant: Tenant, number: int, canary: int | None = None) -> None:
        digest = digest_of(tenant.id, number)
        route = Route(tenant.uid, WORKFLOW, digest, entrypoint_of(digest), 0, 0)
        if canary is not None:
            other, weight = digest_of(tenant.id, canary), self.random.randint(1, WEIGHTS_SUM - 1)
            target = Target(other, entrypoint_of(other), weight)
            route = replace(route, weight=WEIGHTS_SUM - weight, others=(target,))
            self.seen["routes by weight"] += 1
        digests = frozenset(target.digest for target in route.targets)
        history = self.oracle.routes.setdefault((tenant.id, WORKFLOW), [])
        begun_s, index = self.loop.now_s, len(history)
        history.append((begun_s, float("inf"), digests))

        async def decide() -> Change[None]:
            return Change((Put(keys.route(tenant.uid, WORKFLOW), encode(route)),), lambda revision: None)

        await change(self.etcd.client(lambda: True), tenant.uid, decide)
        history[index] = (begun_s, self.loop.now_s, digests)


async def _awaited(work: Any) -> None:
    await work
