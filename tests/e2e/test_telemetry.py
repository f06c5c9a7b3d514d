"""An instance's traces at a real collector, from its client's call over a hibernation and a SIGKILL to its end."""

from __future__ import annotations

import json
import re
import urllib.request
from asyncio import to_thread
from collections.abc import AsyncIterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider

from stepwell.client import connect
from tests.e2e.api import BUNDLES, Api
from tests.e2e.conftest import MakeServer
from tests.e2e.otlp_receiver import Receiver, attributes, receiving
from tests.e2e.server import Server, free_port, until

CREATE = "stepwell.v1.InstanceService/CreateInstance"
NAP_MS = 4_000
PATIENCE_S = 30


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as collector:
        yield collector


def server_of(make_server: MakeServer, receiver: Receiver, metrics_port: int = 0, more: str = "") -> Server:
    return make_server(
        sandbox="process",
        config=f'[telemetry]\notlp_endpoint = "{receiver.endpoint}"\nmetrics_port = {metrics_port}\n{more}',
    )


def links(span: Span) -> dict[str, tuple[bytes, bytes]]:
    return {attributes(link)["stepwell.link"]: (link.trace_id, link.span_id) for link in span.links}


async def test_a_trace_goes_from_the_clients_call_over_a_sigkill_to_the_end(
    make_server: MakeServer, receiver: Receiver
) -> None:
    server = server_of(make_server, receiver)
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "traced")
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
        with tracer.start_as_current_span("order") as order:
            async with connect(server.endpoint, server.token) as client:
                created = await client.instances.create("acme", "traced", {"nap_ms": NAP_MS}, instance="one")
        await until("the first activation is told", lambda: bool(receiver.named("activation")), PATIENCE_S)
        await server.kill()
        await server.start()
    async with Api(server.endpoint, server.token) as api:
        assert json.loads((await api.ended(created.name)).output) == [1, 2]
    assert await server.stop() == 0

    client_span = order.get_span_context()
    (call,) = receiver.named(CREATE)
    assert call.kind == Span.SPAN_KIND_SERVER
    assert int.from_bytes(call.trace_id, "big") == client_span.trace_id
    assert int.from_bytes(call.parent_span_id, "big") == client_span.span_id
    assert attributes(call)["rpc.response.status_code"] == "OK"

    first, second = receiver.named("activation")
    assert len({call.trace_id, first.trace_id, second.trace_id}) == 3
    assert (first.parent_span_id, second.parent_span_id) == (b"", b"")
    asked = (call.trace_id, call.span_id)
    assert links(first) == {"create": asked}
    assert links(second) == {"create": asked, "previous": (first.trace_id, first.span_id)}
    told = [attributes(span) for span in (first, second)]
    assert [each["stepwell.activation.end"] for each in told] == ["hibernated", "completed"]
    assert {(each["stepwell.workflow"], each["stepwell.instance"]) for each in told} == {("traced", "one")}
    assert {each["stepwell.instance.uid"] for each in told} == {created.uid}
    assert second.start_time_unix_nano - first.end_time_unix_nano > NAP_MS * 1_000_000 / 2

    steps = receiver.named("step")
    assert [
        (attributes(step)["stepwell.step"], attributes(step)["stepwell.step.outcome"], step.parent_span_id)
        for step in steps
    ] == [
        ("first", "succeeded", first.span_id),
        ("second", "retried", second.span_id),
        ("second", "succeeded", second.span_id),
    ], "what ran is told once, where it ran: the replay ran nothing"
    assert [step.trace_id for step in steps] == [first.trace_id, second.trace_id, second.trace_id]
    assert [step.status.code for step in steps] == [0, Status.STATUS_CODE_ERROR, 0]
    assert attributes(steps[1])["error.type"] == "ValueError"
    assert "not yet" not in str(receiver.spans), "an error's text is its tenant's"
    assert receiver.services == {"stepwell-dev"}


async def test_what_its_client_does_not_keep_is_not_kept(make_server: MakeServer, receiver: Receiver) -> None:
    server = server_of(make_server, receiver)
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "traced")
        api.metadata = (*api.metadata, ("traceparent", f"00-{'a' * 32}-{'b' * 16}-00"))  # type: ignore[assignment]
        instance = await api.create("tenants/acme/workflows/traced", {"nap_ms": 1})
        await api.ended(instance.name)
    assert await server.stop() == 0
    assert {span.name for span in receiver.spans} >= {"stepwell.v1.WorkflowService/DeployVersion"}
    assert not [span for span in receiver.spans if span.name in (CREATE, "activation", "step")]


async def test_figures_tell_of_calls_and_of_what_ran_without_anybodys_name(
    make_server: MakeServer, receiver: Receiver
) -> None:
    port = free_port()
    server = server_of(make_server, receiver, port, 'log_format = "json"\n')
    server.spawn()
    await until("it serves figures", lambda: b"metrics on http" in server.log.read_bytes(), PATIENCE_S)
    await until("it serves", lambda: b'"ready on' in server.log.read_bytes(), PATIENCE_S)
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "traced")
        await api.ended((await api.create("tenants/acme/workflows/traced", {"nap_ms": 1}, id="one")).name)

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                return str(answer.read().decode())

        text = await to_thread(read)
    assert await server.stop() == 0
    for line in (
        f'stepwell_calls_total{{code="OK",method="{CREATE}"}} 1.0',
        'stepwell_step_attempts_total{outcome="succeeded"} 2.0',
        'stepwell_step_attempts_total{outcome="retried"} 1.0',
        "stepwell_activations_begun_total 1.0",
        'stepwell_activations_ended_total{reason="completed"} 1.0',
        'stepwell_instances_ended_total{outcome="completed"} 1.0',
        "stepwell_shards_owned 1.0",
        'stepwell_oldest_unstarted_seconds{shard="0"} 0.0',
    ):
        assert line in text.splitlines(), line
    assert re.search(r'stepwell_journal_write_seconds_count{kind="row"} [1-9]', text)
    assert re.search(r'stepwell_sandbox_boots_total{outcome="started"} [1-9]', text)
    assert "acme" not in text
    assert [json.loads(line) for line in server.log.read_text().splitlines()], "every line is JSON"


async def test_a_trace_that_nobody_receives_holds_nothing_up(make_server: MakeServer) -> None:
    server = make_server(sandbox="process", config=f'[telemetry]\notlp_endpoint = "http://127.0.0.1:{free_port()}"\n')
    await server.start()
    async with Api(server.endpoint, server.token) as api:
        await api.create_tenant("acme")
        await api.deploy("acme", BUNDLES / "traced")
        await api.ended((await api.create("tenants/acme/workflows/traced", {"nap_ms": 1})).name)
    assert await server.stop() == 0
