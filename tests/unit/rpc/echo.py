"""A service with all four kinds of methods, served over a real connection, to see what stands around every method."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from cluster import credentials
from cluster.records import Scope, Token
from rpc.auth import Authenticator, principal
from rpc.health import Health
from rpc.limits import RpcLimits
from rpc.observing import CallObserver
from rpc.open_calls import OpenCalls
from rpc.rights import Right
from rpc.server import Service, build_server
from stepwell.errors import NotFoundError, UnavailableError
from stepwell.names import TenantId, TenantUid

NAME = "stepwell.tests.Echo"
TENANTS = credentials.mint(secrets.token_bytes)
OPERATORS = credentials.mint(secrets.token_bytes)

READERS = credentials.mint(secrets.token_bytes)
"""Of the same tenant, and without the right that the methods ask for."""

RIGHTS = {
    NAME: dict.fromkeys(("UnaryUnary", "StreamUnary", "RefuseAtOnce", "UnaryStream", "StreamStream"), Right.RUN),
}

Body = Callable[[bytes, Any], Awaitable[bytes]]


class Records:
    """Three tokens, and a count of the look-ups."""

    def __init__(self) -> None:
        self.looked_up: list[str] = []
        self._tokens = {
            TENANTS.id: Token(TENANTS.id, TENANTS.sha256, TenantId("acme"), TenantUid("u1"), 1),
            READERS.id: Token(READERS.id, READERS.sha256, TenantId("acme"), TenantUid("u1"), 1, (Scope.READ,)),
            OPERATORS.id: Token(OPERATORS.id, OPERATORS.sha256, None, None, 1),
        }
        self.broken = False

    async def token(self, token_id: str) -> Token | None:
        self.looked_up.append(token_id)
        if self.broken:
            raise UnavailableError("the store can't be asked")
        return self._tokens.get(token_id)

    def revoke(self, token_id: str) -> None:
        del self._tokens[token_id]


@dataclass
class Log:
    """What an operator would read."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def error(self, event: str, **fields: Any) -> None:
        self.entries.append({"event": event, **fields})


async def tell_caller(request: bytes, context: Any) -> bytes:
    who = principal(context)
    return f"{request.decode()} from {who.tenant or 'the operator'}".encode()


class Echo:
    """Each kind of method runs the body that a test put in; streams answer twice."""

    def __init__(self) -> None:
        self.body: Body = tell_caller

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        return await self.body(request, context)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return await self.body(b"+".join([request async for request in requests]), context)

    async def refuse_at_once(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        async for _ in requests:
            raise NotFoundError("refused")
        return b""

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(2):
            yield await self.body(request, context)

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await self.body(request, context)


def add_echo(echo: Any, server: Any) -> None:
    """As generated code does it."""
    handlers: dict[str, Any] = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(echo.unary_unary),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(echo.stream_unary),
        "RefuseAtOnce": grpc.stream_unary_rpc_method_handler(echo.refuse_at_once),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(echo.unary_stream),
        "StreamStream": grpc.stream_stream_rpc_method_handler(echo.stream_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    server.add_registered_method_handlers(NAME, handlers)


async def messages(*all_of_them: bytes) -> AsyncIterator[bytes]:
    for message in all_of_them:
        yield message


@dataclass
class Served:
    """A running server and a connection to it."""

    echo: Echo
    records: Records
    log: Log
    health: Health
    calls: OpenCalls
    channel: grpc.aio.Channel

    async def call(self, kind: str, token: str | None = TENANTS.text, header: str | None = None) -> list[bytes]:
        """The answers of one call of that kind, with `hello` as its request."""
        text = header if header is not None else f"Bearer {token}"
        metadata = () if token is None and header is None else (("authorization", text),)
        path, channel = f"/{NAME}/{kind}", self.raw
        match kind:
            case "UnaryUnary":
                return [await channel.unary_unary(path)(b"hello", metadata=metadata)]
            case "StreamUnary":
                return [await channel.stream_unary(path)(messages(b"hello", b"you"), metadata=metadata)]
            case "UnaryStream":
                return [each async for each in channel.unary_stream(path)(b"hello", metadata=metadata)]
            case _:
                call = channel.stream_stream(path)(messages(b"hello"), metadata=metadata)
                return [each async for each in call]

    @property
    def raw(self) -> Any:
        """The connection for calls whose messages are plain bytes, which gRPC's types don't know."""
        return self.channel


@asynccontextmanager
async def served(limits: RpcLimits | None = None, observer: CallObserver | None = None) -> AsyncIterator[Served]:
    echo, records, log, health = Echo(), Records(), Log(), Health([NAME])
    calls = OpenCalls(records, limits or RpcLimits(), time.monotonic)
    server = await build_server(
        [Service(add_echo, echo)],
        authenticator=Authenticator(records),
        calls=calls,
        health=health,
        log=log,
        mint_correlation_id=lambda: "c-1",
        limits=limits,
        rights=RIGHTS,
        observer=observer,
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield Served(echo, records, log, health, calls, channel)
    finally:
        await channel.close()
        await server.stop(None)
