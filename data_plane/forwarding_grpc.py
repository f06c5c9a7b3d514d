"""Calls that are passed on to a shard's owner, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from rpc.auth import Principal
from rpc.peers import Peers
from stepwell.v1 import instances_pb2

_SERVICE: Final = instances_pb2.DESCRIPTOR.services_by_name["InstanceService"]
_ANSWERS: Final[dict[str, Any]] = {method.name: GetMessageClass(method.output_type) for method in _SERVICE.methods}


class InstancePeers:
    """See `data_plane.forwarding.Peers`."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def unary(self, address: str, method: str, request: Message, caller: Principal) -> Message:
        answer = await self._peers.unary(address, _path(method), request.SerializeToString(), caller, last=True)
        message: Message = _ANSWERS[method].FromString(answer)
        return message

    async def stream(self, address: str, method: str, request: Message, caller: Principal) -> AsyncIterator[Message]:
        answers = self._peers.stream(address, _path(method), request.SerializeToString(), caller, last=True)
        async for answer in answers:
            yield _ANSWERS[method].FromString(answer)


def _path(method: str) -> str:
    return f"/{_SERVICE.full_name}/{method}"
