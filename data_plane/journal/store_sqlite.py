"""The journal store on one machine's disk: SQLite in WAL mode, one committing thread, reads beside it.

Nothing is acknowledged before its commit was fsynced. Outcomes are never unknown here: a commit either succeeds or ends
the process, so WriteUnknownError is not raised. The data directory's lock must be held by whoever opens it
(`data_plane.ownership_solo`): that, and the epoch that each opening raises, stand for a cluster's leases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from data_plane.journal.codec import RowCodec
from data_plane.journal.pages import PageEnd, start_of, token_after
from data_plane.journal.sqlite.mutations import bind
from data_plane.journal.sqlite.queries import Reader
from data_plane.journal.sqlite.reading import ReadThreads
from data_plane.journal.sqlite.schema import connect, prepare
from data_plane.journal.sqlite.writer import GroupCommit
from data_plane.journal.store import (
    EVER,
    CreateTimes,
    Done,
    InstanceKey,
    Listing,
    ListingPage,
    Mutation,
    Position,
    Row,
    Wake,
)
from stepwell.names import InstanceUid, TenantUid, WorkflowId

READERS = 2
"""Connections, and threads, that read at the same time."""


class SqliteJournalStore:
    """See `JournalStore` for what each method promises."""

    def __init__(self, commits: GroupCommit, reads: ReadThreads) -> None:
        self._commits = commits
        self._codec = RowCodec()
        self._reads = reads
        self._read = reads.read
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, on_fatal: Callable[[BaseException], None]) -> tuple[SqliteJournalStore, int]:
        """The store and its epoch, which is above that of every opening before and durably so.

        `on_fatal` is called at most once, on the event loop, with the error after which nothing is acknowledged any
        more: it has to end the process. Raises StoredFormatError for a newer program's database.
        """
        loop = asyncio.get_running_loop()
        connection = await asyncio.to_thread(connect, path)
        epoch = await asyncio.to_thread(prepare, connection)
        readers = [await asyncio.to_thread(Reader, path) for _ in range(READERS)]
        return cls(GroupCommit(connection, path, loop, on_fatal), ReadThreads(readers, loop)), epoch

    def write(self, mutation: Mutation, done: Done) -> None:
        """Raises ValueError, and does nothing, for what can't be stored."""
        if self._closed:
            raise RuntimeError("the journal store is closed")
        self._commits.put(bind(mutation, self._codec), done)

    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        return await self._read(lambda reader: reader.journal(key, since, rows_max))

    async def instances(self, *, after: InstanceKey | None = None, limit: int) -> Sequence[InstanceKey]:
        """Whatever has rows, in the order of their keys, past `after` only: of one machine's journals all are at hand,
        and no listing has to be believed."""
        return await self._read(lambda reader: reader.instances(after, limit))

    async def read_blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        return await self._read(lambda reader: reader.blob(key, uid, id))

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        return await self._read(lambda reader: reader.wakes(shard, first, last))

    async def read_marks(self, shard: int) -> dict[int, int]:
        return await self._read(lambda reader: reader.marks(shard))

    async def list_instances(
        self,
        tenant: TenantUid,
        workflow: WorkflowId,
        *,
        limit: int,
        token: str = "",
        statuses: frozenset[str] = frozenset(),
        created: CreateTimes = EVER,
    ) -> ListingPage:
        after = start_of(token, tenant, workflow, statuses, created)
        found: list[Listing] = await self._read(
            lambda reader: reader.listings(tenant, workflow, sorted(statuses), after, created.first, limit + 1)
        )
        if len(found) <= limit:
            return ListingPage(found, "")
        last = found[limit - 1]
        end = PageEnd(last.created_at, last.key.instance, last.uid)
        return ListingPage(found[:limit], token_after(end, tenant, workflow, statuses))

    async def stored_bytes(self, tenant: TenantUid) -> int:
        return await self._read(lambda reader: reader.stored_bytes(tenant))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._commits.close()
            await self._reads.close()
