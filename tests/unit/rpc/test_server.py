"""What stands around every method of every kind: authentication, the error table, limits, health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpc import guard
from rpc.auth import principal
from rpc.guard import GuardedRegistrar
from rpc.limits import RpcLimits
from stepwell.client.errors import error_from
from stepwell.client.part_health import PartHealth
from stepwell.errors import (
    ApiError,
    InternalError,
    LimitExceededError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
)
from tests.unit.rpc.echo import NAME, OPERATORS, RIGHTS, TENANTS, Echo, Served, add_echo, served

KINDS = ["UnaryUnary", "StreamUnary", "UnaryStream", "StreamStream"]


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served() as running:
        yield running


async def failure(server: Served, kind: str = "UnaryUnary", **how: Any) -> ApiError:
    """The error that a call ends with, as a client has it."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await server.call(kind, **how)
    return error_from(ended.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_method_knows_who_calls(server: Served, kind: str) -> None:
    assert all(answer.endswith(b" from acme") for answer in await server.call(kind))
    assert all(answer.endswith(b" from the operator") for answer in await server.call(kind, OPERATORS.text))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_without_a_token_never_reaches_its_method(server: Served, kind: str) -> None:
    server.echo.body = refuse_to_run
    error = await failure(server, kind, token=None)
    assert isinstance(error, UnauthenticatedError)
    assert "authorization: Bearer swk_" in error.message
    assert server.log.entries == []


async def refuse_to_run(request: bytes, context: Any) -> bytes:
    raise AssertionError("the method ran")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x", f"Basic {TENANTS.text}", TENANTS.text, f"Bearer {TENANTS.text}0"],
    ids=["nothing", "a scheme", "no token", "no secret", "another scheme", "no scheme", "one more digit"],
)
async def test_what_is_no_bearer_token_is_refused_without_a_look_up(server: Served, header: str) -> None:
    assert isinstance(await failure(server, header=header), UnauthenticatedError)
    assert server.records.looked_up == []


async def test_an_unknown_token_and_a_wrong_secret_are_refused_alike(server: Served) -> None:
    unknown = f"swk_{'0' * 16}_{'0' * 64}"
    wrong = f"swk_{TENANTS.id}_{OPERATORS.secret}"
    errors = [await failure(server, token=token) for token in (unknown, wrong)]
    assert errors[0].message == errors[1].message
    assert errors[0].metadata == errors[1].metadata == {}


async def test_the_scheme_may_be_spelt_in_lower_case(server: Served) -> None:
    assert await server.call("UnaryUnary", header=f"bearer {TENANTS.text}") == [b"hello from acme"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_the_api_comes_as_itself(server: Served, kind: str) -> None:
    async def missing(request: bytes, context: Any) -> bytes:
        raise NotFoundError("there is no such thing", thing="x")

    server.echo.body = missing
    error = await failure(server, kind)
    assert type(error) is NotFoundError
    assert (error.message, error.metadata) == ("there is no such thing", {"thing": "x"})
    assert server.log.entries == []


@pytest.mark.parametrize("fault", [ZeroDivisionError("secret"), InternalError("secret"), TimeoutError("secret")])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_of_ours_is_an_id_to_its_caller_and_all_of_it_in_the_log(
    server: Served, kind: str, fault: Exception
) -> None:
    async def broken(request: bytes, context: Any) -> bytes:
        raise fault

    server.echo.body = broken
    error = await failure(server, kind)
    assert type(error) is InternalError
    assert error.metadata == {"correlation_id": "c-1"}
    assert "secret" not in error.message
    (entry,) = server.log.entries
    assert entry["exc_info"] is fault
    assert (entry["correlation_id"], entry["method"]) == ("c-1", f"/{NAME}/{kind}")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_status_that_a_method_chose_itself_stays(server: Served, kind: str) -> None:
    async def aborting(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.DATA_LOSS, "chosen")
        return b""

    server.echo.body = aborting
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await server.call(kind)
    assert (ended.value.code(), ended.value.details()) == (grpc.StatusCode.DATA_LOSS, "chosen")
    assert server.log.entries == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_call_ends_its_method_and_is_no_error(
    server: Served, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def waiting(request: bytes, context: Any) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    server.echo.body = waiting
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        calling = group.create_task(server.call(kind))
        await began.wait()
        calling.cancel()
        await ended.wait()
    server.echo.body = Echo().body
    await server.call(kind)
    assert server.log.entries == []
    assert caplog.records == []


async def test_a_stream_that_fails_midway_gives_what_it_had_and_then_the_error(server: Served) -> None:
    answers = iter([b"first"])

    async def once(request: bytes, context: Any) -> bytes:
        for answer in answers:
            return answer
        raise NotFoundError("no more")

    server.echo.body = once
    call = server.raw.unary_stream(f"/{NAME}/UnaryStream")(b"", metadata=(("authorization", f"Bearer {TENANTS.text}"),))
    received: list[bytes] = []

    async def receive() -> None:
        async for answer in call:
            received.append(answer)

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await receive()
    assert received == [b"first"]
    assert type(error_from(ended.value)) is NotFoundError


async def test_an_upload_that_is_refused_while_it_is_sent_gets_the_reason(server: Served) -> None:
    token = (("authorization", f"Bearer {TENANTS.text}"),)
    for metadata in (token, ()):
        for n in range(100):
            call = server.raw.stream_unary(f"/{NAME}/RefuseAtOnce")(metadata=metadata)
            for _ in range(n % 7 + 2):
                await call.write(b"x" * 10_000)
            await call.done_writing()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call
            assert type(error_from(ended.value)) is (NotFoundError if metadata else UnauthenticatedError)


async def test_an_upload_without_end_is_refused_all_the_same(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "READ_OUT_SECONDS_MAX", 0.01)
    call = server.raw.stream_unary(f"/{NAME}/RefuseAtOnce")()
    async with asyncio.timeout(10):
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call
    assert type(error_from(ended.value)) is UnauthenticatedError


async def test_refused_uploads_beyond_a_number_are_not_waited_for(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "READ_OUTS_MAX", 2)
    calls = [server.raw.stream_unary(f"/{NAME}/RefuseAtOnce")() for _ in range(3)]
    async with asyncio.timeout(guard.READ_OUT_SECONDS_MAX / 2):
        ended, waiting = await asyncio.wait(
            [asyncio.ensure_future(call.code()) for call in calls], return_when="FIRST_COMPLETED"
        )
        assert (len(ended), len(waiting)) == (1, 2)
        for call in calls:
            await call.done_writing()
        assert [await call.code() for call in calls] == [grpc.StatusCode.UNAUTHENTICATED] * 3


async def test_an_error_with_a_long_message_and_much_metadata_still_arrives(server: Served) -> None:
    async def verbose(request: bytes, context: Any) -> bytes:
        error = NotFoundError("ü" * 100_000, **{f"k{n}": "ü" * 10_000 for n in range(50)})
        error.metadata["lone"] = "\ud800"
        raise error

    server.echo.body = verbose
    error = await failure(server)
    assert type(error) is NotFoundError
    assert error.message.endswith("ü…")
    assert len(error.metadata["k0"].encode()) <= 256


async def test_two_calls_at_once_have_each_their_own_caller(server: Served) -> None:
    both = asyncio.Barrier(2)

    async def meet(request: bytes, context: Any) -> bytes:
        await both.wait()
        return (principal(context).tenant or "operator").encode()

    server.echo.body = meet
    answers = await asyncio.gather(server.call("UnaryUnary"), server.call("UnaryUnary", OPERATORS.text))
    assert [*answers] == [[b"acme"], [b"operator"]]


async def test_health_needs_no_token_and_says_whether_calls_are_welcome(server: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.channel)

    async def status(service: str) -> int:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)

    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert [await status(""), await status(NAME)] == [not_serving, not_serving]
    await server.health.serving()
    assert [await status(""), await status(NAME)] == [serving, serving]
    await server.health.stopping()
    assert [await status(""), await status(NAME)] == [not_serving, not_serving]


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (
            OPERATORS.text,
            [("stepwell-detail-bin", "/opt/runsc: weg — fort".encode()), ("stepwell-warning-bin", b"old")],
        ),
        (TENANTS.text, []),
        ("swk_nobody", []),
        (None, []),
    ],
    ids=["operator", "tenant", "unknown", "none"],
)
async def test_a_parts_health_is_everybodys_and_its_texts_the_operators(
    server: Served, token: str | None, told: list[tuple[str, bytes]]
) -> None:
    await server.health.report("sandbox", PartHealth(False, "/opt/runsc: weg — fort", ("old",)))
    stub: Any = health_pb2_grpc.HealthStub(server.channel)
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    call = stub.Check(health_pb2.HealthCheckRequest(service="sandbox"), metadata=metadata)
    assert (await call).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert [each for each in await call.trailing_metadata() if each[0].startswith("stepwell")] == told
    await server.health.report("sandbox", PartHealth(True, "up again"))
    answer = await stub.Check(health_pb2.HealthCheckRequest(service="sandbox"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_message_over_the_limit_is_refused() -> None:
    async with served(RpcLimits(receive_bytes_max=1_000)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await server.raw.unary_unary(f"/{NAME}/UnaryUnary")(
                b"x" * 1_001, metadata=(("authorization", f"Bearer {TENANTS.text}"),)
            )
        error = error_from(ended.value)
        assert type(error) is LimitExceededError
        assert error.metadata == {"limit": "receive_bytes_max", "value": "1000", "seen": "1001"}


async def test_metadata_over_the_limit_is_refused() -> None:
    async with served(RpcLimits(metadata_bytes_max=1_000)) as server:
        assert await server.call("UnaryUnary") == [b"hello from acme"]
        for length in (2_100, 20_000):
            error = await failure(server, header="Bearer " + "x" * length)
            assert type(error) is LimitExceededError
            assert (error.metadata["limit"], error.metadata["value"]) == ("metadata_bytes_max", "2000")
            assert int(error.metadata["seen"]) > length


async def test_more_calls_than_the_limit_are_refused() -> None:
    async with served(RpcLimits(calls_max=1)) as server:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def waiting(request: bytes, context: Any) -> bytes:
            began.set()
            await go_on.wait()
            return b""

        server.echo.body = waiting
        async with asyncio.TaskGroup() as group:
            group.create_task(server.call("UnaryUnary"))
            await began.wait()
            error = await failure(server)
            go_on.set()
        assert type(error) is RateLimitedError
        assert error.metadata["limit"] == "calls_max"


def test_a_method_that_is_not_asynchronous_is_refused_when_it_is_registered() -> None:
    class Wrong(Echo):
        def unary_unary(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]
            return b""

    anything: Any = _Anything()
    registrar = GuardedRegistrar(anything, anything, anything, anything, RIGHTS)
    with pytest.raises(TypeError, match="UnaryUnary is to be an async def"):
        add_echo(Wrong(), registrar)


class _Anything:
    def __getattr__(self, name: str) -> Any:
        return None
