"""A relay between a client and a server of tests: once it is cut, nothing comes any more, though nobody closed it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

PING_BYTES = 17
PING = 6
IDLE_PINGS = 4
"""Of themselves, gRPC's clients send two, and then none for a minute."""


class Relay:
    """Passes on to a server what comes over its connections, until `cut` lets those that are there go silent; it counts
    the pings of an idle client."""

    def __init__(self, endpoint: str) -> None:
        self._host, _, self._port = endpoint.rpartition(":")
        self._silent = [asyncio.Event()]
        self._writers: list[asyncio.StreamWriter] = []
        self.endpoint = ""
        self.pings = asyncio.Semaphore(0)

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    def cut(self) -> None:
        self._silent[-1].set()
        self._silent.append(asyncio.Event())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, onward]
        silent = self._silent[-1]
        with suppress(ConnectionError):
            await asyncio.gather(
                _pass_on(reader, onward, silent, self._seen), _pass_on(onward_reader, writer, silent, lambda _: None)
            )

    def _seen(self, data: bytes) -> None:
        if len(data) == PING_BYTES and data[3] == PING and data[4] == 0:
            self.pings.release()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event, seen: Callable[[bytes], None]
) -> None:
    while data := await reader.read(65536):
        seen(data)
        if not silent.is_set():
            writer.write(data)
