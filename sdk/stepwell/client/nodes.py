"""The processes of an installation: for the operator's token alone."""

from __future__ import annotations

from stepwell.client.calls import Caller
from stepwell.v1 import nodes_pb2 as pb
from stepwell.v1.nodes_pb2_grpc import NodeServiceStub


class Nodes:
    """NodeService."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = NodeServiceStub(caller.channel)

    async def list(self, *, page_size: int = 0, page_token: str = "") -> pb.ListNodesResponse:
        """A page of those that live, by name. InvalidArgumentError from a server that is no cluster's."""
        request = pb.ListNodesRequest(page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListNodes, request)
