"""A new tenant's first step: from the warm pool, and beside it with a cold boot."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from typing import Final

from bench.figure import Figure
from bench.load import run_instance
from bench.server import running

TENANTS: Final = 8
WARM_UP_S: Final = 60.0


async def figures() -> AsyncIterator[Figure]:
    yield Figure("first_step_warm_ms", await measure(warm=TENANTS + 2), "ms")
    yield Figure("first_step_cold_ms", await measure(warm=0), "ms")


async def measure(warm: int) -> float:
    """Create to complete of a one-step instance, each of a tenant that never ran before."""
    async with running(f"[loader]\nwarm_sandboxes = {warm}\nsandboxes_max = 64\n") as server:
        workflows = [await server.tenant(f"bench-{number}") for number in range(TENANTS)]
        await server.warm(warm, WARM_UP_S)
        return statistics.median([await run_instance(server, workflow, {"steps": 1}) for workflow in workflows])
