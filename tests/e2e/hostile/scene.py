"""One server, two honest tenants at work, and a hostile one that behaves badly beside them for a while at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, ENDED, Api
from tests.e2e.hostile.behaviours import Behaviour, Way
from tests.e2e.hostile.honest import TENANTS, Honest, Timed, now_ms
from tests.e2e.server import Server, until

MALLORY = "mallory"
IDLE_TIMEOUT_MS = 300
LOOP_STALL_MS = 2_000
WARM_SANDBOXES = 2
STARTS_A_MINUTE = 1_000
"""The hostile tenant deploys and is started again far more often than the usual limit lets one: what its code does is
timed here, not how that limit slows it down."""
CONFIG = f"""
[loader]
idle_timeout_ms = {IDLE_TIMEOUT_MS}
loop_stall_ms = {LOOP_STALL_MS}
warm_sandboxes = {WARM_SANDBOXES}
starts_a_minute_per_tenant_max = {STARTS_A_MINUTE}
"""

WITHOUT_S = 1.0
"""How long the honest tenants are timed alone, each time; then the hostile one comes for at least `BESIDE_S`."""
BESIDE_S = 2.0
END_S_MAX = 45.0


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

    async def round(self, behaviour: Behaviour) -> tuple[Round, list[str]]:
        """How the honest ones fared, and what is wrong with the ends of the hostile one's instances."""
        wrong: list[str] = []
        await self._alone()
        begin = now_ms()
        await asyncio.sleep(WITHOUT_S)
        without = await self.honest.timed(begin, now_ms())
        begin = now_ms()
        deadline = time.monotonic() + BESIDE_S
        wrong += await self._misbehave(behaviour)
        while time.monotonic() < deadline:
            wrong += await self._misbehave(behaviour)
        return Round(without, await self.honest.timed(begin, now_ms())), wrong

    async def _misbehave(self, behaviour: Behaviour) -> list[str]:
        """Every way once: one after the other on one version, or all at once on versions of their own."""
        names: list[str] = []
        ends: list[pb.Instance] = []
        for way in behaviour.ways:
            if behaviour.apart or not ends:
                await self._deploy()
            name = await self._create(way)
            if behaviour.apart:
                names.append(name)
            else:
                ends.append(await self._ended(name, way))
        ends += await asyncio.gather(*map(self._ended, names, behaviour.ways))
        return [wrong for way, end in zip(behaviour.ways, ends, strict=True) if (wrong := way.wrong(end))]

    async def _deploy(self) -> None:
        """A version of its own: what the last one did to its sandbox is not to be met again."""
        self._number += 1
        await self._api.deploy(MALLORY, BUNDLES / "hostile", {"NUMBER": str(self._number)})

    async def _create(self, way: Way) -> str:
        self._number += 1
        id = f"{way.id}-{self._number}"
        workflow = f"tenants/{MALLORY}/workflows/{way.workflow}"
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
