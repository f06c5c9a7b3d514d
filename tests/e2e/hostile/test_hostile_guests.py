"""Hostile guests on gVisor beside two honest tenants at work: each harms itself alone, and is told so.

Each test prints the honest tenants' p99 without the behaviour and beside it. The first prints the floor: the same
beside a process that isn't Stepwell's and takes nothing but spare time. On few CPUs that alone costs a p99 as much.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.api import Api
from tests.e2e.hostile.behaviours import BEHAVIOURS, Behaviour
from tests.e2e.hostile.scene import CONFIG, SECONDS, Scene
from tests.e2e.server import Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="stepwell-hostile-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), config=CONFIG)
        try:
            await server.start()
            async with Api(server.endpoint, server.token) as api, asyncio.TaskGroup() as tasks:
                scene = Scene(server, api)
                await scene.open(tasks)
                yield scene
                scene.honest.stop()
            assert await server.stop() == 0
        finally:
            server.end()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.timeout(240 + 10 * SECONDS)
async def test_a_process_beside_the_server_that_takes_spare_time_alone(scene: Scene) -> None:
    print(f"the floor: {await scene.floor()}", file=sys.stderr)
    assert scene.honest.wrong == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.timeout(240 + 10 * SECONDS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.name)
async def test_a_hostile_guest_harms_itself_alone(scene: Scene, behaviour: Behaviour) -> None:
    figures, wrong = await scene.round(behaviour)
    print(f"{behaviour.name}: {figures}", file=sys.stderr)
    assert not wrong, "\n".join(wrong)
    assert scene.honest.wrong == []
