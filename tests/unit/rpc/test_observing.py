"""Whoever watches calls hears of each once, with the code that its caller gets, whatever stands in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpc.auth import Metadata
from stepwell.errors import NotFoundError
from tests.unit.rpc.echo import NAME, READERS, Served, served


@dataclass
class Watching:
    """`rpc.observing.CallObserver`: (method, streams, code), in the order of their ends."""

    begun_calls: list[Metadata] = field(default_factory=list)
    ended_calls: list[tuple[str, bool, str]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def begun(self, method: str, metadata: Metadata, *, streams: bool) -> Any:
        watching = self
        self.begun_calls.append(metadata)

        class Call:
            def ended(self, code: grpc.StatusCode) -> None:
                watching.ended_calls.append((method, streams, code.name))
                watching.heard.set()

        return Call()


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
async def server(watching: Watching) -> AsyncIterator[Served]:
    async with served(observer=watching) as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "streams"),
    [("UnaryUnary", False), ("StreamUnary", False), ("UnaryStream", True), ("StreamStream", True)],
)
async def test_a_call_that_ends_well_is_told_once(server: Served, watching: Watching, kind: str, streams: bool) -> None:
    assert await server.call(kind)
    await watching.heard.wait()
    assert watching.ended_calls == [(f"{NAME}/{kind}", streams, "OK")]


async def not_there(request: bytes, context: Any) -> bytes:
    raise NotFoundError("not there")


async def broken(request: bytes, context: Any) -> bytes:
    raise ZeroDivisionError


async def test_what_is_refused_or_fails_is_told_with_the_callers_code(server: Served, watching: Watching) -> None:
    codes = []
    for body, token in ((not_there, None), (not_there, READERS.text), (not_there, ""), (broken, "")):
        server.echo.body = body
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await (server.call("UnaryUnary") if token == "" else server.call("UnaryUnary", token=token))
        codes.append(ended.value.code().name)
        await watching.heard.wait()  # its client may have the answer before
        watching.heard.clear()
    assert codes == ["UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "INTERNAL"]
    assert [code for _, _, code in watching.ended_calls] == codes


async def test_a_call_that_its_client_gave_up_is_cancelled(server: Served, watching: Watching) -> None:
    begun = asyncio.Event()

    async def waits(request: bytes, context: Any) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    server.echo.body = waits
    calling = asyncio.ensure_future(server.call("UnaryUnary"))
    await begun.wait()
    calling.cancel()
    await watching.heard.wait()
    assert watching.ended_calls == [(f"{NAME}/UnaryUnary", False, "CANCELLED")]


async def test_probes_of_health_are_not_told_of(server: Served, watching: Watching) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    await stub.Check(health_pb2.HealthCheckRequest())
    await server.call("UnaryUnary")
    assert len(watching.begun_calls) == 1


async def test_metadata_are_told_as_they_came(server: Served, watching: Watching) -> None:
    await server.call("UnaryUnary")
    ((*metadata,),) = watching.begun_calls
    assert [key for key, _ in metadata if key == "authorization"] == ["authorization"]
