"""Steps a second with many tenants at once, through the public API, their results journaled."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from typing import Final

from bench import floor
from bench.figure import Figure
from bench.floor import Shape
from bench.load import ready, run_all
from bench.server import running

SHAPES: Final = (Shape(10, 10, 100), Shape(40, 5, 20))
ROUNDS: Final = 2
REPEATS: Final = 3


async def figures() -> AsyncIterator[Figure]:
    for shape in SHAPES:
        ours, floors = list[float](), list[float]()
        for _ in range(ROUNDS):
            floors.append((await floor.measure(shape)).steps_per_s)
            ours.append(await measure(shape))
        yield Figure(f"steps_per_s_{shape}", statistics.median(ours), "steps/s", statistics.median(floors))


async def measure(shape: Shape) -> float:
    """The median of some repeats; as in the floor, boots and imports are not counted."""
    config = f"[loader]\nsandboxes_max = {shape.sandboxes + 4}\nwarm_sandboxes = 2\n"
    async with running(config) as server:
        workflows = await ready(server, shape)
        rates = [(await run_all(server, workflows, shape.instances, shape.steps))[0] for _ in range(REPEATS)]
    return statistics.median(rates)
