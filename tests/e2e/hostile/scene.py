"""One server, two honest tenants at work, and a hostile one that behaves badly beside them for a while at a time."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass

from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import workflows_pb2
from tests.e2e.api import BUNDLES, ENDED, Api
from tests.e2e.hostile.behaviours import Behaviour, Way
from tests.e2e.hostile.honest import TENANTS, Honest, Stretch, Timed, now_ms
from tests.e2e.server import Server, until

MALLORY = "mallory"
IDLE_TIMEOUT_MS = 300
LOOP_STALL_MS = 2_000
WARM_SANDBOXES = 2
SECONDS = float(os.environ.get("HOSTILE_S", "0"))
"""For so long the honest tenants are timed alone, and then beside the hostile one. A p99 of a second or two, as in all
tests together, says little; a minute of each behaviour is half an hour."""
WITHOUT_S = SECONDS or 0.5
BESIDE_S = SECONDS or 1.0
STARTS_A_MINUTE = 60 if SECONDS else 1_000
"""The usual limit slows down code that ends its sandboxes. Among all tests there is no time for that."""
CONFIG = f"""
[loader]
idle_timeout_ms = {IDLE_TIMEOUT_MS}
loop_stall_ms = {LOOP_STALL_MS}
warm_sandboxes = {WARM_SANDBOXES}
starts_a_minute_per_tenant_max = {STARTS_A_MINUTE}
"""

END_S_MAX = 45.0

SPIN = """
import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
while True:
    pass
"""
"""The kernel lets it run where nothing else wants to, and takes the CPU from it as soon as anything does."""


@dataclass(frozen=True, slots=True)
class Round:
    """The honest tenants' steps without the hostile one and beside it."""

    without: Timed
    beside: Timed

    @property
    def ratio(self) -> float:
        """Of their p99."""
        return self.beside.p99_us / max(1, self.without.p99_us)

    def __str__(self) -> str:
        return f"p99 × {self.ratio:.1f}; without: {self.without}; beside: {self.beside}"


class Scene:
    """`open` it within a task group; `close` it before the group ends."""

    def __init__(self, server: Server, api: Api) -> None:
        self.server = server
        self.honest = Honest(api)
        self._api = api
        self._number = 0

    async def open(self, tasks: asyncio.TaskGroup) -> None:
        await self.honest.deploy()
        await self._api.create_tenant(MALLORY)
        self.honest.begin(tasks)
        await self._alone()

    async def floor(self) -> Round:
        """Beside a process of the host's own that does nothing but fill what time one CPU has to spare."""
        await self._alone()
        begin = now_ms()
        await asyncio.sleep(WITHOUT_S)
        without = await self.honest.timed((begin, now_ms()))
        spinning = await asyncio.create_subprocess_exec(sys.executable, "-c", SPIN)
        try:
            begin = now_ms()
            await asyncio.sleep(BESIDE_S)
            return Round(without, await self.honest.timed((begin, now_ms())))
        finally:
            spinning.kill()
            await spinning.wait()

    async def round(self, behaviour: Behaviour) -> tuple[Round, list[str]]:
        """How the honest ones fared, and what is wrong with the ends of the hostile one's instances."""
        wrong: list[str] = []
        await self._alone()
        begin = now_ms()
        await asyncio.sleep(WITHOUT_S)
        without = await self.honest.timed((begin, now_ms()))
        stretches: list[Stretch] = []
        while sum(end - begin for begin, end in stretches) < BESIDE_S * 1000:
            versions = await self._deployed(behaviour)
            begin = now_ms()
            wrong += await self._misbehave(behaviour, versions)
            stretches.append((begin, now_ms()))
        return Round(without, await self.honest.timed(*stretches)), wrong

    async def _misbehave(self, behaviour: Behaviour, versions: list[str]) -> list[str]:
        """Every way once: one after the other on one version, or all at once on versions of their own."""
        if behaviour.apart:
            names = [await self._create(way, version) for way, version in zip(behaviour.ways, versions, strict=True)]
            ends = list(await asyncio.gather(*map(self._ended, names, behaviour.ways)))
        else:
            ends = [await self._ended(await self._create(way, versions[0]), way) for way in behaviour.ways]
        return [wrong for way, end in zip(behaviour.ways, ends, strict=True) if (wrong := way.wrong(end))]

    async def _deployed(self, behaviour: Behaviour) -> list[str]:
        """Versions that nothing has run on: what the last one did to its sandbox is not to be met again."""
        versions: list[str] = []
        for _ in behaviour.ways if behaviour.apart else (0,):
            self._number += 1
            versions.append(await self._api.deploy(MALLORY, BUNDLES / "hostile", {"NUMBER": str(self._number)}))
        return versions

    async def _create(self, way: Way, version: str) -> str:
        self._number += 1
        id = f"{way.id}-{self._number}"
        workflow = f"tenants/{MALLORY}/workflows/{way.workflow}"
        route = workflows_pb2.SetRouteRequest(name=f"{workflow}/route", version=version)
        await self._api.call(self._api.workflows.SetRoute, route)
        return (await self._api.create(workflow, {"kind": way.kind}, id=id)).name

    async def _ended(self, name: str, way: Way) -> pb.Instance:
        """Once it has ended or is paused; as it is, when it does not end in time."""
        if way.is_terminated:
            await self._api.reached(name, lambda each: each.HasField("start_time"), END_S_MAX)
            await self._terminate(name)
        last = (*ENDED, pb.INSTANCE_STATUS_PAUSED)
        try:
            ended = await self._api.reached(name, lambda each: each.status in last, END_S_MAX)
        except AssertionError:
            ended = await self._api.get(name)
        if ended.status not in ENDED:
            await self._terminate(name)
        return ended

    async def _terminate(self, name: str) -> None:
        request = pb.TerminateInstanceRequest(name=name)
        await self._api.call(self._api.instances.TerminateInstance, request)

    async def _alone(self) -> None:
        """Wait until nobody's sandboxes are left but the honest ones' and the warm ones."""
        count = len(TENANTS) + WARM_SANDBOXES
        await until("only honest sandboxes are left", lambda: len(self.server.sandboxes()) == count, 30, 0.1)
