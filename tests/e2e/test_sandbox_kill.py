"""SIGKILL of sandboxes at random moments, under a server that lives: their instances go on in other ones."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeServer
from tests.e2e.server import Server, command_of
from tests.e2e.traffic import Traffic, at_least_once

KILLS = 32
SEED = 7
TENANTS = ("acme", "globex", "initech")
INSTANCES = 60
SPACING_S = (0.6, 1.8)
"""Between two kills: each time another sandbox, so that every instance gets on between two deaths of its own."""


@pytest.mark.timeout(300)
async def test_nothing_is_lost_when_sandboxes_are_killed(make_server: MakeServer) -> None:
    server = make_server(config="[loader]\nwarm_sandboxes = 1\n[logs]\nin_operator_log = true\n")
    chance = random.Random(SEED)
    began = time.monotonic()
    await server.start()
    died: list[str] = []
    async with Api(server.endpoint, server.token) as api:
        traffic = Traffic(api, TENANTS, INSTANCES, SEED)
        await traffic.deploy()
        async with asyncio.TaskGroup() as tasks:
            carried = tasks.create_task(traffic.carry_on(lambda: len(died) / KILLS))
            while len(died) < KILLS and not carried.done():
                await asyncio.sleep(chance.uniform(*SPACING_S))
                if (victim := chosen(server, chance)) is not None:
                    pid, state_folder = victim
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        died.append(state_folder)
            await traffic.finished(carried)
        problems = await traffic.verdict()
        deaths = Counter(event[1] for run in traffic.runs for event in run.history)["sandboxDied"]
    unfounded, ran, needed = at_least_once(traffic, server.log)
    print(
        f"seed {SEED}: {len(died)} sandboxes killed, which {deaths} activations noticed; all ended after "
        f"{time.monotonic() - began:.0f} s; steps' bodies ran {ran} times where {needed} would do "
        f"({100 * (ran - needed) / needed:.1f} % more)",
        file=sys.stderr,
    )
    assert problems == []
    assert unfounded == []
    assert len(died) == KILLS
    assert deaths > 0, "no instance was in a sandbox that was killed: the test shows nothing"
    assert [folder for folder in died if server.processes(naming=folder)] == [], "left behind"
    assert await server.stop() == 0
    assert server.processes() == []


def chosen(server: Server, chance: random.Random) -> tuple[int, str] | None:
    """Any process of any sandbox: runsc itself, its file server, or the sandbox proper with the guest in it; and the
    folder that all processes of that sandbox name."""
    candidates = []
    for pid in server.processes():
        for word in command_of(pid).decode(errors="replace").split("\0"):
            if word.startswith("--root="):
                candidates.append((pid, word.removeprefix("--root=")))
    return chance.choice(candidates) if candidates else None
