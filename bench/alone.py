"""How long one instance of ten steps takes, from create to complete, with nothing else at work."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from typing import Final

from bench import floor
from bench.figure import Figure
from bench.floor import Shape
from bench.load import run_instance
from bench.server import running

STEPS: Final = 10
REPEATS: Final = 30


async def figures() -> AsyncIterator[Figure]:
    beside = await floor.measure(Shape(1, 1, STEPS), REPEATS)
    async with running() as server:
        workflow = await server.tenant("bench")
        await run_instance(server, workflow, {"steps": 2})
        times = [await run_instance(server, workflow, {"steps": STEPS}) for _ in range(REPEATS)]
    again = await floor.measure(Shape(1, 1, STEPS), REPEATS)
    floor_ms = statistics.median((beside.instance_p50_ms, again.instance_p50_ms))
    yield Figure(f"instance_1x1x{STEPS}_ms", statistics.median(times), "ms", floor_ms)
