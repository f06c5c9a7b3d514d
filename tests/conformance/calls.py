"""What the tests ask of the server, through the public client."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from stepwell.client.connection import Client
from stepwell.client.instances import Instances
from stepwell.errors import InstanceFailedError
from stepwell.v1 import instances_pb2 as pb

TENANT: Final = "acme"
ONE_SERVER: Final = pytest.mark.xdist_group("conformance")
PATIENCE_S: Final = 30
POLL_S: Final = 0.02


class Calls:
    """A behaviour is `workflow.method`, of the bundle."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def instances(self) -> Instances:
        return self._client.instances

    async def create(self, behaviour: str, *, id: str = "", **params: Any) -> str:
        """Start it; the instance's name."""
        workflow, _, does = behaviour.partition(".")
        return (await self.instances.create(TENANT, workflow, {"do": does, **params}, instance=id)).name

    async def output(self, behaviour: str, **params: Any) -> Any:
        """What it returned."""
        return await self.instances.result(await self.create(behaviour, **params))

    async def failure(self, behaviour: str, **params: Any) -> InstanceFailedError:
        """What it ended with, instead of an output."""
        name = await self.create(behaviour, **params)
        with pytest.raises(InstanceFailedError) as raised:
            await self.instances.result(name)
        return raised.value

    async def steps(self, name: str) -> list[pb.Step]:
        return list((await self.instances.list_steps(name)).steps)

    async def until(self, name: str, status: pb.InstanceStatus.ValueType) -> pb.Instance:
        """The instance, once it has that status."""
        async with asyncio.timeout(PATIENCE_S):
            while (found := await self.instances.get(name)).status != status:
                await asyncio.sleep(POLL_S)
        return found

    async def until_runs(self, name: str, step: str) -> None:
        """Return once a body of that step runs."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(
                each.step_name == step and each.status == pb.STEP_STATUS_RUNNING for each in await self.steps(name)
            ):
                await asyncio.sleep(POLL_S)
