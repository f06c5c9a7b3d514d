"""`GET /metrics` over HTTP/1.1, one request a connection: little enough that no web server is needed.

A request is bounded in bytes and seconds, and so are connections in number. The text is made in a thread: of a thousand
shards it takes some milliseconds, which no step waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

CONNECTIONS_MAX: Final = 8
"""Open at once; more are closed at once. Prometheus has one."""

REQUEST_BYTES_MAX: Final = 8_192
"""Of a request's line and its headers."""

REQUEST_SECONDS_MAX: Final = 5.0
"""For reading the request, and again for getting rid of the answer."""


@asynccontextmanager
async def serving_metrics(
    registry: CollectorRegistry,
    refresh: Callable[[], None],
    tasks: asyncio.TaskGroup,
    *,
    address: str,
    port: int,
) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port, which 0 leaves to the system. `refresh` sets what is only known when
    it is asked for, on the event loop. Raises OSError when it can't listen there.
    """
    open_connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(open_connections) >= CONNECTIONS_MAX:
            writer.close()
            return
        task = tasks.create_task(_serve(registry, refresh, reader, writer))
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)

    server = await asyncio.start_server(connected, address, port, limit=REQUEST_BYTES_MAX)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_connections:
            task.cancel()


async def _serve(
    registry: CollectorRegistry,
    refresh: Callable[[], None],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    try:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                request = await _request(reader)
            match request:
                case None:
                    answer = _answer("400 Bad Request", b"no HTTP request, or too large a one\n")
                case ("GET" | "HEAD", "/metrics"):
                    refresh()
                    text = await asyncio.to_thread(generate_latest, registry)
                    answer = _answer("200 OK", text, kind=CONTENT_TYPE_LATEST, head=request[0] == "HEAD")
                case (_, "/metrics"):
                    answer = _answer("405 Method Not Allowed", b"GET /metrics\n")
                case _:
                    answer = _answer("404 Not Found", b"there is /metrics\n")
            writer.write(answer)
            writer.close()
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                await writer.wait_closed()
    finally:
        writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str] | None:
    """Method and path; None for what is no request."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    return words[0], words[1].partition("?")[0]


def _answer(status: str, body: bytes, *, kind: str = "text/plain; charset=utf-8", head: bool = False) -> bytes:
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(lines).encode() + (b"" if head else body)
