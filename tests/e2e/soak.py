"""Whether anything grows: `.venv/bin/python -m tests.e2e.soak 30` runs honest and hostile tenants for so many minutes.

Meanwhile sandboxes are killed, versions deployed, ended instances deleted, watches opened and dropped. The server is
the shipped command on gVisor. Each figure is printed as a line of JSON; the exit status is 1 when something does not
level off, or is still there when all is at rest.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import grpc

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import BUNDLES, ENDED, UNKNOWN, Api
from tests.e2e.hostile.behaviours import BEHAVIOURS, Way
from tests.e2e.hostile.honest import TENANTS, Honest
from tests.e2e.hostile.scene import CONFIG, MALLORY, WARM_SANDBOXES
from tests.e2e.server import Server, command_of, descendants, until

SAMPLES = 120
HOSTILE_AT_ONCE = 2
HOSTILE_S_MAX = 20.0
"""What has not ended by then is terminated."""
KILL_EVERY_S = 4.0
DEPLOY_EVERY_S = 5.0
WATCH_EVERY_S = 0.5
VERSIONS = 6
"""Of each tenant: what is deployed again is no new version, so that versions, which stay, do not count as growth."""
REST_S_MAX = 60.0
SEED = 9


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment."""

    rss_mb: float
    threads: float
    descriptors: float
    processes: float
    """Of its sandboxes, gVisor's helpers included."""
    cgroups: float
    disk_mb: float

    @classmethod
    def of(cls, server: Server) -> Sample:
        return cls(
            round(server.rss_bytes() / 1e6, 1), server.threads(), len(server.descriptors()),
            len(descendants(server.pid)), server.cgroups(), round(server.disk_bytes() / 1e6, 1),
        )  # fmt: skip


TOLERANCE = Sample(rss_mb=64, threads=4, descriptors=30, processes=30, cgroups=9, disk_mb=64)
"""What the median of the last third of the time may be over that of the middle third, besides a tenth of it: a sandbox
more or less at that moment is some ten processes and descriptors, three control groups; the heap, a journal and its log
stay as large as the largest burst so far, which is two floods of 8 MiB/s for 2 s at once, and may come late."""

AT_REST = Sample(rss_mb=120, threads=4, descriptors=12, processes=4, cgroups=0, disk_mb=float("inf"))
"""What may be left over the figures of before it began, once all is at rest: no sandbox, and memory that was freed but
not given back. What is on disk is what was kept."""


@dataclass(frozen=True, slots=True)
class Figures:
    before: Sample
    middle: Sample
    last: Sample
    at_rest: Sample
    honest_ended: int
    hostile_ended: int
    killed: int
    deploys: int
    watches: int
    wrong: list[str]
    """Honest instances that did not end as they should."""

    def faults(self) -> list[str]:
        """What grows, and what else is wrong."""
        found = list(self.wrong)
        for field in fields(Sample):
            name = field.name
            before, middle, last, rest = (
                getattr(each, name) for each in (self.before, self.middle, self.last, self.at_rest)
            )
            if last > middle * 1.1 + getattr(TOLERANCE, name):
                found.append(f"{name} grew from {middle} to {last}")
            if rest > before + getattr(AT_REST, name):
                found.append(f"{name} was {before} before, and is {rest} at rest")
        if not (self.honest_ended and self.hostile_ended and self.killed and self.deploys and self.watches):
            found.append("something that was to happen did not, so that this shows nothing")
        if not all(getattr(self.middle, field.name) for field in fields(Sample)):
            found.append("something that was to be counted was not found, so that this shows nothing")
        return found


class Soak:
    """`server` runs; `measure` for so many seconds."""

    def __init__(self, server: Server, api: Api, say: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._server = server
        self._api = api
        self._say = say
        self._honest = Honest(api)
        self._chance = random.Random(SEED)
        self._ways = [way for behaviour in BEHAVIOURS for way in behaviour.ways]
        self._end = 0.0

    async def measure(self, seconds: float) -> Figures:
        await self._honest.deploy()
        await self._api.create_tenant(MALLORY)
        await self._deploy()
        before = await self._rest()
        self._say(f"before: {before}")
        self._end = time.monotonic() + seconds
        samples: list[Sample] = []
        async with asyncio.TaskGroup() as tasks:
            self._honest.begin(tasks)
            for lane in range(HOSTILE_AT_ONCE):
                tasks.create_task(self._misbehave(lane))
            tasks.create_task(self._repeatedly(KILL_EVERY_S, self._kill))
            tasks.create_task(self._repeatedly(DEPLOY_EVERY_S, self._deploy))
            tasks.create_task(self._repeatedly(WATCH_EVERY_S, self._watch))
            for number in range(SAMPLES):
                await asyncio.sleep(max(0.0, self._end - seconds * (1 - (number + 1) / SAMPLES) - time.monotonic()))
                samples.append(Sample.of(self._server))
                if number % 10 == 9:
                    self._say(f"{samples[-1]}, {dict(self.counts)}")
            self._honest.stop()
        third = SAMPLES // 3
        return Figures(
            before, _medians(samples[third : 2 * third]), _medians(samples[2 * third :]), await self._rest(),
            self._honest.ended, self.counts["hostile"], self.counts["kills"], self.counts["deploys"],
            self.counts["watches"], self._honest.wrong,
        )  # fmt: skip

    async def _rest(self) -> Sample:
        """The server once only warm sandboxes are left."""
        await until("only warm sandboxes are left", self._at_rest, REST_S_MAX, 0.2)
        await asyncio.sleep(2)  # for folders and groups that are removed after their sandbox
        return Sample.of(self._server)

    def _at_rest(self) -> bool:
        return len(self._server.sandboxes()) == WARM_SANDBOXES

    async def _repeatedly(self, every_s: float, what: Callable[[], object]) -> None:
        while time.monotonic() < self._end:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * every_s)
            done = what()
            if asyncio.iscoroutine(done):
                await done

    async def _misbehave(self, lane: int) -> None:
        while time.monotonic() < self._end:
            way = self._chance.choice(self._ways)
            number = self.counts["hostile"] = self.counts["hostile"] + 1
            await self._try(way, f"{way.id}-{lane}-{number}")

    async def _try(self, way: Way, id: str) -> None:
        workflow = f"tenants/{MALLORY}/workflows/{way.workflow}"
        name = (await self._api.create(workflow, {"kind": way.kind}, id=id)).name
        over = (*ENDED, pb.INSTANCE_STATUS_PAUSED)
        with suppress(AssertionError):
            await self._api.reached(name, lambda each: each.status in over, HOSTILE_S_MAX)
        request = pb.TerminateInstanceRequest(name=name)
        with suppress(grpc.aio.AioRpcError):  # it has ended
            await self._api.call(self._api.instances.TerminateInstance, request)
        await self._api.call(self._api.instances.DeleteInstance, pb.DeleteInstanceRequest(name=name))

    def _kill(self) -> None:
        """Any process of any sandbox."""
        victims = [pid for pid in self._server.processes() if b"--root=" in command_of(pid)]
        if victims:
            with suppress(ProcessLookupError):
                os.kill(self._chance.choice(victims), signal.SIGKILL)
                self.counts["kills"] += 1

    async def _deploy(self) -> None:
        tenant = self._chance.choice((*TENANTS, MALLORY, MALLORY)) if self.counts["deploys"] else MALLORY
        folder = "hostile" if tenant == MALLORY else "honest"
        version = str(self._chance.randrange(VERSIONS))
        await self._api.deploy(tenant, BUNDLES / folder, {"VERSION": version})
        self.counts["deploys"] += 1

    async def _watch(self) -> None:
        """Follow an instance for a moment."""
        if not self._honest.running:
            return
        name = self._chance.choice(sorted(self._honest.running))
        with suppress(TimeoutError):
            try:
                async with asyncio.timeout(self._chance.uniform(0, 1)), aclosing(self._api.watch(name)) as events:
                    async for _ in events:
                        pass
            except grpc.aio.AioRpcError as error:
                if error.code() not in (*UNKNOWN, grpc.StatusCode.NOT_FOUND):
                    raise
        self.counts["watches"] += 1


def _medians(samples: list[Sample]) -> Sample:
    return Sample(*(statistics.median(getattr(each, field.name) for each in samples) for field in fields(Sample)))


async def measure(server: Server, seconds: float, say: Callable[[str], None]) -> Figures:
    """`server` has `CONFIG` and was not started; it is stopped in the end."""
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        figures = await Soak(server, api, say).measure(seconds)
    assert await server.stop() == 0
    left = server.processes()
    assert not left, f"left behind: {left}"
    return figures


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(minutes: float) -> int:
    with tempfile.TemporaryDirectory(prefix="stepwell-soak-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), config=CONFIG)
        try:
            figures = asyncio.run(measure(server, minutes * 60, tell))
        finally:
            server.end()
    for name, value in asdict(figures).items():
        print(json.dumps({"figure": name, "value": value}))
    for fault in figures.faults():
        tell(f"fault: {fault}")
    return 1 if figures.faults() else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
