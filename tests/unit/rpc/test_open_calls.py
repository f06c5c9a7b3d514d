"""A tenant has so many calls and no more, and a revoked token ends those that were made with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpc import open_calls
from rpc.limits import RpcLimits
from stepwell.client.errors import error_from
from stepwell.errors import ApiError, InvalidArgumentError, LimitExceededError, TokenRevokedError, UnauthenticatedError
from tests.unit.rpc.echo import NAME, OPERATORS, TENANTS, Echo, Served, served

KINDS = ["UnaryUnary", "StreamUnary", "UnaryStream", "StreamStream"]
PATIENCE_S = 10


class Held:
    """A method's body that goes on when it is let."""

    def __init__(self, server: Served) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()
        self._changed = asyncio.Condition()
        server.echo.body = self

    async def __call__(self, request: bytes, context: Any) -> bytes:
        async with self._changed:
            self.begun += 1
            self._changed.notify_all()
        await self.go_on.wait()
        return b"done"

    async def has_begun(self, calls: int) -> None:
        async with self._changed, asyncio.timeout(PATIENCE_S):
            await self._changed.wait_for(lambda: self.begun >= calls)


def open_now(server: Served) -> int:
    return sum(len(share.calls) + share.streams for share in server.calls._shares.values())


async def failure(calling: Any) -> ApiError:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await calling
    return error_from(ended.value)


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served(RpcLimits(calls_per_tenant_max=3, watches_per_tenant_max=1)) as running:
        yield running


async def test_a_tenants_calls_are_bounded_and_anothers_are_not_touched(server: Served) -> None:
    held = Held(server)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(server.call("UnaryUnary"))
        await held.has_begun(3)
        error = await failure(server.call("UnaryUnary"))
        assert type(error) is LimitExceededError
        assert error.metadata == {"limit": "calls_per_tenant_max", "value": "3", "seen": "4"}
        for _ in range(5):
            group.create_task(server.call("UnaryUnary", OPERATORS.text))
        await held.has_begun(8)
        held.go_on.set()
    assert await server.call("UnaryUnary") == [b"done"]


@pytest.mark.parametrize("kind", ["UnaryStream", "StreamStream"])
async def test_a_tenants_open_streams_are_bounded_and_its_other_calls_are_not(server: Served, kind: str) -> None:
    held = Held(server)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.call(kind))
        await held.has_begun(1)
        error = await failure(server.call(kind))
        assert type(error) is LimitExceededError
        assert error.metadata == {"limit": "watches_per_tenant_max", "value": "1", "seen": "2"}
        group.create_task(server.call("UnaryUnary"))
        await held.has_begun(2)
        held.go_on.set()
    assert await server.call(kind)


async def test_a_limit_of_nothing_lets_nothing_through() -> None:
    async with served(RpcLimits(calls_per_tenant_max=0)) as server:
        assert type(await failure(server.call("UnaryUnary"))) is LimitExceededError
        assert open_now(server) == 0


async def test_what_was_refused_or_failed_counts_no_more(server: Served) -> None:
    async def broken(request: bytes, context: Any) -> bytes:
        raise ZeroDivisionError

    server.echo.body = broken
    for kind in KINDS * 3:
        await failure(server.call(kind))
    server.echo.body = Echo().body
    for kind in KINDS:
        await server.call(kind)
    assert open_now(server) == 0


async def test_a_call_that_its_client_gave_up_counts_no_more(server: Served) -> None:
    held = Held(server)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        calling = [group.create_task(server.call("UnaryUnary")) for _ in range(3)]
        await held.has_begun(3)
        (share,) = server.calls._shares.values()
        serving = [*share.calls]
        for call in calling:
            call.cancel()
        await asyncio.wait(serving)
    assert open_now(server) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_revoked_token_ends_its_open_calls_and_no_others(server: Served, kind: str) -> None:
    held = Held(server)
    async with asyncio.TaskGroup() as group:
        others = group.create_task(server.call(kind, OPERATORS.text))
        mine = group.create_task(failure(server.call(kind)))
        await held.has_begun(2)
        server.records.revoke(TENANTS.id)
        await server.calls.recheck()
        async with asyncio.timeout(PATIENCE_S):
            error = await mine
        assert type(error) is TokenRevokedError
        assert error.committed == "unknown"
        assert type(await failure(server.call(kind))) is UnauthenticatedError
        assert not others.done()
        held.go_on.set()
    assert server.log.entries == []
    assert open_now(server) == 0
    assert server.calls._ended == {}


async def test_revocation_is_heard_of_without_being_told(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_calls, "RECHECK_S", 0.01)
    held = Held(server)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        checking = group.create_task(server.calls.run())
        mine = group.create_task(failure(server.call("UnaryStream")))
        await held.has_begun(1)
        server.records.revoke(TENANTS.id)
        assert type(await mine) is TokenRevokedError
        checking.cancel()


async def test_a_client_that_reads_nothing_hears_of_it_when_it_does(server: Served) -> None:
    made = asyncio.Semaphore(0)

    async def much(request: bytes, context: Any) -> bytes:
        made.release()
        return b"x" * 1_000_000

    server.echo.body = much
    metadata = (("authorization", f"Bearer {TENANTS.text}"),)
    call = server.raw.unary_stream(f"/{NAME}/UnaryStream")(b"", metadata=metadata)
    for _ in range(2):
        await made.acquire()
    server.records.revoke(TENANTS.id)
    await server.calls.recheck()
    async with asyncio.timeout(PATIENCE_S):
        error = await failure(_read_to_the_end(call))
    assert type(error) is TokenRevokedError
    assert open_now(server) == 0


async def _read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass
    if await call.code() is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
        )


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
async def test_a_call_whose_request_does_not_come_counts_and_has_an_end(server: Served, kind: str) -> None:
    """Calls are begun here as streams, which on the wire they are, so that nothing need be sent."""
    begin = server.raw.stream_unary if kind == "UnaryUnary" else server.raw.stream_stream
    metadata = (("authorization", f"Bearer {TENANTS.text}"),)
    call = begin(f"/{NAME}/{kind}")(metadata=metadata)
    async with asyncio.timeout(PATIENCE_S):
        while not server.calls._awaiting:
            await server.call("UnaryUnary", OPERATORS.text)
    for _ in range(30):
        server.calls.end_late()
    await server.call("UnaryUnary", OPERATORS.text)
    assert server.calls._ended == {}
    server.calls.end_late()
    async with asyncio.timeout(PATIENCE_S):
        error = await failure(_read_to_the_end(call) if kind == "UnaryStream" else call)
    assert type(error) is LimitExceededError
    assert error.metadata == {"limit": "request_seconds_max", "value": "30", "seen": "31"}
    assert (server.calls._awaiting, open_now(server)) == ({}, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_has_its_request_may_take_its_time(server: Served, kind: str) -> None:
    held = Held(server)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        calling = group.create_task(server.call(kind))
        await held.has_begun(1)
        for _ in range(100):
            server.calls.end_late()
        held.go_on.set()
        assert b"done" in await calling


async def test_a_call_without_a_token_is_not_waited_for(server: Served) -> None:
    call = server.raw.stream_unary(f"/{NAME}/UnaryUnary")()
    async with asyncio.timeout(PATIENCE_S):
        assert type(await failure(call)) is UnauthenticatedError


async def test_a_call_that_ends_before_its_request_is_refused(server: Served) -> None:
    call = server.raw.stream_unary(f"/{NAME}/UnaryUnary")(metadata=(("authorization", f"Bearer {TENANTS.text}"),))
    await call.done_writing()
    assert type(await failure(call)) is InvalidArgumentError
    assert server.log.entries == []


async def test_those_who_need_no_token_have_one_tenants_share(server: Served) -> None:
    path = "/grpc.health.v1.Health/Check"
    held = [server.raw.stream_unary(path)() for _ in range(3)]
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    async with asyncio.timeout(PATIENCE_S):
        while len(server.calls._awaiting) < 3:
            await server.call("UnaryUnary")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Check(health_pb2.HealthCheckRequest())
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await server.calls.recheck()
        assert await server.call("UnaryUnary") == [b"hello from acme"]
        held[0].cancel()
        for call in held[1:]:
            await call.write(health_pb2.HealthCheckRequest().SerializeToString())
            await call
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_nobody_holds_a_stream_of_health(server: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    watching = stub.Watch(health_pb2.HealthCheckRequest())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await watching.read()
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_tokens_that_can_not_be_looked_up_are_looked_up_again_later(server: Served) -> None:
    held = Held(server)
    async with asyncio.TaskGroup() as group:
        mine = group.create_task(failure(server.call("UnaryUnary")))
        await held.has_begun(1)
        server.records.revoke(TENANTS.id)
        server.records.broken = True
        await server.calls.recheck()
        assert server.calls._ended == {}
        server.records.broken = False
        await server.calls.recheck()
        assert type(await mine) is TokenRevokedError


async def test_calls_over_the_rate_wait_and_others_do_not() -> None:
    async with served(RpcLimits(calls_a_second_per_tenant_max=10)) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(server.call("UnaryUnary") for _ in range(15)))
        assert 0.4 < loop.time() - began < 5, "ten at once, then one each tenth of a second"
        began = loop.time()
        await asyncio.gather(*(server.call("UnaryUnary", OPERATORS.text) for _ in range(15)))
        assert loop.time() - began < 0.4
