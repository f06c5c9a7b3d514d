"""SIGKILL of the node at random moments: every instance ends right, and nothing that was promised is lost."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeServer
from tests.e2e.traffic import Traffic, at_least_once

KILLS = 36
SEED = 20_240_817
TENANTS = ("acme", "globex", "initech")
INSTANCES = 84


@pytest.mark.timeout(420)
async def test_nothing_is_lost_when_the_node_is_killed_again_and_again(make_server: MakeServer) -> None:
    server = make_server(config="[logs]\nin_operator_log = true\n")
    chance = random.Random(SEED)
    began = time.monotonic()
    await server.start()
    kills, startups, start_s = 0, 0, list[float]()
    async with Api(server.endpoint, server.token) as api:
        traffic = Traffic(api, TENANTS, INSTANCES, SEED)
        await traffic.deploy()
        async with asyncio.TaskGroup() as tasks:
            carried = tasks.create_task(traffic.carry_on(lambda: kills / KILLS))
            while kills < KILLS:
                if chance.random() < 0.15:
                    startups += 1
                    await asyncio.sleep(chance.uniform(0, 1))
                else:
                    start_s.append(await server.ready())
                    await asyncio.sleep(chance.uniform(0.3, 2.5))
                await server.kill()
                kills += 1
                server.spawn()
            killed_s = time.monotonic() - began
            await server.ready()
            await traffic.finished(carried)
        problems = await traffic.verdict()
    unfounded, ran, needed = at_least_once(traffic, server.log)
    print(
        f"seed {SEED}: {kills} kills in {killed_s:.0f} s, {startups} of them during start-up, all ended after "
        f"{time.monotonic() - began:.0f} s; {INSTANCES} instances, {sum(len(run.results) for run in traffic.runs)} "
        f"committed results, {api.repeats} calls made again, {traffic.doubled_creates} creates and "
        f"{traffic.doubled_events} events repeated on purpose, {traffic.resumed} instances resumed after five deaths, "
        f"{sum(run.streams for run in traffic.runs)} watch streams; steps' bodies ran {ran} times where "
        f"{needed} would do ({100 * (ran - needed) / needed:.1f} % more); "
        f"start-up median {sorted(start_s)[len(start_s) // 2]:.1f} s, worst {max(start_s):.1f} s",
        file=sys.stderr,
    )
    assert problems == []
    assert unfounded == []
    assert await server.stop() == 0
