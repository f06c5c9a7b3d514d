"""How many instances are pinned to a version, by data nodes: what owners have in memory first, then what is listed.

In this order: a create that memory no longer holds was listed before it was answered. Each of the tenant's shards has
to be answered for by whoever serves it, or nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from rpc.internal.v1 import peers_pb2 as pb
from rpc.peers import Peers
from stepwell.errors import UnavailableError
from stepwell.names import Digest, TenantUid, WorkflowId

MEMORY_TIMEOUT_S: Final = 5.0
LISTED_TIMEOUT_S: Final = 60.0
"""A workflow's whole list is read: some 100,000 instances take seconds."""

_IN_MEMORY: Final = "/stepwell.internal.v1.PeerService/CountInMemory"
_LISTED: Final = "/stepwell.internal.v1.PeerService/CountListed"


class RemotePinned:
    """`PinnedInstances` of a cluster. `addresses` gives those of all data nodes, in the order to try them in."""

    def __init__(self, peers: Peers, addresses: Callable[[], Sequence[str]]) -> None:
        self._peers = peers
        self._addresses = addresses

    async def count(self, tenant: TenantUid, digest: Digest, workflows: Sequence[WorkflowId]) -> int:
        addresses = self._addresses()
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(self._in_memory(address, tenant, digest)) for address in addresses]
        answers = [answer for task in asking if (answer := task.result()) is not None]
        needed = {number for answer in answers for number in answer.tenants_shards}
        served = {number for answer in answers for number in answer.served_shards}
        if not answers or needed - served:
            raise _unknown()
        return max(sum(answer.count for answer in answers), await self._listed(addresses, tenant, digest, workflows))

    async def _in_memory(self, address: str, tenant: TenantUid, digest: Digest) -> pb.CountInMemoryResponse | None:
        request = pb.CountInMemoryRequest(tenant=tenant, digest=digest)
        try:
            answer: pb.CountInMemoryResponse = await self._peers.ask(
                address, _IN_MEMORY, request, pb.CountInMemoryResponse.FromString, timeout_s=MEMORY_TIMEOUT_S
            )
        except UnavailableError:
            return None  # if it serves any of the tenant's shards, that is missed
        return answer

    async def _listed(
        self, addresses: Sequence[str], tenant: TenantUid, digest: Digest, workflows: Sequence[WorkflowId]
    ) -> int:
        request = pb.CountListedRequest(tenant=tenant, digest=digest, workflows=workflows)
        for address in addresses:
            try:
                answer: pb.CountListedResponse = await self._peers.ask(
                    address, _LISTED, request, pb.CountListedResponse.FromString, timeout_s=LISTED_TIMEOUT_S
                )
            except UnavailableError:
                continue  # any node reads the lists
            return answer.count
        raise _unknown()


def _unknown() -> UnavailableError:
    return UnavailableError(
        "not all of the tenant's shards are served by a node that can be asked, so that nobody knows which instances"
        " have this version: try again in a moment"
    )
