"""Loads that two programs can take by turns: each is opened for one program, and then put on it once a turn."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple

from bench import alone, cluster, growth, help_time, long
from bench.floor import Shape
from bench.load import Cost, cost, ready, run_instance
from bench.server import running
from bench.telemetry import collector, free_port, loaded
from bench.throughput import SHAPES
from data_plane.journal.cassandra.tables import Statements

WARM: Final = 2
WARM_UP_S: Final = 60.0
AFTER_A_BOOT_S: Final = 1.0

Turn = Callable[[], Awaitable[dict[str, float]]]
"""Puts the load on once, and returns what was measured by figure."""


class Load(NamedTuple):
    turns: int
    opened: Callable[[str], AbstractAsyncContextManager[Turn]]
    """For the program that this PYTHONPATH makes of the command: this commit's, where it is empty."""


def _shown(kind: str, of: str, measured: Cost) -> dict[str, float]:
    """All figures are the less the better."""
    return {
        f"{kind}step_us_{of}": 1e6 / measured.steps_per_s,
        f"{kind}server_cpu_us_a_step_{of}": measured.cpu_us_a_step,
    }


def _throughput(shape: Shape) -> Callable[[str], AbstractAsyncContextManager[Turn]]:
    @asynccontextmanager
    async def opened(path: str) -> AsyncIterator[Turn]:
        config = f"[loader]\nsandboxes_max = {shape.sandboxes + 4}\nwarm_sandboxes = 2\n"
        async with running(config, path=path) as server:
            workflows = await ready(server, shape)

            async def turn() -> dict[str, float]:
                return _shown("", str(shape), await cost(server, workflows, shape))

            yield turn

    return opened


@asynccontextmanager
async def _alone(path: str) -> AsyncIterator[Turn]:
    async with running(path=path) as server:
        workflow = await server.tenant("bench")
        await run_instance(server, workflow, {"steps": 2})

        async def turn() -> dict[str, float]:
            times = [await run_instance(server, workflow, {"steps": alone.STEPS}) for _ in range(alone.REPEATS)]
            return {f"instance_1x1x{alone.STEPS}_ms": statistics.median(times)}

        yield turn


@asynccontextmanager
async def _growth(path: str) -> AsyncIterator[Turn]:
    async with running(path=path) as server:
        workflow = await server.tenant("bench")
        await growth.measure(server, workflow)

        async def turn() -> dict[str, float]:
            first, last = await growth.measure(server, workflow)
            return {"step_1_ms": first, f"step_{growth.STEPS}_ms": last}

        yield turn


def _first_step(figure: str, warm: int) -> Callable[[str], AbstractAsyncContextManager[Turn]]:
    @asynccontextmanager
    async def opened(path: str) -> AsyncIterator[Turn]:
        config = f"[loader]\nwarm_sandboxes = {warm}\nsandboxes_max = 200\nidle_timeout_ms = 3_600_000\n"
        async with running(config, path=path) as server:
            tenants = 0

            async def turn() -> dict[str, float]:
                """Of a tenant that never ran before, once the pool is full again and nothing boots."""
                nonlocal tenants
                workflow = await server.tenant(f"bench-{tenants}")
                if warm:
                    await server.warm(warm + tenants, WARM_UP_S)
                tenants += 1
                took_ms = await run_instance(server, workflow, {"steps": 1})
                await asyncio.sleep(AFTER_A_BOOT_S)
                return {figure: took_ms}

            yield turn

    return opened


@asynccontextmanager
async def _resume(path: str) -> AsyncIterator[Turn]:
    async with long.killed(path) as left:

        async def turn() -> dict[str, float]:
            took = await long.resume(left, path)
            return {
                "start_ms": took.start,
                f"resume_after_{long.KILLED_AT}_steps_ms": took.resume,
                "first_step_after_a_start_ms": took.first_step,
            }

        yield turn


@asynccontextmanager
async def _help(path: str) -> AsyncIterator[Turn]:
    async def turn() -> dict[str, float]:
        return {"help_ms": await help_time.measure(path)}

    yield turn


def _telemetry(name: str, settings: str) -> Callable[[str], AbstractAsyncContextManager[Turn]]:
    @asynccontextmanager
    async def opened(path: str) -> AsyncIterator[Turn]:
        async with collector() as endpoint:
            telemetry = settings.format(endpoint=endpoint, port=free_port())
            async with loaded(telemetry, path) as once:

                async def turn() -> dict[str, float]:
                    return _shown("telemetry_", name, await once())

                yield turn

    return opened


@asynccontextmanager
async def _cluster(path: str) -> AsyncIterator[Turn]:
    """One data node and one node of Cassandra, which has to be warm. How long one instance takes is not looked at: two
    nodes of Cassandra differ in that by a fifth, whoever asks.
    """
    shape = cluster.SHAPE
    async with cluster.running(1, 1, path) as (server, session, _):
        raw = cluster.Raw(session, await Statements.prepare(session))
        await raw.writes(cluster.WARM_WRITES)
        workflows = await ready(server, shape)

        async def turn() -> dict[str, float]:
            return _shown("cassandra_", str(shape), await cost(server, workflows, shape))

        yield turn


LOADS: Final[dict[str, Load]] = {
    **{f"throughput-{shape}": Load(24, _throughput(shape)) for shape in SHAPES},
    "alone": Load(24, _alone),
    "growth": Load(24, _growth),
    "first-step-warm": Load(32, _first_step("first_step_warm_ms", WARM)),
    "first-step-cold": Load(24, _first_step("first_step_cold_ms", 0)),
    "resume": Load(12, _resume),
    "help": Load(40, _help),
    "telemetry-none": Load(24, _telemetry("none", "")),
    "telemetry-figures": Load(24, _telemetry("figures", "metrics_port = {port}\n")),
    "telemetry-traced": Load(24, _telemetry("all_traced", 'otlp_endpoint = "{endpoint}"\n')),
    "cluster": Load(16, _cluster),
}
