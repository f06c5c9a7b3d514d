"""Services that another process of the installation serves: each call is passed on as it came, message by message.

It is guarded here first: who calls, whether they may, and how many they are. Nothing of it is parsed here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from rpc.auth import principal
from rpc.guard import GuardedRegistrar
from rpc.peers import Peers
from rpc.server import Service
from stepwell.errors import UnavailableError


def proxied(service: ServiceDescriptor, peers: Peers, target: Callable[[], str | None]) -> Service:
    """All of the service's methods, passed on to the address that `target` gives at each call; None: there is none."""

    def add(_: object, registrar: GuardedRegistrar) -> None:
        handlers = {method.name: _handler(method, peers, target) for method in service.methods}
        registrar.add_registered_method_handlers(service.full_name, handlers)

    return Service(add, None)


def _handler(method: MethodDescriptor, peers: Peers, target: Callable[[], str | None]) -> Any:
    path = f"/{method.containing_service.full_name}/{method.name}"

    def address() -> str:
        found = target()
        if found is None:
            raise UnavailableError("no server that answers this call can be reached at the moment")
        return found

    async def unary(request: bytes, context: Any) -> bytes:
        return await peers.unary(address(), path, request, principal(context), last=False)

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        async for answer in peers.stream(address(), path, request, principal(context), last=False):
            yield answer

    async def upload(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return await peers.upload(address(), path, requests, principal(context), last=False)

    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(upload)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(stream)
    return grpc.unary_unary_rpc_method_handler(unary)
