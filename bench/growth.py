"""Whether step 1,000 costs what step 1 costs: steps 901 to 1,000 beside steps 1 to 100 of the same instance."""

from __future__ import annotations

import json
import statistics
from collections.abc import AsyncIterator
from typing import Final

from bench.figure import Figure
from bench.load import run_instance
from bench.server import Server, running
from stepwell.v1 import instances_pb2 as pb

STEPS: Final = 1_000
WINDOW: Final = 100
REPEATS: Final = 5


async def figures() -> AsyncIterator[Figure]:
    firsts, lasts = list[float](), list[float]()
    async with running() as server:
        workflow = await server.tenant("bench")
        for _ in range(REPEATS):
            first, last = await measure(server, workflow)
            firsts.append(first)
            lasts.append(last)
    yield Figure("step_1000_ms", statistics.median(lasts), "ms", statistics.median(firsts))


async def measure(server: Server, workflow: str) -> tuple[float, float]:
    """The ms that a step takes at an instance's beginning, and at its end."""
    await run_instance(server, workflow, {"steps": STEPS, "window": WINDOW})
    listed = await server.instances.ListInstances(
        pb.ListInstancesRequest(parent=workflow, page_size=1), metadata=server.metadata
    )
    newest = pb.GetInstanceRequest(name=listed.instances[0].name)
    marks = json.loads((await server.instances.GetInstance(newest, metadata=server.metadata)).output)["marks"]
    return (marks[1] - marks[0]) / WINDOW * 1e3, (marks[-1] - marks[-2]) / WINDOW * 1e3
