"""A call between processes whose connection went silent: a machine without power, a cable that was cut."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from rpc import peers
from rpc.peers import PeerChannels
from stepwell.v1 import instances_pb2 as i
from tests.unit.cli.fake_server import OPERATOR, FakeServer
from tests.unit.cli.samples import ORDER, event, put_errored_order
from tests.unit.relay import IDLE_PINGS, Relay

WATCH = "/stepwell.v1.InstanceService/WatchInstance"


async def test_a_watch_that_is_passed_on_breaks_however_long_nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    quicker = {**dict(peers._OPTIONS), "grpc.keepalive_time_ms": 1_000}
    monkeypatch.setattr(peers, "_OPTIONS", tuple(quicker.items()))
    channels = PeerChannels(None)
    with FakeServer() as server:
        put_errored_order(server)
        server.events[ORDER] = [event(1, "stepStarted", i.INSTANCE_STATUS_RUNNING)]
        server.watch_hangs = True
        try:
            async with Relay(server.endpoint) as relay:
                watching = channels.to(relay.endpoint).unary_stream(WATCH)(
                    i.WatchInstanceRequest(name=ORDER).SerializeToString(),
                    metadata=(("authorization", f"Bearer {OPERATOR}"),),
                )
                await watching.read()
                async with asyncio.timeout(20):
                    for _ in range(IDLE_PINGS):
                        await relay.pings.acquire()
                    relay.cut()
                    with pytest.raises(grpc.aio.AioRpcError):
                        await watching.read()
        finally:
            server.let_go.set()
            await channels.close()
