"""SIGKILL of the node at random moments: every instance ends right, and nothing that was promised is lost."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter

import pytest

from stepwell.v1 import instances_pb2 as pb
from tests.e2e.api import Api
from tests.e2e.server import Server
from tests.e2e.traffic import Traffic, executions

KILLS = 60
SEED = 20_240_817
TENANTS = ("acme", "globex", "initech")
INSTANCES = 72


@pytest.mark.timeout(420)
async def test_nothing_is_lost_when_the_node_is_killed_again_and_again(server: Server) -> None:
    chance = random.Random(SEED)
    began = time.monotonic()
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        traffic = Traffic(api, TENANTS, INSTANCES, SEED)
        await traffic.deploy()
        async with asyncio.TaskGroup() as tasks:
            carried = tasks.create_task(traffic.carry_on(over_s=90))
            startups = 0
            for _ in range(KILLS):
                if chance.random() < 0.15:
                    startups += 1
                    await asyncio.sleep(chance.uniform(0, 1))
                else:
                    await server.ready()
                    await asyncio.sleep(chance.uniform(0.3, 2.5))
                await server.kill()
                server.spawn()
            killed_s = time.monotonic() - began
            await server.ready()
            await carried
        problems = await traffic.verdict()
        report(traffic, api, server, startups, killed_s, time.monotonic() - began)
        assert problems == []
    check_executions(traffic, server)
