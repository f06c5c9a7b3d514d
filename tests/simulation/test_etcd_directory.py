"""A directory over the modelled etcd: whatever goes wrong, what it answers was true a short while ago."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from random import Random
from typing import Final

import pytest

from cluster import keys
from cluster.codec import decode, encode
from cluster.directory import STALENESS_S, Directory
from cluster.generations import Change, change
from cluster.records import Route
from cluster.store import Event, Put
from stepwell.errors import ConflictError, NotFoundError, UnavailableError
from stepwell.names import Digest, TenantUid, WorkflowId
from tests.simulation.etcd_client import EtcdStore
from tests.simulation.etcd_faults import HOSTILE, Fault
from tests.simulation.etcd_rig import Rig, recorded_changes, simulated

WALK_S: Final = 150.0
TENANTS: Final = tuple(TenantUid(name) for name in ("acme", "globex", "initech"))
FLOW: Final = WorkflowId("flow")

AGE_MAX_S: Final = STALENESS_S + HOSTILE.watch_hop_s[1]
"""Its clock begins when the watch is heard, and that may be so much later than what it tells."""


class Routes:
    """What each tenant's route was, and until when, in truth."""

    def __init__(self) -> None:
        self._replaced: defaultdict[TenantUid, dict[int, float]] = defaultdict(dict)
        self._newest: dict[TenantUid, int] = {}

    def changed(self, now_s: float, events: tuple[Event, ...]) -> None:
        for event in events:
            if event.value is not None and event.key.startswith("route/"):
                route = decode(Route, event.value, event.key)
                if route.tenant_uid in self._newest:
                    self._replaced[route.tenant_uid][self._newest[route.tenant_uid]] = now_s
                self._newest[route.tenant_uid] = route.updated_at_ms

    def age_s(self, route: Route, now_s: float) -> float:
        """For how long it has not been the route any more."""
        replaced_s = self._replaced[route.tenant_uid].get(route.updated_at_ms)
        return 0.0 if replaced_s is None else now_s - replaced_s


async def walked(seed: int, patched: pytest.MonkeyPatch) -> tuple[float, Counter[str]]:
    """One process changes tenants' routes, another looks them up. Returns the greatest age of an answer, in s when it
    was asked for, and which faults there were."""
    rig, routes, random = Rig(HOSTILE, seed), Routes(), Random(seed)
    recorded_changes(rig.etcd, patched, routes.changed)
    directory = Directory(rig.store, monotonic_s=rig.loop.time)
    oldest_s = 0.0

    async def write(store: EtcdStore) -> None:
        written = 0
        while True:
            written += 1
            uid = random.choice(TENANTS)
            route = Route(uid, FLOW, Digest("sha256-0"), "main:Flow", 1, written)

            async def decided(route: Route = route) -> Change[None]:
                return Change((Put(keys.route(route.tenant_uid, FLOW), encode(route)),), lambda revision: None)

            try:
                await change(store, uid, decided)
            except (UnavailableError, ConflictError):
                rig.seen["change unknown"] += 1
            await asyncio.sleep(3 * random.random())

    async def look_up() -> None:
        nonlocal oldest_s
        while True:
            await asyncio.sleep(0.5 * random.random())
            asked_s = rig.loop.time()
            try:
                route = await directory.route(random.choice(TENANTS), FLOW)
            except (UnavailableError, NotFoundError):
                rig.seen["look-up failed"] += 1
            else:
                rig.seen["look-up from memory"] += rig.loop.time() == asked_s
                oldest_s = max(oldest_s, routes.age_s(route, asked_s))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in (directory.run(), write(rig.other), look_up())]
        await asyncio.sleep(WALK_S)
        for task in tasks:
            task.cancel()
    rig.etcd.quiet()
    return oldest_s, rig.seen


@simulated
async def test_an_answer_is_never_older_than_the_watch_may_be_silent_whatever_goes_wrong() -> None:
    seen, oldest_s = Counter[str](), 0.0
    for seed in range(60):
        with pytest.MonkeyPatch.context() as patched:
            age_s, faults = await walked(seed, patched)
        assert age_s <= AGE_MAX_S, f"seed {seed}"
        oldest_s = max(oldest_s, age_s)
        seen += faults
    assert oldest_s > STALENESS_S - 1, "silent watches were believed in for long"
    assert seen["look-up from memory"] > 5_000
    assert {"change unknown", "look-up failed", Fault.WATCH_STALLED, Fault.WATCH_COMPACTED, Fault.TXN_LATE} <= set(seen)
