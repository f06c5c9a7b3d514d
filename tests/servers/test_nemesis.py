"""A whole cluster of real processes, of which one after the other is killed, stopped or made to stand still under
traffic: every instance ends right, and nothing that was promised is lost.

`NEMESIS_S=1800 NEMESIS_CASSANDRA=3 pytest tests/servers/test_nemesis.py -s --timeout=0` does it for half an hour, on
three nodes of Cassandra; without these it is a short form on one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from scripts.demo_server import until
from scripts.local_cluster import LocalCluster, Part
from tests.e2e.api import Api
from tests.e2e.traffic import Traffic

SECONDS: Final = float(os.environ.get("NEMESIS_S", "45"))
SEED: Final = int(os.environ.get("NEMESIS_SEED", "20240817"))
INSTANCES_A_SECOND: Final = 0.6
TENANTS: Final = ("acme", "globex", "initech")
GAP_S: Final = (0.5, 4.0)
"""Between one fault and the next."""


class Nemesis:
    """Does one thing at a time, and has it undone after a while. What has ended by itself is started again, as a
    supervisor would."""

    def __init__(self, cluster: LocalCluster, chance: random.Random) -> None:
        self.cluster = cluster
        self.done: Counter[str] = Counter()
        self.restarts = 0
        self._chance = chance
        self._down: set[Part] = set()
        nodes, controls, etcd, cassandra = cluster.nodes, cluster.controls, [cluster.etcd], cluster.cassandra
        self._faults: list[tuple[str, Callable[..., Awaitable[None]], list[Part], tuple[float, float]]] = [
            ("a data node was killed", self._kill, nodes, (0.5, 12)),
            ("a data node was stopped", self._stop, nodes, (0.5, 3)),
            ("a data node stood still", self._stand_still, nodes, (1, 14)),
            ("the control server was killed", self._kill, controls, (0.5, 3)),
            ("etcd was killed", self._kill, etcd, (0.2, 4)),
            ("etcd stood still", self._stand_still, etcd, (0.5, 13)),
            ("Cassandra was killed", self._kill, cassandra, (0.5, 2)),
            ("Cassandra stood still", self._stand_still, cassandra, (0.5, 6)),
        ]

    async def rage(self, seconds: float) -> None:
        """Each kind comes by once before any comes by twice."""
        ends_at, queue = time.monotonic() + seconds, list[int]()
        while time.monotonic() < ends_at:
            if not queue:
                queue = self._chance.sample(range(len(self._faults)), len(self._faults))
            name, fault, parts, for_s = self._faults[queue.pop()]
            await fault(self._chance.choice(parts), for_s)
            self.done[name] += 1
            await asyncio.sleep(self._chance.uniform(*GAP_S))

    async def supervise(self) -> None:
        parts = (*self.cluster.nodes, *self.cluster.controls, self.cluster.etcd, *self.cluster.cassandra)
        while True:
            for part in parts:
                if part not in self._down and not part.runs:
                    self.restarts += 1
                    part.start()
            await asyncio.sleep(0.5)

    async def _kill(self, part: Part, for_s: tuple[float, float]) -> None:
        self._down.add(part)
        part.kill()
        await self._back(part, for_s)

    async def _stop(self, part: Part, for_s: tuple[float, float]) -> None:
        self._down.add(part)
        await asyncio.to_thread(part.stop)
        await self._back(part, for_s)

    async def _back(self, part: Part, for_s: tuple[float, float]) -> None:
        await asyncio.sleep(self._chance.uniform(*for_s))
        part.start()
        self._down.discard(part)

    async def _stand_still(self, part: Part, for_s: tuple[float, float]) -> None:
        if part.runs:
            part.signal(signal.SIGSTOP)
            await asyncio.sleep(self._chance.uniform(*for_s))
            part.signal(signal.SIGCONT)


@pytest.mark.xdist_group("cluster")
@pytest.mark.timeout(600)
async def test_nothing_is_lost_whatever_becomes_of_one_process_after_the_other(cluster: LocalCluster) -> None:
    nemesis = Nemesis(cluster, random.Random(SEED))
    addresses = ",".join(cluster.endpoints[part.name] for part in cluster.nodes)
    instances = max(12, round(SECONDS * INSTANCES_A_SECOND))
    async with Api(f"ipv4:{addresses}", cluster.token) as api:
        traffic = Traffic(api, TENANTS, instances, SEED)
        await traffic.deploy()
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            supervising = tasks.create_task(nemesis.supervise())
            carried = tasks.create_task(traffic.carry_on(lambda: (time.monotonic() - began) / SECONDS))
            await nemesis.rage(SECONDS)
            raged_s = time.monotonic() - began
            await asyncio.to_thread(until, "every shard has an owner", cluster.is_whole, 90)
            await traffic.finished(carried)
            supervising.cancel()
        problems = await traffic.verdict()
    print(
        f"seed {SEED}: {nemesis.done.total()} faults in {raged_s:.0f} s ({dict(nemesis.done)}), {nemesis.restarts} "
        f"processes ended by themselves and were started again; {instances} instances all ended after "
        f"{time.monotonic() - began:.0f} s, {sum(len(run.results) for run in traffic.runs)} committed results, "
        f"{api.repeats} calls made again, {traffic.doubled_creates} creates and {traffic.doubled_events} events "
        f"repeated on purpose, {traffic.resumed} resumed; {len(problems)} violations",
        file=sys.stderr,
    )
    assert problems == [], cluster.last_words()
