"""The previous commit's program and this one on one store: what the one wrote the other goes on with, both ways.

A rolling upgrade is both at once, and one that is called off hands shards back to the older program. What only the
newer program knows is not used before all are upgraded (docs/runbook.md).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripts.demo_server import until
from scripts.local_cluster import Part
from scripts.other_commit import unpacked
from tests.e2e.api import Api
from tests.e2e.traffic import Traffic
from tests.servers.installation import Installation
from tests.servers.upgraded_from import COMMIT

pytestmark = pytest.mark.timeout(300)

SEED = 4
INSTANCES = 24


async def test_nodes_of_both_serve_one_cluster_and_take_shards_from_each_other(
    installation: Installation, tmp_path: Path
) -> None:
    cluster, swaps = installation.cluster, 0
    older, *newer = cluster.nodes
    of_now = dict(older.environment)

    async def stopped(part: Part) -> None:
        await asyncio.to_thread(part.stop)

    async def started(part: Part) -> None:
        await asyncio.to_thread(cluster.start_node, part)
        await asyncio.to_thread(until, "every shard has an owner", cluster.is_whole, 60)

    async with Api(installation.addresses, cluster.token, installation.authority) as api:
        traffic = Traffic(api, ("before", "after"), INSTANCES, SEED)
        await traffic.deploy()
        carried = asyncio.ensure_future(traffic.carry_on(lambda: swaps / 4))
        await stopped(older)
        older.environment = of_now | {"PYTHONPATH": unpacked(COMMIT, tmp_path / "previous")}
        try:
            await started(older)
            swaps = 1
            for each in newer:
                await stopped(each)
            swaps = 2
            await asyncio.to_thread(until, "the older one has every shard", cluster.is_whole, 60)
            await asyncio.sleep(2)
            for each in newer:
                await started(each)
            swaps = 3
        finally:
            await stopped(older)
            older.environment = of_now
        await started(older)
        swaps = 4
        await traffic.finished(carried)
        assert await traffic.verdict() == [], cluster.last_words()
