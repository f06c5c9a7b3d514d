"""Two honest tenants at work all the time, and how long their steps take."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, Api

TENANTS = ("acme", "globex")
INSTANCES_EACH = 3
STEPS = 15
END_S_MAX = 60.0


Stretch = tuple[int, int]
"""Of time, from and to, in ms since the epoch."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Steps that ended within a stretch of time."""

    steps: int
    median_us: int
    p99_us: int

    def __str__(self) -> str:
        return f"{self.steps} steps, median {self.median_us / 1000:.1f} ms, p99 {self.p99_us / 1000:.1f} ms"


class Honest:
    """Instances of two tenants, some of each at any moment, each followed to its end."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.ended = 0
        self.running: set[str] = set()
        """Names of the instances that have not ended."""
        self.wrong: list[str] = []
        """Instances that did not complete as they should."""
        self._took: list[tuple[int, int]] = []
        self._stopping = False

    async def deploy(self) -> None:
        for tenant in TENANTS:
            await self.api.create_tenant(tenant)
            await self.api.deploy(tenant, BUNDLES / "honest")

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Work from here on, until `stop`."""
        for tenant in TENANTS:
            for lane in range(INSTANCES_EACH):
                tasks.create_task(self._work(tenant, lane))

    def stop(self) -> None:
        """Begin nothing more; what runs is followed to its end."""
        self._stopping = True

    async def _work(self, tenant: str, lane: int) -> None:
        number = 0
        while not self._stopping:
            workflow, id = f"tenants/{tenant}/workflows/honest", f"lane-{lane}-{number}"
            created = await self.api.create(workflow, {"steps": STEPS}, id=id, request_id=id)
            self.running.add(created.name)
            ended = await self.api.ended(created.name, END_S_MAX)
            self.running.discard(created.name)
            if ended.status != pb.INSTANCE_STATUS_COMPLETE:
                self.wrong.append(f"{ended.name}: {ended.status} {ended.error}")
            else:
                self._took += [(at_ms, took_us) for at_ms, took_us in json.loads(ended.output)]
            await self.api.call(self.api.instances.DeleteInstance, pb.DeleteInstanceRequest(name=ended.name))
            self.ended += 1
            number += 1

    async def timed(self, *stretches: Stretch) -> Timed:
        """The steps that ended in these, once all instances that had any are known."""
        running = set(self.running)
        while running & self.running:
            await asyncio.sleep(0.02)
        took = sorted(took_us for at_ms, took_us in self._took if any(begin <= at_ms < end for begin, end in stretches))
        self._took.clear()
        assert took, "no honest step ended in that time"
        return Timed(len(took), took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)])


def now_ms() -> int:
    return time.time_ns() // 1_000_000
