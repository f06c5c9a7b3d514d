"""A tenant's calls, each to whichever machine comes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from rpc import rights
from rpc.auth import Principal
from stepwell.errors import ApiError, UnavailableError
from stepwell.names import TenantId
from stepwell.v1 import instances_pb2 as pb
from tests.simulation.lines import shown
from tests.simulation.network import DEADLINE_S

if TYPE_CHECKING:
    from tests.simulation.world import World

PAUSE_S: Final = 0.5


class Refused(Exception):
    """An answer that is final: the call had no effect."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(str(error))
        self.error = error


class Calls:
    """One tenant's."""

    def __init__(self, world: World, tenant: str) -> None:
        self._world = world
        self._caller = Principal("client", TenantId(tenant), rights.tenants(tuple(world.scopes)))

    async def once(self, method: str, request: Message) -> Any:
        """The answer, if there is one."""
        world = self._world
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await world.network.call(
                    None, world.random.choice(list(world.machines)), method, request, self._caller
                )
        except (ApiError, TimeoutError):
            return None

    async def answered(self, method: str, request: Message) -> Any:
        """Until it is answered. Raises Refused."""
        world = self._world
        while True:
            address = world.random.choice(list(world.machines))
            try:
                async with asyncio.timeout(DEADLINE_S):
                    answer = await world.network.call(None, address, method, request, self._caller)
            except (UnavailableError, TimeoutError) as error:
                world.oracle.counted["calls without an answer"] += 1
                world.oracle.tell(f"{method} {shown(request)} to {address}: {error!r}")
                await asyncio.sleep(PAUSE_S * (1 + world.random.random()))
            except ApiError as error:
                world.oracle.tell(f"{method} {shown(request)} to {address}: {error!r}")
                raise Refused(error) from error
            else:
                world.oracle.counted["calls answered"] += 1
                world.oracle.tell(f"{method} {shown(request)} to {address}: {shown(answer)}")
                return answer

    async def send(self, name: str, type: str, payload: list[Any]) -> None:
        """An event. Raises Refused."""
        request = pb.SendEventRequest(
            name=name, type=type, payload=json.dumps(payload).encode(), request_id=self._world.mint()
        )
        await self.answered("SendEvent", request)
