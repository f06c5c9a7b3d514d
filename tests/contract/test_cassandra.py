"""What the Cassandra adapter owes beside its ports: nodes that are away or stand still, pages, chunks, the schema."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cassandra.query import PreparedStatement

from cluster.cassandra import schema
from cluster.cassandra import session as session_module
from cluster.cassandra.schema import Component, Table
from cluster.cassandra.session import CassandraSession, Page
from data_plane.journal import store_cassandra
from data_plane.journal.cassandra.tables import CHUNK_BYTES, COMPONENT, HOUR_MS, Statements
from data_plane.journal.store import DeleteInstance, PutBlob, Stamp, WriteUnknownError
from data_plane.journal.store_cassandra import CassandraJournalStore
from data_plane.logs.cassandra import tables as logs
from loader.bundles.cassandra import tables as bundles
from stepwell.errors import ConflictError, UnavailableError
from stepwell.names import InstanceUid
from tests.contract.cassandra_keyspace import CountingSession, Keyspace
from tests.contract.cassandra_server import DATACENTER, ON_ONE_WORKER, CassandraServers
from tests.contract.journal_worlds import (
    TENANT,
    CassandraWorld,
    key_of,
    listed,
    listing_of,
    put_listing,
    put_row,
    put_wake,
    row_of,
    written,
)

pytestmark = ON_ONE_WORKER

UID = InstanceUid("u-1")
A = key_of("a")


async def counted(keyspace: Keyspace) -> tuple[CassandraJournalStore, CountingSession]:
    await keyspace.emptied()
    session = keyspace.session_of(CountingSession)
    return CassandraJournalStore(session, await Statements.prepare(session)), session


# What it costs


async def test_an_append_is_one_write_and_a_wake_another_and_nothing_is_read(keyspace: Keyspace) -> None:
    store, session = await counted(keyspace)
    await written(store, put_row(A, row_of(1, 0), 1))
    assert (session.writes, session.reads) == (1, 0)
    await written(store, put_wake(A, 1, 10, 2))
    assert (session.writes, session.reads) == (2, 0)


async def test_the_hour_of_a_listing_is_named_once(keyspace: Keyspace) -> None:
    store, session = await counted(keyspace)
    await written(store, put_listing(listing_of("a", 5), 1))
    await written(store, put_listing(listing_of("b", 6), 2))
    assert session.writes == 3
    await written(store, put_listing(listing_of("c", HOUR_MS + 5), 3))
    assert session.writes == 5
    assert await listed(store) == ["c", "b", "a"]


async def test_hours_that_are_forgotten_are_named_again(keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_cassandra, "KNOWN_HOURS_MAX", 1)
    store, session = await counted(keyspace)
    for counter, hour in enumerate((1, 2, 1)):
        await written(store, put_listing(listing_of(f"i{counter}", hour * HOUR_MS), counter + 1))
    assert session.writes == 6
    assert await listed(store) == ["i1", "i2", "i0"]


async def test_a_list_looks_into_older_hours_until_it_has_enough(keyspace: Keyspace) -> None:
    store, session = await counted(keyspace)
    hours = range(40)
    await written(store, *(put_listing(listing_of(f"i{hour}", hour * HOUR_MS), hour + 1) for hour in hours))
    session.reads = 0
    assert await listed(store, "nowhere") == []
    assert session.reads == 1 + len(hours)
    session.reads = 0
    page = await store.list_instances(TENANT, A.workflow, limit=1)
    assert [listing.key.instance for listing in page.listings] == ["i39"]
    assert session.reads < 1 + len(hours)
    assert await listed(store, limit=3) == [f"i{hour}" for hour in reversed(hours)]


# Pages and chunks


async def test_a_journal_of_which_a_part_is_deleted_between_two_pages_is_read_again(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_cassandra, "JOURNAL_PAGE_ROWS", 2)
    await keyspace.emptied()
    writer = await CassandraWorld(keyspace).open()

    class Deleting(CountingSession):
        async def pages(
            self, statement: PreparedStatement, values: Sequence[object], rows_max: int
        ) -> AsyncGenerator[Page, None]:
            async for page in super().pages(statement, values, rows_max):
                yield page
                if self.reads == 1 and page.more:
                    await written(writer, DeleteInstance(A, UID, 5, Stamp(1, 50)))

    session = keyspace.session_of(Deleting)
    store = CassandraJournalStore(session, await Statements.prepare(session))
    await written(writer, *(put_row(A, row_of(1, seq), seq + 1) for seq in range(5)))
    assert await store.read_journal(A) == []
    assert session.reads == 3


async def test_a_journal_of_many_pages_is_read_whole(keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_cassandra, "JOURNAL_PAGE_ROWS", 2)
    store, _ = await counted(keyspace)
    rows = [row_of(1, seq, f"r{seq}") for seq in range(7)]
    await written(store, *(put_row(A, row, row.position.seq + 1) for row in rows))
    assert await store.read_journal(A) == rows
    assert await store.read_journal(A, since=rows[2].position, rows_max=3) == rows[2:5]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
async def test_a_blob_of_any_size_comes_back(keyspace: Keyspace, size: int) -> None:
    store, session = await counted(keyspace)
    data = bytes(range(256)) * (size // 256 + 1)
    await written(store, PutBlob(A, UID, "b-1", data[:size], Stamp(1, 1)))
    assert session.writes == max(1, -(-size // CHUNK_BYTES))
    assert await store.read_blob(A, UID, "b-1") == data[:size]


async def test_a_blob_of_which_a_chunk_is_missing_is_not_there(keyspace: Keyspace) -> None:
    store, session = await counted(keyspace)
    await written(store, PutBlob(A, UID, "b-1", bytes(2 * CHUNK_BYTES), Stamp(1, 1)))
    await session.execute(
        f"DELETE FROM {session.keyspace}.blobs USING TIMESTAMP {Stamp(2, 0).as_one_number()}"
        " WHERE tenant = %s AND workflow = %s AND instance = %s AND uid = %s AND id = 'b-1' AND chunk = 1",
        [*A, UID],
    )
    with pytest.raises(KeyError):
        await store.read_blob(A, UID, "b-1")


# Nodes that don't answer


async def test_a_write_that_a_standing_node_does_not_answer_is_unknown_and_the_same_again_goes_well(
    cassandra: CassandraServers, keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "WRITE_S", 0.5)
    store, _ = await counted(keyspace)
    mutation = put_row(A, row_of(1, 0, "once"), 1)
    with cassandra.nodes[0].standing_still():
        began = time.monotonic()
        [error] = await written(store, mutation)
        assert isinstance(error, WriteUnknownError)
        assert 0.4 < time.monotonic() - began < 3
    assert await _acknowledged(store, mutation)
    assert await store.read_journal(A) == [mutation.row]


async def test_an_awaited_write_that_a_standing_node_does_not_answer_is_unknown(
    cassandra: CassandraServers, keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "WRITE_S", 0.5)
    session = keyspace.session()
    statements = await Statements.prepare(session)
    with (
        cassandra.nodes[0].standing_still(),
        pytest.raises(UnavailableError, match="did not say whether it wrote"),
    ):
        await session.acknowledged(statements.put_mark, (Stamp(1, 1).as_one_number(), 5, 0, 1))


async def test_every_statement_says_its_keyspace(keyspace: Keyspace) -> None:
    """A node keeps statements for its next start, and can't use those that go by what a connection was set to."""
    session = keyspace.session()
    await Statements.prepare(session)
    await bundles.Statements.prepare(session)
    await logs.Statements.prepare(session)
    kept = await session.execute("SELECT query_string FROM system.prepared_statements")
    tables = [table.name for component in (COMPONENT, bundles.COMPONENT, logs.COMPONENT) for table in component.tables]
    bare = re.compile(rf"(FROM|INTO|UPDATE) ({'|'.join(tables)})\b")
    assert [text for (text,) in kept if f"{session.keyspace}." in text]
    assert [text for (text,) in kept if bare.search(text)] == []


async def test_a_node_that_was_killed_lost_nothing_and_is_found_again(
    cassandra: CassandraServers, keyspace: Keyspace
) -> None:
    store, _ = await counted(keyspace)
    rows = [row_of(1, seq, f"r{seq}") for seq in range(3)]
    assert await written(store, put_row(A, rows[0], 1)) == [None]
    cassandra.nodes[0].kill()
    try:
        began = time.monotonic()
        [error] = await written(store, put_row(A, rows[1], 2))
        assert isinstance(error, WriteUnknownError)
        assert time.monotonic() - began > 0.3, "all would be sent again at once, over and over"
        with pytest.raises(UnavailableError):
            await store.read_journal(A)
    finally:
        cassandra.nodes[0].start()
    assert await _acknowledged(store, put_row(A, rows[1], 2))
    assert await written(store, put_row(A, rows[2], 3)) == [None]
    assert await store.read_journal(A) == rows


async def _acknowledged(store: CassandraJournalStore, mutation: Any) -> bool:
    """Sent again as a lane does."""
    for _ in range(60):
        if await written(store, mutation) == [None]:
            return True
        await asyncio.sleep(0.2)
    return False


# The schema


@pytest.fixture
async def session(cassandra: CassandraServers) -> AsyncGenerator[CassandraSession, None]:
    session = await CassandraSession.connect(cassandra.settings("schema_tests"), keyspace=False)
    await session.execute("DROP KEYSPACE IF EXISTS schema_tests")
    yield session
    await session.close()


SMALL = Component("small", 1, (Table("things", {"id": "text"}, {"number": "bigint"}, {"data": "blob"}),))


async def apply(session: CassandraSession, component: Component) -> list[str]:
    return await schema.apply(session, DATACENTER, 1, [component], owner="a test")


async def test_a_schema_is_made_once_and_found_in_order(session: CassandraSession) -> None:
    assert await schema.faults(session, [SMALL]) == [
        "The keyspace 'schema_tests' has no schema: run `stepwell schema apply`."
    ]
    assert await apply(session, SMALL) == ["small: version none → 1"]
    assert await apply(session, SMALL) == []
    assert await schema.faults(session, [SMALL]) == []


async def test_a_newer_program_makes_what_is_missing_and_an_older_one_refuses(session: CassandraSession) -> None:
    table = replace(SMALL.tables[0], cells={"data": "blob", "more": "text"})
    newer = Component("small", 2, (table,), {2: ["ALTER TABLE {keyspace}.things ADD IF NOT EXISTS more text"]})
    await apply(session, SMALL)
    [fault] = await schema.faults(session, [newer])
    assert fault == "small is at version 1, 2 is needed: run `stepwell schema apply`."
    assert await apply(session, newer) == ["small: version 1 → 2"]
    assert await schema.faults(session, [newer]) == []
    with pytest.raises(ConflictError, match="is at version 2, and this program knows versions up to 1"):
        await apply(session, SMALL)
    [fault] = await schema.faults(session, [SMALL])
    assert "run the version of Stepwell that made it" in fault


async def test_tables_that_somebody_changed_are_named(session: CassandraSession) -> None:
    await apply(session, SMALL)
    await session.execute("ALTER TABLE schema_tests.things DROP data")
    assert await schema.faults(session, [SMALL]) == ["The column data of things is missing, not regular blob."]
    await session.execute("DROP TABLE schema_tests.things")
    assert await schema.faults(session, [SMALL]) == ["The table things is missing."]


async def test_one_program_at_a_time_changes_a_schema(session: CassandraSession) -> None:
    await apply(session, SMALL)
    await session.execute("INSERT INTO schema_tests.schema_locks (name, owner) VALUES ('schema', 'somebody')")
    with pytest.raises(ConflictError, match="somebody changes the schema"):
        await apply(session, SMALL)


# What an operator got wrong


async def test_a_keyspace_without_its_tables_says_what_to_run(
    cassandra: CassandraServers, session: CassandraSession
) -> None:
    settings = cassandra.settings("schema_tests")
    with pytest.raises(UnavailableError, match=r"no keyspace 'schema_tests'.*run `stepwell schema apply`"):
        await CassandraSession.connect(settings)
    await apply(session, SMALL)
    empty = await CassandraSession.connect(settings)
    with pytest.raises(UnavailableError, match=r"lacks what this program needs.*run `stepwell schema apply`"):
        await CassandraJournalStore.open(empty)
    await empty.close()


async def test_wrong_places_are_named(cassandra: CassandraServers, tmp_path: Path) -> None:
    settings = cassandra.settings("contract")
    with pytest.raises(UnavailableError, match="no datacenter 'elsewhere', but datacenter1"):
        await CassandraSession.connect(replace(settings, datacenter="elsewhere"))
    with pytest.raises(UnavailableError, match=r"127.0.0.1 \(port 1\) could not be reached"):
        await CassandraSession.connect(replace(settings, port=1))
    with pytest.raises(UnavailableError, match="certificates for Cassandra can't be used"):
        await CassandraSession.connect(replace(settings, authority=tmp_path / "missing.pem"))


def test_the_schema_as_text_is_what_is_applied() -> None:
    text = schema.script("k", DATACENTER, 3, [COMPONENT])
    assert text[0] == (
        "CREATE KEYSPACE IF NOT EXISTS k WITH replication ="
        " {'class': 'NetworkTopologyStrategy', 'datacenter1': 3} AND durable_writes = true"
    )
    assert sum(line.startswith("CREATE TABLE IF NOT EXISTS k.") for line in text) == len(COMPONENT.tables) + 2


async def test_close_waits_for_each_part_of_what_was_written(keyspace: Keyspace) -> None:
    """A deletion is three writes, one after the other: between two of them nothing is on its way."""
    store, session = await counted(keyspace)
    await written(store, put_row(A, row_of(1, 0), 1))
    answers: list[Exception | None] = []
    before = session.writes
    store.write(DeleteInstance(A, UID, 5, Stamp(1, 2)), answers.append)
    await store.close()
    assert (session.writes - before, answers) == (3, [None])
