"""The log store on one machine's disk: a SQLite file of its own, one thread that writes and one that reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_plane.logs.limits import LogLimits
from data_plane.logs.sqlite_file import SqliteLogFile, SqliteLogReader
from data_plane.logs.store import Line, LogKey, NumberedLine


class SqliteLogStore:
    """See `LogStore` for what each method promises."""

    def __init__(self, file: SqliteLogFile, reader: SqliteLogReader) -> None:
        self._file = file
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="logs-write")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="logs-read")

    @classmethod
    async def open(cls, path: Path, limits: LogLimits) -> SqliteLogStore:
        """Raises LogFileError."""
        file = await asyncio.to_thread(SqliteLogFile, path, limits)
        return cls(file, await asyncio.to_thread(SqliteLogReader, path))

    async def append(self, batch: Sequence[tuple[LogKey, Sequence[Line]]]) -> None:
        await self._loop.run_in_executor(self._writing, self._file.append, batch)

    async def read(self, key: LogKey, *, after: int, step: str, limit: int) -> Sequence[NumberedLine]:
        return await self._loop.run_in_executor(self._reading, self._reader.read, key, after, step, limit)

    async def delete(self, keys: Sequence[LogKey]) -> None:
        await self._loop.run_in_executor(self._writing, self._file.delete, keys)

    async def expire(self, before: int) -> bool:
        return await self._loop.run_in_executor(self._writing, self._file.expire, before)

    async def close(self) -> None:
        """Idempotent."""
        for executor, end in ((self._reading, self._reader.close), (self._writing, self._file.close)):
            await asyncio.to_thread(executor.shutdown)
            end()
