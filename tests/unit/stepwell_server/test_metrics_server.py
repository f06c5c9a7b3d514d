"""Figures are served to whoever asks for /metrics, and nobody who asks badly takes anything from anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from stepwell_server import metrics_server
from stepwell_server.metrics import Metrics
from stepwell_server.metrics_server import CONNECTIONS_MAX, REQUEST_BYTES_MAX, serving_metrics


@pytest.fixture
async def port() -> AsyncIterator[int]:
    metrics = Metrics()
    async with (
        asyncio.TaskGroup() as tasks,
        serving_metrics(
            metrics.registry, lambda: metrics.set_unstarted({3: 1_500}), tasks, address="127.0.0.1", port=0
        ) as bound,
    ):
        yield bound


async def asked(port: int, request: bytes) -> bytes:
    """What comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        with suppress(ConnectionResetError):
            return await asyncio.wait_for(reader.read(), 10)
        return b""
    finally:
        writer.close()


async def test_what_is_known_when_it_is_asked_for_is_told(port: int) -> None:
    answer = await asked(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: here\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b'stepwell_oldest_unstarted_seconds{shard="3"} 1.5\n' in body
    assert b"stepwell_shards_owned 1.0\n" in body
    assert b"process_resident_memory_bytes " in body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\x16\x03\x01\xff\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (2 * REQUEST_BYTES_MAX) + b"\r\n\r\n", b"400"),
    ],
)
async def test_anything_else_is_told_what_there_is(port: int, request_: bytes, status: bytes) -> None:
    answer = await asked(port, request_)
    # What was too large is not read to its end, by which the answer may be lost.
    assert answer.split(b" ")[1:2] == [status] or len(request_) > REQUEST_BYTES_MAX


async def test_whoever_says_nothing_is_given_up_and_others_have_their_turn(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS_MAX", 0.2)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
    assert await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n") == b"", "no more than those at once"
    for reader, writer in silent:
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    assert b"200 OK" in await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n")


async def test_a_shard_that_is_served_no_more_has_no_figure() -> None:
    metrics = Metrics()
    metrics.set_unstarted({1: 5, 2: 0})
    metrics.set_unstarted({2: 1_000})
    value = metrics.registry.get_sample_value
    assert value("stepwell_oldest_unstarted_seconds", {"shard": "1"}) is None
    assert value("stepwell_oldest_unstarted_seconds", {"shard": "2"}) == 1.0
    assert value("stepwell_shards_owned") == 1.0
