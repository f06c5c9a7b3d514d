"""The journal store in Cassandra: what each mutation writes there, and how what was written is read back.

A mutation is one plain write, or several, of which each is sent once the one before was acknowledged: then a blob may
be there in part, and a deletion half done, until the same mutation is written again. Nothing is read to write, and
nothing is conditional. Rows that are read come from a quorum, and what a replica lacked is written to it first.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar, assert_never

from cassandra.query import PreparedStatement

from cluster.cassandra.session import CassandraSession
from data_plane.journal.cassandra.in_flight import InFlight
from data_plane.journal.cassandra.tables import CHUNK_BYTES, HOUR_MS, Statements
from data_plane.journal.codec import RowCodec
from data_plane.journal.pages import PageEnd, start_of, token_after
from data_plane.journal.store import (
    EVER,
    CreateTimes,
    DeleteInstance,
    Done,
    DropBucket,
    InstanceKey,
    Listing,
    ListingPage,
    Mutation,
    Position,
    PutBlob,
    PutListing,
    PutMark,
    PutRow,
    PutWake,
    Row,
    Wake,
    WriteUnknownError,
)
from stepwell.names import InstanceUid, TenantUid, WorkflowId

JOURNAL_PAGE_ROWS: Final = 64
"""Of a journal, in one read: rows are up to 1 MiB."""

PAGE_ROWS: Final = 1_000
"""Of anything else that is read."""

READS_AT_ONCE: Final = 16
"""Partitions that one call reads at the same time."""

KNOWN_HOURS_MAX: Final = 10_000
"""Partitions of listings that are known to be named: others are named again, which changes nothing."""

_NEVER: Final = 0
"""A time that has not come: a null would be a tombstone in every row."""

_Write = tuple[PreparedStatement, Sequence[object]]

T = TypeVar("T")
A = TypeVar("A")


class CassandraJournalStore:
    """See `JournalStore` for what each method promises. The session is somebody else's, and stays open."""

    def __init__(self, session: CassandraSession, statements: Statements) -> None:
        self._session = session
        self._statements = statements
        self._codec = RowCodec()
        self._in_flight = InFlight()
        self._idle: asyncio.Event | None = None
        self._known_hours: dict[tuple[str, str, int], None] = {}

    @classmethod
    async def open(cls, session: CassandraSession) -> CassandraJournalStore:
        """Raises UnavailableError, also where the schema is not there."""
        return cls(session, await Statements.prepare(session))

    async def close(self) -> None:
        if self._idle is None:
            self._idle = asyncio.Event()
            if self._in_flight.idle:
                self._idle.set()
        await self._idle.wait()

    # ---------------------------------------------------------------- writes
    def write(self, mutation: Mutation, done: Done) -> None:
        """Raises ValueError, and does nothing, for what can't be stored."""
        if self._idle is not None:
            raise RuntimeError("the journal store is closed")
        statements = self._statements
        match mutation:
            case PutRow(key, row, stamp):
                cell = self._codec.encode(row)
                self._start(key.tenant, statements.put_row, (stamp.as_one_number(), cell, *key, *row.position), done)
            case PutWake(shard, wake, stamp):
                place = (shard, wake.bucket, wake.due, *wake.key)
                self._start(wake.key.tenant, statements.put_wake, (*place, stamp.as_one_number()), done)
            case PutMark(shard, epoch, bucket, stamp):
                self._start("", statements.put_mark, (stamp.as_one_number(), bucket, shard, epoch), done)
            case DropBucket(shard, bucket, stamp):
                self._start("", statements.drop_bucket, (stamp.as_one_number(), shard, bucket), done)
            case PutListing():
                self._put_listing(mutation, done)
            case PutBlob():
                self._one_after_the_other(mutation.key.tenant, self._chunks(mutation), done)
            case DeleteInstance():
                self._one_after_the_other(mutation.key.tenant, self._removals(mutation), done)
            case _:
                assert_never(mutation)

    def _start(self, tenant: str, statement: PreparedStatement, values: Sequence[object], done: Done) -> None:
        self._in_flight.start(
            tenant, partial(self._session.write, statement.bind(values), partial(self._written, done))
        )

    def _written(self, done: Done, error: Exception | None) -> None:
        in_flight = self._in_flight
        try:
            # Whoever hears of it may begin the next part of the same mutation: `close` waits for that, too.
            done(None if error is None else WriteUnknownError(f"Cassandra did not say whether it wrote: {error}"))
        finally:
            in_flight.ended()
            if in_flight.idle and self._idle is not None:
                self._idle.set()

    def _one_after_the_other(self, tenant: str, writes: Sequence[_Write], done: Done) -> None:
        def written(error: Exception | None) -> None:
            if error is not None or not rest:
                done(error)
            else:
                statement, values = rest.pop()
                self._start(tenant, statement, values, written)

        rest = list(reversed(writes))
        written(None)

    def _put_listing(self, mutation: PutListing, done: Done) -> None:
        listing, stamp = mutation.listing, mutation.stamp.as_one_number()
        hour = (listing.key.tenant, listing.key.workflow, listing.created_at // HOUR_MS)
        cells = (
            listing.status,
            listing.digest,
            listing.started_at or _NEVER,
            listing.ended_at or _NEVER,
            listing.stored_bytes,
        )
        row = (self._statements.put_listing, (stamp, *cells, *hour, *_place(listing)))
        if hour in self._known_hours:
            self._one_after_the_other(hour[0], [row], done)
            return

        def named(error: Exception | None) -> None:
            if error is not None:
                done(error)
                return
            self._known_hours[hour] = None
            if len(self._known_hours) > KNOWN_HOURS_MAX:
                del self._known_hours[next(iter(self._known_hours))]
            self._one_after_the_other(hour[0], [row], done)

        self._one_after_the_other(hour[0], [(self._statements.put_listing_hour, hour)], named)

    def _chunks(self, mutation: PutBlob) -> list[_Write]:
        key, data, stamp = mutation.key, mutation.data, mutation.stamp.as_one_number()
        starts = range(0, max(1, len(data)), CHUNK_BYTES)
        return [
            (
                self._statements.put_blob,
                (stamp, len(starts), data[start : start + CHUNK_BYTES], *key, mutation.uid, mutation.id, number),
            )
            for number, start in enumerate(starts)
        ]

    def _removals(self, mutation: DeleteInstance) -> list[_Write]:
        key, uid, stamp = mutation.key, mutation.uid, mutation.stamp.as_one_number()
        hour = mutation.created_at // HOUR_MS
        statements = self._statements
        return [
            (statements.delete_blobs, (stamp, *key, uid)),
            (
                statements.delete_listing,
                (stamp, key.tenant, key.workflow, hour, mutation.created_at, key.instance, uid),
            ),
            (statements.delete_journal, (stamp, *key)),
        ]

    # ---------------------------------------------------------------- reads
    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        while True:
            found, pages = await self._journal(key, since, sys.maxsize if rows_max is None else rows_max)
            # Each page was read at a moment of its own. A deletion takes the first row if it takes any, since no other
            # has a lower stamp: if that is still there, all that was read was there together (ADR 15).
            if pages == 1 or await self._first(key, since) == found[:1]:
                return [self._codec.decode(Position(epoch, seq), append) for epoch, seq, append in found]

    async def read_blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        found = await self._session.rows(self._statements.blob, (*key, uid, id), READS_AT_ONCE)
        if not found or len(found) < found[0][0]:
            raise KeyError(f"instance {key} of uid {uid} has no blob {id}")
        return b"".join([data for _, data in found])

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        async def of(bucket: int) -> list[Wake]:
            rows = await self._session.rows(self._statements.wakes, (shard, bucket), PAGE_ROWS)
            return [Wake(bucket, due, InstanceKey(*key)) for due, *key in rows]

        return [wake for wakes in await _together(of, range(first, last + 1)) for wake in wakes]

    async def read_marks(self, shard: int) -> dict[int, int]:
        rows = await self._session.rows(self._statements.marks, (shard,), PAGE_ROWS)
        return {epoch: bucket for epoch, bucket in rows}

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
        oldest, newest = created.first // HOUR_MS, (created.last if after is None else after.created_at) // HOUR_MS
        hours = [hour for of, hour in await self._hours(tenant) if of == workflow and oldest <= hour <= newest]
        hours.sort(reverse=True)

        async def of(hour: int) -> list[Listing]:
            listings = await self._listings(tenant, workflow, hour, after, limit + 1, statuses)
            return [listing for listing in listings if listing.created_at >= created.first]

        found: list[Listing] = []
        rest = iter(hours)
        # Most lists end in the newest hour that there is. One that finds nothing there looks into many at once.
        together = 1
        while len(found) <= limit and (some := list(islice(rest, together))):
            found += [listing for listings in await _together(of, some) for listing in listings]
            together = READS_AT_ONCE
        if len(found) <= limit:
            return ListingPage(found, "")
        last = found[limit - 1]
        end = PageEnd(last.created_at, last.key.instance, last.uid)
        return ListingPage(found[:limit], token_after(end, tenant, workflow, statuses))

    async def stored_bytes(self, tenant: TenantUid) -> int:
        async def of(hour: tuple[str, int]) -> int:
            rows = await self._session.rows(self._statements.stored_bytes, (tenant, *hour), PAGE_ROWS)
            return sum(stored for (stored,) in rows)

        return sum(await _together(of, await self._hours(tenant)))

    async def _journal(self, key: InstanceKey, since: Position | None, rows_max: int) -> tuple[list[Any], int]:
        """Rows as they are stored, and in how many pages they came."""
        statements = self._statements
        statement, values = (
            (statements.journal, (*key,)) if since is None else (statements.journal_some, (*key, *since))
        )
        found: list[Any] = []
        pages = 0
        async with aclosing(self._session.pages(statement, values, min(JOURNAL_PAGE_ROWS, rows_max))) as read:
            async for page in read:
                found += page.rows
                pages += 1
                if len(found) >= rows_max:
                    break
        return found[:rows_max], pages

    async def _first(self, key: InstanceKey, since: Position | None) -> list[Any]:
        return await self._session.rows(self._statements.journal_first, (*key, *(since or Position(-1, -1))), 1)

    async def _hours(self, tenant: TenantUid) -> list[tuple[str, int]]:
        rows = await self._session.rows(self._statements.listing_hours, (tenant,), PAGE_ROWS)
        return [(workflow, hour) for workflow, hour in rows]

    async def _listings(
        self,
        tenant: TenantUid,
        workflow: WorkflowId,
        hour: int,
        after: PageEnd | None,
        limit: int,
        statuses: frozenset[str],
    ) -> list[Listing]:
        """The first `limit` of that hour."""
        statement, values = (
            (self._statements.listings, (tenant, workflow, hour))
            if after is None or after.created_at // HOUR_MS != hour
            else (self._statements.listings_after, (tenant, workflow, hour, *after))
        )
        found: list[Listing] = []
        async with aclosing(self._session.pages(statement, values, min(PAGE_ROWS, limit))) as pages:
            async for page in pages:
                for created_at, instance, uid, status, digest, started_at, ended_at, stored in page.rows:
                    if not statuses or status in statuses:
                        key = InstanceKey(tenant, workflow, instance)
                        times = (started_at or None, ended_at or None)
                        found.append(Listing(key, uid, created_at, status, digest, *times, stored))
                if len(found) >= limit:
                    break
        return found[:limit]


def _place(listing: Listing) -> tuple[int, str, str]:
    """Of its row, within its partition."""
    return listing.created_at, listing.key.instance, listing.uid


async def _together(of: Callable[[A], Awaitable[T]], these: Sequence[A]) -> list[T]:
    """What it gives of each, in their order, a few at a time."""
    found: list[T] = []
    for start in range(0, len(these), READS_AT_ONCE):
        found += await asyncio.gather(*map(of, these[start : start + READS_AT_ONCE]))
    return found
