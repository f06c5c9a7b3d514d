"""Calls over a real connection to a server that answers some of them with trouble, before or after their effect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from grpc import StatusCode

from stepwell.client import Client, Json, MemoryFile, connect, value_of
from stepwell.errors import (
    ConflictError,
    DeadlineExceededError,
    InstanceFailedError,
    NotFoundError,
    RateLimitedError,
    StepValueError,
    UnavailableError,
)
from stepwell.v1 import instances_pb2 as i
from stepwell.v1.resources_pb2 import Failure
from stepwell.v1.tenants_pb2 import Token
from stepwell.v1.workflows_pb2 import Manifest
from tests.unit.cli.fake_server import KEY, OPERATOR, FakeServer
from tests.unit.cli.samples import ORDER, event, put_errored_order
from tests.unit.cli.troubles import Trouble

LOST = Trouble(StatusCode.UNAVAILABLE, done=True)
"""It took effect, and its answer never came."""
BUSY = Trouble(StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_delay_ms=0)
REFUSED = Trouble(StatusCode.UNAVAILABLE, "UNAVAILABLE", retry_delay_ms=0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr("stepwell.client.patience.DELAY_S_FIRST", 0.0)
    with FakeServer() as running:
        put_errored_order(running)
        yield running


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[Client]:
    async with connect(server.endpoint, OPERATOR) as connected:
        yield connected


async def test_a_create_is_one_request_however_often_it_is_sent(client: Client, server: FakeServer) -> None:
    server.troubles.next["CreateInstance"] = [REFUSED, BUSY]
    made = await client.instances.create("acme", "order", {"item": 7}, instance="o-9")
    first, *repeats = server.troubles.asked["CreateInstance"]
    assert repeats == [first, first]
    assert first.request_id
    assert value_of(made.params) == {"item": 7}


async def test_the_callers_own_request_id_is_the_one_that_is_sent(client: Client, server: FakeServer) -> None:
    await client.instances.create("acme", "order", instance="o-9", request_id="order-9")
    await client.instances.send_event(ORDER, "paid", 1, request_id="payment-1")
    await client.instances.create_batch("acme", "order", [("o-10", None)], request_id="orders-10")
    asked = server.troubles.asked
    assert asked["CreateInstance"][0].request_id == "order-9"
    assert asked["SendEvent"][0].request_id == "payment-1"
    assert asked["BatchCreateInstances"][0].request_id == "orders-10"


async def test_a_lost_answer_to_a_deletion_is_a_deletion(client: Client, server: FakeServer) -> None:
    server.troubles.next["DeleteInstance"] = [LOST]
    await client.instances.delete(ORDER)
    assert ORDER not in server.instances
    with pytest.raises(NotFoundError):
        await client.instances.delete(ORDER)


async def test_a_deletion_that_certainly_had_no_effect_and_then_finds_nothing_says_so(
    client: Client, server: FakeServer
) -> None:
    server.troubles.next["DeleteInstance"] = [BUSY]
    with pytest.raises(NotFoundError):
        await client.instances.delete("tenants/acme/workflows/order/instances/nobody")


async def test_a_lost_answer_to_a_batch_of_deletions_leaves_no_errors(client: Client, server: FakeServer) -> None:
    server.troubles.next["BatchDeleteInstances"] = [LOST]
    assert await client.instances.delete_batch("acme", "order", ["o-1"]) == [None]
    (gone,) = await client.instances.delete_batch("acme", "order", ["o-1"])
    assert isinstance(gone, NotFoundError)


async def test_a_token_is_not_made_twice(client: Client, server: FakeServer) -> None:
    server.troubles.next["CreateToken"] = [BUSY, LOST]
    with pytest.raises(UnavailableError):
        await client.tenants.create_token("acme")
    assert len(server.tokens) == 1


async def test_a_lost_answer_to_a_revocation_is_a_revocation(client: Client, server: FakeServer) -> None:
    server.tokens = [Token(name=f"tenants/acme/tokens/{KEY}")]
    server.troubles.next["RevokeToken"] = [LOST]
    await client.tenants.revoke_token("acme", KEY)
    assert server.tokens == []


async def test_a_route_with_an_etag_is_set_once(client: Client, server: FakeServer) -> None:
    before = await client.workflows.set_route("acme", "order", [("v1", 100)])
    server.troubles.next["SetRoute"] = [Trouble(StatusCode.ABORTED, "CONFLICT", retry_delay_ms=0)]
    with pytest.raises(ConflictError):
        await client.workflows.set_route("acme", "order", [("v2", 100)], etag=before.etag)
    server.troubles.next["SetRoute"] = [LOST]
    with pytest.raises(UnavailableError):
        await client.workflows.set_route("acme", "order", [("v2", 100)], etag=before.etag)
    assert len(server.troubles.asked["SetRoute"]) == 3
    server.troubles.next["SetRoute"] = [LOST]
    await client.workflows.set_route("acme", "order", [("v3", 100)])
    assert len(server.troubles.asked["SetRoute"]) == 5


async def test_a_refusal_that_may_pass_tells_after_which_delay(client: Client, server: FakeServer) -> None:
    later = Trouble(StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_delay_ms=90_500)
    server.troubles.next["ListTenants"] = [later]
    with pytest.raises(RateLimitedError) as caught:
        await client.tenants.list()
    assert caught.value.retry_delay_s == 90.5


async def test_a_calls_time_is_the_callers(client: Client, server: FakeServer) -> None:
    server.troubles.next["ListTenants"] = [Trouble(StatusCode.UNAVAILABLE, "UNAVAILABLE", retry_delay_ms=3_000)]
    with pytest.raises(UnavailableError):
        await client.within(2).tenants.list()
    assert len(server.troubles.asked["ListTenants"]) == 1
    for seconds in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="no time"):
            client.within(seconds)


async def test_a_deploy_is_uploaded_whole_again(client: Client, server: FakeServer) -> None:
    class Shaky(MemoryFile):
        tries = 0

        def chunks(self) -> Iterator[bytes]:
            Shaky.tries += 1
            if Shaky.tries == 1:
                raise DeadlineExceededError("the disk sleeps")
            return super().chunks()

    files = [MemoryFile("a.py", b"a = 1"), Shaky("big", b"x" * (2 * 1024 * 1024 + 5))]
    await client.workflows.deploy("acme", Manifest(), files)
    assert Shaky.tries == 2
    assert server.uploaded == {"a.py": b"a = 1", "big": b"x" * (2 * 1024 * 1024 + 5)}
    assert max(server.chunk_sizes) == 1024 * 1024


async def test_values_travel_and_come_back(client: Client, server: FakeServer) -> None:
    value = {"when": datetime(2026, 1, 2, tzinfo=UTC), "raw": b"\x00", "n": 2**80, "list": [1.5, None]}
    made = await client.instances.create("acme", "order", value, instance="v")
    assert value_of(made.params) == value
    made = await client.instances.create("acme", "order", Json(b'{"n": 1.0e2}'), instance="j")
    assert made.params == b'{"n": 1.0e2}'
    with pytest.raises(StepValueError, match=r"value\['x'\]"):
        await client.instances.create("acme", "order", {"x": object()})
    with pytest.raises(ValueError, match="no value"):
        value_of((await client.instances.get(ORDER)).output)


async def test_a_watch_is_whole_over_a_break(client: Client, server: FakeServer) -> None:
    server.events[ORDER] = [event(number, "stepStarted", i.INSTANCE_STATUS_RUNNING) for number in range(1, 6)]
    server.watch_breaks_after = 3
    assert [each.cursor async for each in client.instances.watch(ORDER)] == ["1", "2", "3", "4", "5"]
    assert server.watched_from == ["", "3"]


async def test_a_result_is_waited_for(client: Client, server: FakeServer) -> None:
    server.events[ORDER] = [event(1, "completed", i.INSTANCE_STATUS_COMPLETE)]
    server.instances[ORDER] = i.Instance(name=ORDER, status=i.INSTANCE_STATUS_COMPLETE, output=b'{"paid": true}')
    assert await client.instances.result(ORDER) == {"paid": True}


@pytest.mark.parametrize(
    ("instance", "status", "says"),
    [
        (
            i.Instance(name=ORDER, status=i.INSTANCE_STATUS_ERRORED, error=Failure(type="ValueError", message="no")),
            "errored",
            f"{ORDER} errored: ValueError: no",
        ),
        (i.Instance(name=ORDER, status=i.INSTANCE_STATUS_TERMINATED), "terminated", f"{ORDER} terminated"),
    ],
)
async def test_an_instance_that_failed_has_no_result(
    client: Client, server: FakeServer, instance: i.Instance, status: str, says: str
) -> None:
    server.events[ORDER] = [event(1, status, instance.status)]
    server.instances[ORDER] = instance
    with pytest.raises(InstanceFailedError) as caught:
        await client.instances.result(ORDER)
    assert (caught.value.status, str(caught.value)) == (status, says)
