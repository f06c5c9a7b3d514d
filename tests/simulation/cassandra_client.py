"""The modelled Cassandra as one process's journal store: what its driver and its adapter do, by callbacks alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from data_plane.journal.pages import PageEnd, start_of, token_after
from data_plane.journal.store import (
    EVER,
    CreateTimes,
    DeleteInstance,
    Done,
    InstanceKey,
    Listing,
    ListingPage,
    Mutation,
    Position,
    PutListing,
    Row,
    Wake,
    WriteUnknownError,
)
from stepwell.errors import UnavailableError
from stepwell.names import InstanceUid, TenantUid, WorkflowId
from tests.simulation import cassandra_tables as tables
from tests.simulation.cassandra_faults import Fault
from tests.simulation.cassandra_replica import Clustering, Span

if TYPE_CHECKING:
    from tests.simulation.cassandra import Cassandra, Page

PAGE_ROWS: Final = 16
"""What a read asks for at once (fetch_size): so few that the journal of a short run is several pages."""

Found = list[tuple[Clustering, Any]]


class ReadUnavailableError(UnavailableError):
    """Nothing could be read: too few replicas were up, or they did not answer in time. Reading again may go well."""


class CassandraJournalStore:
    """See `JournalStore` for what each method promises; reads that fail raise ReadUnavailableError."""

    def __init__(
        self,
        cluster: Cassandra,
        loop: asyncio.AbstractEventLoop,
        alive: Callable[[], bool],
        connected: Callable[[], bool],
        lag_s: Callable[[], float],
    ) -> None:
        self.cluster = cluster
        self.loop = loop
        self.alive = alive
        self.connected = connected
        self.lag_s = lag_s
        self._in_flight = 0
        self._idle: asyncio.Future[None] | None = None
        self._closed = False
        self._buckets: set[tuple[object, ...]] = set()
        """Partitions of listings that the tenants' rows are known to name."""

    # ---------------------------------------------------------------- writes
    def write(self, mutation: Mutation, done: Done) -> None:
        if self._closed:
            raise RuntimeError("the journal store is closed")
        stages = tables.stages(mutation)
        if type(mutation) is PutListing and stages[0][0][:2] in self._buckets:
            stages = stages[1:]
        self._in_flight += 1
        _Writing(self, mutation, stages, done).send()

    def written(self, mutation: Mutation, stages: Sequence[tables.Stage]) -> None:
        """All of it was acknowledged."""
        if type(mutation) is PutListing and len(stages) > 1:
            self._buckets.add(stages[0][0][:2])

    def over(self) -> None:
        """One write less is under way."""
        self._in_flight -= 1
        if not self._in_flight and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def close(self) -> None:
        self._closed = True
        if self._in_flight:
            self._idle = self.loop.create_future()
            await self._idle

    # ---------------------------------------------------------------- reads
    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        span = Span(tables.journal(key), () if since is None else since)
        while True:
            reading = _Reading(self, span, sys.maxsize if rows_max is None else rows_max)
            reading.ask()
            found = await reading.found
            # Each page was read at a moment of its own. A deletion takes the first row if it takes any, since no other
            # has a lower stamp: if that is still there, all that was read was there together.
            if reading.pages == 1 or await self._read(span, 1) == found[:1]:
                return [row for _, row in found]
            self.cluster.seen[Fault.READ_TORN] += 1

    async def read_blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        chunks: list[tables.Chunk] = [chunk for _, chunk in await self._read(tables.blob(key, uid, id))]
        if not chunks or len(chunks) < chunks[0].chunks:
            raise KeyError(f"instance {key} of uid {uid} has no blob {id}")
        return b"".join(chunk.data for chunk in chunks)

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        buckets = [self._read(Span(tables.wakes(shard, bucket))) for bucket in range(first, last + 1)]
        return [wake for rows in await asyncio.gather(*buckets) for _, wake in rows]

    async def read_marks(self, shard: int) -> dict[int, int]:
        return {int(epoch): bucket for (epoch,), bucket in await self._read(Span(tables.marks(shard)))}

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
        named = await self._read(Span(tables.listing_buckets(tenant), (workflow,)))
        found: list[Listing] = []
        for (of, _), bucket in reversed(named):
            if of == workflow and (after is None or bucket <= tables.bucket_of(after.created_at)):
                rows = await self._read(Span(tables.listings(tenant, workflow, bucket)))
                older = [listing for place, listing in reversed(rows) if after is None or place < after]
                older = [listing for listing in older if listing.created_at >= created.first]
                found += [listing for listing in older if not statuses or listing.status in statuses]
            if len(found) > limit:
                last = found[limit - 1]
                end = PageEnd(last.created_at, last.key.instance, last.uid)
                return ListingPage(found[:limit], token_after(end, tenant, workflow, statuses))
        return ListingPage(found, "")

    async def stored_bytes(self, tenant: TenantUid) -> int:
        named = await self._read(Span(tables.listing_buckets(tenant)))
        partitions = [
            self._read(Span(tables.listings(tenant, WorkflowId(str(workflow)), bucket)))
            for (workflow, _), bucket in named
        ]
        return sum(listing.stored_bytes for rows in await asyncio.gather(*partitions) for _, listing in rows)

    def _read(self, span: Span, rows_max: int = sys.maxsize) -> asyncio.Future[Found]:
        reading = _Reading(self, span, rows_max)
        reading.ask()
        return reading.found


class _Writing:
    """A mutation on its way: a stage is sent once the one before was acknowledged."""

    __slots__ = ("_context", "_done", "_gives_up_at", "_mutation", "_stage", "_stages", "_store")

    def __init__(
        self, store: CassandraJournalStore, mutation: Mutation, stages: Sequence[tables.Stage], done: Done
    ) -> None:
        self._store = store
        self._mutation = mutation
        self._stages = stages
        self._done = done
        self._context = copy_context()
        self._stage = 0
        self._gives_up_at = 0.0

    def send(self) -> None:
        store = self._store
        cluster = store.cluster
        if not store.alive():
            self._end()
            return
        now = cluster.now()
        self._gives_up_at = now + cluster.faults.client_timeout_s
        if not store.connected():
            cluster.at(self._gives_up_at, self._tell, False)
            return
        at, acknowledged = now, True
        for change in self._stages[self._stage]:
            answer = cluster.write(change, store.lag_s())
            at, acknowledged = max(at, answer.at), acknowledged and answer.acknowledged
        cluster.at(at, self._answered, acknowledged)

    def _answered(self, acknowledged: bool) -> None:
        if self._store.connected():
            self._tell(acknowledged)
        else:
            self._store.cluster.at(self._gives_up_at, self._tell, False)

    def _tell(self, acknowledged: bool) -> None:
        if self._store.alive():
            self._store.loop.call_soon(self._heard, acknowledged, context=self._context)
        else:
            self._store.cluster.seen[Fault.CALLBACK_DROPPED] += 1
            self._end()

    def _heard(self, acknowledged: bool) -> None:
        store = self._store
        if not store.alive():
            self._end()
        elif not acknowledged:
            self._end()
            self._done(WriteUnknownError("the store did not say whether the write was applied"))
        elif self._stage + 1 < len(self._stages):
            self._stage += 1
            self.send()
        else:
            store.written(self._mutation, self._stages)
            store.over()
            self._done(None)

    def _end(self) -> None:
        """Nobody will know whether it was applied."""
        if self._stage and type(self._mutation) is DeleteInstance:
            self._store.cluster.seen[Fault.HALF_DONE] += 1
        self._store.over()


class _Reading:
    """A span's rows, page by page: each page is a read of its own."""

    __slots__ = ("_context", "_gives_up_at", "_rows", "_rows_max", "_span", "_store", "found", "pages")

    def __init__(self, store: CassandraJournalStore, span: Span, rows_max: int) -> None:
        self.found: asyncio.Future[Found] = store.loop.create_future()
        self.pages = 0
        self._store = store
        self._span = span
        self._rows_max = rows_max
        self._rows: Found = []
        self._context = copy_context()
        self._gives_up_at = 0.0

    def ask(self) -> None:
        store = self._store
        cluster = store.cluster
        if not store.alive():
            return
        self._gives_up_at = cluster.now() + cluster.faults.client_timeout_s
        if store.connected():
            cluster.read_page(self._span, min(PAGE_ROWS, self._rows_max - len(self._rows)), self._answered)
        else:
            cluster.at(self._gives_up_at, self._tell, None)

    def _answered(self, page: Page | None) -> None:
        if self._store.connected():
            self._tell(page)
        else:
            self._store.cluster.at(self._gives_up_at, self._tell, None)

    def _tell(self, page: Page | None) -> None:
        if self._store.alive():
            self._store.loop.call_soon(self._heard, page, context=self._context)
        else:
            self._store.cluster.seen[Fault.CALLBACK_DROPPED] += 1

    def _heard(self, page: Page | None) -> None:
        if not self._store.alive() or self.found.done():
            return
        if page is None:
            self.found.set_exception(ReadUnavailableError(f"{self._span.partition} could not be read at quorum"))
            return
        self.pages += 1
        self._rows += page.rows
        if page.more and len(self._rows) < self._rows_max:
            self._span = self._span.after(self._rows[-1][0])
            self.ask()
        else:
            self.found.set_result(self._rows)
