"""Journal stores to hold against the port's page, and small ways to write to them and wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Protocol

from data_plane.journal.cassandra.tables import Statements
from data_plane.journal.store import (
    InstanceKey,
    JournalStore,
    Listing,
    Mutation,
    Position,
    PutListing,
    PutRow,
    PutWake,
    Row,
    Stamp,
    Wake,
)
from data_plane.journal.store_cassandra import CassandraJournalStore
from data_plane.journal.store_sqlite import SqliteJournalStore
from stepwell.engine.records import Completed, Record
from stepwell.names import InstanceId, InstanceUid, TenantUid, WorkflowId
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.oracle_store import Cells, OracleJournalStore
from tests.simulation.cassandra import Cassandra

TENANT, WORKFLOW = TenantUid("t-1"), WorkflowId("orders")


class World(Protocol):
    """One place for durable data; `open` may be called again as if the process before had been killed."""

    async def open(self) -> JournalStore: ...
    async def close(self) -> None: ...


class OracleWorld:
    def __init__(self) -> None:
        self._cells = Cells()

    async def open(self) -> JournalStore:
        return OracleJournalStore(self._cells)

    async def close(self) -> None:
        """Nothing is held."""


class SqliteWorld:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: list[SqliteJournalStore] = []

    async def open(self) -> JournalStore:
        store, _ = await SqliteJournalStore.open(self._path, on_fatal=_raise)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class ModelledCassandraWorld:
    """The model of a cluster, calm: every message takes a moment, drawn from the seed, and none fails."""

    def __init__(self, seed: int = 0) -> None:
        self._cluster = Cassandra(asyncio.get_running_loop(), Random(seed), Counter())

    async def open(self) -> JournalStore:
        return self._cluster.client(lambda: True)

    async def close(self) -> None:
        """Nothing is held."""


class CassandraWorld:
    """A real cluster, of one node."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._statements: Statements | None = None

    async def open(self) -> JournalStore:
        session = self._keyspace.session()
        if self._statements is None:
            await self._keyspace.emptied()
            self._statements = await Statements.prepare(session)
        return CassandraJournalStore(session, self._statements)

    async def close(self) -> None:
        """Nothing is held."""


def _raise(error: BaseException) -> None:
    raise error


def key_of(instance: str, workflow: str = WORKFLOW) -> InstanceKey:
    return InstanceKey(TENANT, WorkflowId(workflow), InstanceId(instance))


def row_of(epoch: int, seq: int, text: str = "", *, first: bool = False, predecessor: Position | None = None) -> Row:
    records: list[Record] = [Completed(seq, text.encode())]
    return Row(Position(epoch, seq), records, first, predecessor)


def listing_of(
    instance: str, created_at: int, status: str = "running", uid: str = "u-1", stored_bytes: int = 0
) -> Listing:
    key, began_at = key_of(instance), created_at + 1
    return Listing(key, InstanceUid(uid), created_at, status, "sha256-1", began_at, None, stored_bytes)


def put_row(key: InstanceKey, row: Row, counter: int, epoch: int = 1) -> PutRow:
    return PutRow(key, row, Stamp(epoch, counter))


def put_listing(listing: Listing, counter: int, epoch: int = 1) -> PutListing:
    return PutListing(listing, Stamp(epoch, counter))


def put_wake(key: InstanceKey, bucket: int, due: int, counter: int, epoch: int = 1) -> PutWake:
    return PutWake(0, Wake(bucket, due, key), Stamp(epoch, counter))


async def written(store: JournalStore, *mutations: Mutation) -> list[Exception | None]:
    """Write them all at once and wait for every callback; their answers, in the order in which they came."""
    answers: list[Exception | None] = []
    finished = asyncio.Event()

    def done(error: Exception | None) -> None:
        answers.append(error)
        if len(answers) == len(mutations):
            finished.set()

    for mutation in mutations:
        store.write(mutation, done)
    if mutations:
        await finished.wait()
    return answers


async def listed(store: JournalStore, *statuses: str, limit: int = 1000) -> Sequence[str]:
    """Ids of all pages, in order."""
    ids: list[str] = []
    token = ""
    while True:
        page = await store.list_instances(TENANT, WORKFLOW, limit=limit, token=token, statuses=frozenset(statuses))
        ids += [listing.key.instance for listing in page.listings]
        token = page.next_token
        if not token:
            return ids
