"""The cluster's store on one machine: a SQLite file, written by one thread, durable before it answers.

The file is locked for this process alone, so the watches of this process see every change there is. The event loop
never waits for the disk: all of SQLite happens on the store's thread, one request after the other.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import apsw

from cluster.sqlite_file import SqliteFile
from cluster.store import (
    WATCH_PROGRESS_SECONDS,
    Compare,
    Event,
    KeyValue,
    Operation,
    Put,
    TxnResult,
    WatchBatch,
    check_range,
    check_txn,
)
from cluster.watch_hub import WatchHub
from stepwell.errors import UnavailableError

T = TypeVar("T")


class SqliteStore:
    """`ClusterStore` on SQLite; see that port for what it promises. Made by `open_sqlite_store`.

    It has no leases, since no other process could take over from this one: a `Put` on one is refused with ValueError.
    """

    def __init__(
        self,
        file: SqliteFile,
        thread: ThreadPoolExecutor,
        hub: WatchHub,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._file = file
        self._thread = thread
        self._hub = hub
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._closed = ""

    async def get(self, key: str) -> KeyValue | None:
        return await self._on_thread(functools.partial(self._file.get, key))

    async def range(self, prefix: str, *, after: str = "", limit: int) -> tuple[KeyValue, ...]:
        check_range(limit)
        return await self._on_thread(functools.partial(self._file.range, prefix, after, limit))

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        check_txn(compares, operations)
        if any(isinstance(operation, Put) and operation.lease for operation in operations):
            raise ValueError("a store on one machine has no leases to put a key on")
        return await self._on_thread(functools.partial(self._txn, tuple(compares), tuple(operations)))

    async def revision(self) -> int:
        return await self._on_thread(self._file.revision)

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[WatchBatch, None]:
        return self._hub.watch(prefix, after)

    async def close(self) -> None:
        """Finish what was asked, end the watches and close the file. Later calls raise UnavailableError."""
        self._closed = self._closed or "the cluster store is closed: this process is stopping"
        self._hub.close()
        await self._loop.run_in_executor(self._thread, self._file.close)

    def _txn(self, compares: tuple[Compare, ...], operations: tuple[Operation, ...]) -> TxnResult:
        """On the thread. A change is published from here, in commit order, whether or not its caller still waits."""
        try:
            result, events = self._file.txn(compares, operations)
        except apsw.Error as error:
            # What a failed commit or fsync left behind is unknown; only a new process may read it again.
            self._loop.call_soon_threadsafe(self._fail, error)
            raise UnavailableError("the cluster store failed to write: this process ends") from error
        if events:
            self._loop.call_soon_threadsafe(self._publish, result.revision, events)
        return result

    def _publish(self, revision: int, events: tuple[Event, ...]) -> None:
        self._hub.publish(revision, events)

    def _fail(self, error: BaseException) -> None:
        self._closed = "the cluster store failed to write: this process ends"
        self._hub.close()
        self._on_fatal(error)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise UnavailableError(self._closed)
        return await self._loop.run_in_executor(self._thread, work)


@asynccontextmanager
async def open_sqlite_store(
    path: Path,
    *,
    on_fatal: Callable[[BaseException], None],
    progress_seconds: float = WATCH_PROGRESS_SECONDS,
) -> AsyncIterator[SqliteStore]:
    """The store in that file, which is made when it is absent; closed on the way out.

    `on_fatal` is called on the event loop when a write failed; it should end the process. Raises UnavailableError when
    another process holds the file and SqliteFileError when the file is not this store's or is newer than this program.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="cluster-store") as thread:
        file = await loop.run_in_executor(thread, SqliteFile, path)
        revision = await loop.run_in_executor(thread, file.revision)
        store = SqliteStore(file, thread, WatchHub(revision, progress_seconds=progress_seconds), on_fatal)
        try:
            yield store
        finally:
            await store.close()
