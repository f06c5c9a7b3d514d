"""The bytes of uploads in Cassandra, a part at a time: in memory there are never more than a few parts in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
from typing import Any, Final

from cluster.cassandra.session import CassandraSession
from loader.bundles.cassandra.tables import CHUNK_BYTES, PART_CHUNKS, Statements
from stepwell.names import TenantUid

PART_BYTES: Final = CHUNK_BYTES * PART_CHUNKS

PARTS_MAX: Final = 4
"""Parts on their way at once, in either direction: 16 MiB, of four bundles that take turns with the others."""

DELETES_AT_ONCE: Final = 16


class Chunks:
    """Of all uploads. Every call raises UnavailableError."""

    def __init__(self, session: CassandraSession, statements: Statements) -> None:
        self._session = session
        self._statements = statements
        self._room = asyncio.Semaphore(PARTS_MAX)

    async def write(self, tenant: TenantUid, upload: str, stream: Iterable[bytes]) -> None:
        """Write the stream, which comes in parts, and is read in threads. What was written before an error stays."""
        parts = iter(stream)
        number = 0
        while True:
            async with self._room:
                data = await asyncio.to_thread(_next, parts)
                if data is None:
                    return
                chunks = (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
                await _all(
                    self._session.acknowledged(self._statements.put_chunk, (tenant, upload, number, at, chunk))
                    for at, chunk in enumerate(chunks)
                )
            number += 1

    async def read(self, tenant: TenantUid, upload: str, parts: int) -> AsyncGenerator[bytes]:
        """Part by part what is there, which may be less or other than what was written; to be closed."""
        for number in range(parts):
            async with self._room:
                rows = await self._session.rows(self._statements.part, (tenant, upload, number), PART_CHUNKS)
                yield b"".join([data for (data,) in rows])

    async def delete(self, tenant: TenantUid, upload: str, parts: int) -> None:
        """Idempotent, and also of what is still on its way."""
        for first in range(0, parts, DELETES_AT_ONCE):
            await _all(
                self._session.acknowledged(self._statements.delete_part, (tenant, upload, number))
                for number in range(first, min(first + DELETES_AT_ONCE, parts))
            )


def parts_of(stream_bytes: int) -> int:
    """How many parts that many bytes are."""
    return -(-stream_bytes // PART_BYTES)


def _next(parts: Iterator[bytes]) -> bytes | None:
    return next(parts, None)


async def _all(writes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for every one of them, whatever becomes of the others."""
    for outcome in await asyncio.gather(*writes, return_exceptions=True):
        if outcome is not None:
            raise outcome
