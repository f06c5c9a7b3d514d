"""A connection over which nothing comes any more, though nobody closed it: a cut cable, a machine without power."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.client import connect
from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.fake_server import OPERATOR, FakeServer
from tests.unit.cli.samples import ORDER, event, put_errored_order
from tests.unit.relay import IDLE_PINGS, Relay


@pytest.mark.parametrize("idle_pings", [0, IDLE_PINGS])
async def test_a_watch_goes_on_when_its_server_went_without_a_word(
    monkeypatch: pytest.MonkeyPatch, idle_pings: int
) -> None:
    monkeypatch.setattr("stepwell.client.connection.PING_S", 1)
    monkeypatch.setattr("stepwell.client.connection.PING_ANSWER_S_MAX", 1)
    with FakeServer() as server:
        put_errored_order(server)
        server.events[ORDER] = [event(1, "stepStarted", i.INSTANCE_STATUS_RUNNING)]
        server.watch_hangs = True
        async with Relay(server.endpoint) as relay, connect(relay.endpoint, OPERATOR) as client:
            events = client.instances.watch(ORDER)
            try:
                assert (await anext(events)).cursor == "1"
                async with asyncio.timeout(20):
                    for _ in range(idle_pings):
                        await relay.pings.acquire()
                relay.cut()
                server.events[ORDER].append(event(2, "completed", i.INSTANCE_STATUS_COMPLETE))
                server.watch_hangs = False
                async with asyncio.timeout(20):
                    assert [each.cursor async for each in events] == ["2"]
            finally:
                server.let_go.set()
    assert server.watched_from == ["", "1"]
