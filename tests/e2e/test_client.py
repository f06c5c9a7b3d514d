"""The Python client over SIGKILLs of its server: nothing that it was asked for is lost, done twice or told twice.

On plain processes: what is tried is between the client and the server.
"""

from __future__ import annotations

import asyncio
from typing import Any

from stepwell.client import connect, sync
from stepwell.v1.instances_pb2 import InstanceEvent
from tests.e2e.api import BUNDLES, Api
from tests.e2e.conftest import MakeServer
from tests.e2e.server import Server

KILLS = 2


async def test_calls_and_watches_outlive_their_server(make_server: MakeServer) -> None:
    server = make_server(sandbox="process")
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "behaviours")
    async with connect(server.endpoint, server.token) as client:
        made = await client.instances.create("acme", "behaviours", {"do": "events"})
        watched: list[InstanceEvent] = []

        async def watch() -> None:
            async for event in client.instances.watch(made.name):
                watched.append(event)

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            waiting = group.create_task(asyncio.to_thread(result_without_a_loop, server, made.name))
            for number in range(KILLS):
                await server.kill()
                sent = group.create_task(client.instances.send_event(made.name, "go", number))
                late = group.create_task(client.instances.create("acme", "behaviours", {"do": "nothing"}))
                await server.start()
                await sent
                await client.instances.result((await late).name)

        assert waiting.result() == [*range(KILLS)]
        assert [event.type for event in watched].count("eventReceived") == KILLS
        assert watched == [event async for event in client.instances.watch(made.name)]
        assert len((await client.instances.list("acme", "behaviours")).instances) == 1 + KILLS
    assert await server.stop() == 0


def result_without_a_loop(server: Server, name: str) -> Any:
    with sync.connect(server.endpoint, server.token) as client:
        return client.instances.result(name)
