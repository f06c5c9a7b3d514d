from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from stepwell.client import connect
from stepwell.client.endpoints import NotReachableError
from stepwell.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from stepwell.v1.instances_pb2 import Instance
from stepwell.v1.workflows_pb2 import Manifest
from tests.unit.cli.fake_server import ACME, OPERATOR, FakeServer
from tests.unit.cli.samples import put_errored_order


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


async def test_a_client_speaks_to_every_service(server: FakeServer) -> None:
    put_errored_order(server)
    async with connect(server.endpoint, OPERATOR) as client:
        assert (await client.tenants.create("zoo")).name == "tenants/zoo"
        assert not (await client.workflows.list("acme")).workflows
        assert (await client.instances.list("acme", "order")).instances
        assert await client.serves() is True
        assert await client.part("unknown") is None


async def test_a_servers_error_arrives_as_its_class(server: FakeServer) -> None:
    async with connect(server.endpoint, OPERATOR) as client:
        with pytest.raises(AlreadyExistsError) as caught:
            await client.tenants.create("acme")
    assert caught.value.metadata == {"tenant": "acme"}


async def test_each_change_carries_a_request_id_of_its_own(server: FakeServer) -> None:
    ids = iter(["first", "second"])
    async with connect(server.endpoint, ACME, new_request_id=lambda: next(ids)) as client:
        await client.instances.create(None, "order", instance="a")
        await client.instances.create(None, "order", instance="b")
    assert [request.request_id for request in server.created] == ["first", "second"]


async def test_a_batch_tells_of_each_item_what_came_of_it(server: FakeServer) -> None:
    async with connect(server.endpoint, ACME) as client:
        await client.instances.create(None, "order", instance="a")
        made, taken = await client.instances.create_batch(None, "order", [("b", 1), ("a", 2)])
        deleted, gone = await client.instances.delete_batch(None, "order", ["a", "z"])
    assert isinstance(made, Instance)
    assert made.params == b"1"
    assert isinstance(taken, AlreadyExistsError)
    assert deleted is None
    assert isinstance(gone, NotFoundError)
    assert (taken.message, taken.metadata) == ("tenants/acme/workflows/order/instances/a exists", {"a": "b"})


async def test_nobody_listening_is_not_reachable() -> None:
    async with connect("127.0.0.1:1", OPERATOR, tries_max=2) as client:
        for call in (client.tenants.list(), client.serves(), client.workflows.deploy("acme", Manifest(), [])):
            with pytest.raises(NotReachableError):
                await call


async def test_a_listener_that_says_nothing_is_not_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with connect(f"127.0.0.1:{silent.getsockname()[1]}", OPERATOR, within_s=0.3) as client:
            with pytest.raises(NotReachableError):
                await client.tenants.list()


async def test_a_token_stays_on_this_machine_or_in_tls() -> None:
    with pytest.raises(InvalidArgumentError, match="plaintext"):
        connect("10.0.0.1:7233", OPERATOR)


@pytest.mark.parametrize("token", ["a b", "a\nb", "é"])
async def test_a_token_that_can_be_none_is_refused_unshown(token: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        connect("127.0.0.1:7233", token)
    assert token not in str(caught.value)


def test_plaintext_takes_no_way_round_by_a_proxy(server: FakeServer) -> None:
    code = (
        "import asyncio; from stepwell.client import connect\n"
        "async def ask():\n"
        f"    async with connect({server.endpoint!r}, {OPERATOR!r}) as client: await client.tenants.list()\n"
        "asyncio.run(ask())"
    )
    environ = {**os.environ, "http_proxy": "http://127.0.0.1:9", "grpc_proxy": "http://127.0.0.1:9"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=30)


async def test_a_cancelled_upload_ends(server: FakeServer) -> None:
    class Endless:
        path, executable = "a", False

        def chunks(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 1024
                loop.call_soon_threadsafe(begun.set)

    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    async with connect(server.endpoint, OPERATOR) as client:
        deploy = asyncio.ensure_future(client.workflows.deploy("acme", Manifest(), [Endless()]))
        await begun.wait()
        deploy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deploy


async def test_a_call_carries_the_trace_that_it_is_made_in(server: FakeServer) -> None:
    span = NonRecordingSpan(SpanContext(0xAB, 0xCD, False, TraceFlags(TraceFlags.SAMPLED)))
    async with connect(server.endpoint, OPERATOR) as client:
        await client.tenants.create("zoo")
        with use_span(span):
            await client.tenants.create("park")
            await client.workflows.deploy("acme", Manifest(), [])
    without, *within = [seen.get("traceparent") for seen in server.metadata_seen]
    assert without is None
    assert within == [f"00-{0xAB:032x}-{0xCD:016x}-01"] * 2


def test_a_client_does_not_bring_opentelemetry_along() -> None:
    script = "import sys, stepwell.client, stepwell.client.tracing as t\nprint(t.trace_metadata())\n"
    script += "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["()", "[]"]
