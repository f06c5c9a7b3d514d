"""What only the SQLite adapter promises: epochs, file modes, failures that end the process, a log that stays small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from data_plane.journal.sqlite import checkpoints, schema
from data_plane.journal.sqlite.mutations import BLOBS_DELETED_MAX, ROWS_DELETED_MAX
from data_plane.journal.sqlite.queries import listings_query
from data_plane.journal.store import DeleteInstance, DropBucket, PutBlob, PutRow, Stamp, StoredFormatError
from data_plane.journal.store_sqlite import SqliteJournalStore
from stepwell.names import InstanceUid
from tests.contract.journal_worlds import TENANT, key_of, listing_of, put_listing, put_row, row_of, written

A = key_of("a")
UID = InstanceUid("u-1")


class Opened:
    """Stores on one file, closed at the end; what was fatal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fatal: list[BaseException] = []
        self._stores: list[SqliteJournalStore] = []

    async def open(self) -> tuple[SqliteJournalStore, int]:
        store, epoch = await SqliteJournalStore.open(self.path, on_fatal=self.fatal.append)
        self._stores.append(store)
        return store, epoch

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = Opened(tmp_path / "journal.db")
    yield opened
    await opened.close()


def limit_pages(monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    """The disk is full at so many pages."""

    def connect(path: Path, usual: Callable[[Path], apsw.Connection] = schema.connect) -> apsw.Connection:
        connection = usual(path)
        connection.pragma("max_page_count", pages)
        return connection

    monkeypatch.setattr("data_plane.journal.store_sqlite.connect", connect)


async def test_each_opening_raises_the_epoch(opened: Opened) -> None:
    epochs = [(await opened.open())[1] for _ in range(3)]
    assert epochs == [1, 2, 3]


async def test_only_the_owner_may_read_the_files(opened: Opened) -> None:
    store, _ = await opened.open()
    await written(store, put_row(A, row_of(1, 0), 1))
    files = sorted(opened.path.parent.iterdir())
    assert [file.name for file in files] == ["journal.db", "journal.db-shm", "journal.db-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_a_database_of_version_1_is_made_one_of_today(opened: Opened) -> None:
    store, _ = await opened.open()
    await written(store, put_listing(listing_of("a", 5, stored_bytes=9), 1))
    await opened.close()
    database = apsw.Connection(str(opened.path))
    database.execute("ALTER TABLE listings DROP COLUMN stored_bytes")
    database.pragma("user_version", 1)
    database.close()
    store, _ = await opened.open()
    assert await store.stored_bytes(TENANT) == 0
    await written(store, put_listing(listing_of("a", 5, stored_bytes=7), 2))
    assert await store.stored_bytes(TENANT) == 7


async def test_a_newer_programs_database_is_refused_and_left_alone(opened: Opened) -> None:
    await opened.open()
    await opened.close()
    database = apsw.Connection(str(opened.path))
    database.pragma("user_version", schema.SCHEMA_VERSION + 1)
    before = database.execute("SELECT epoch FROM opened").fetchall()
    with pytest.raises(StoredFormatError, match="schema 3"):
        await opened.open()
    assert database.execute("SELECT epoch FROM opened").fetchall() == before
    database.close()


async def test_a_failed_commit_is_fatal_once_and_nothing_is_acknowledged_any_more(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_pages(monkeypatch, 100)
    store, _ = await opened.open()
    answers: list[Exception | None] = []
    await written(store, put_row(A, row_of(1, 0), 1))
    for counter in (2, 3):
        store.write(put_row(A, row_of(1, counter), counter), answers.append)
        store.write(PutBlob(A, UID, f"b-{counter}", bytes(500_000), Stamp(1, counter)), answers.append)
    await store.close()
    assert [type(error) for error in opened.fatal] == [apsw.FullError]
    assert answers == []


async def test_what_was_in_a_failed_commit_is_gone_and_what_was_before_is_not(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_pages(monkeypatch, 100)
    store, _ = await opened.open()
    await written(store, put_row(A, row_of(1, 0), 1))
    store.write(put_row(A, row_of(1, 1), 2), lambda error: None)
    store.write(PutBlob(A, UID, "b-1", bytes(500_000), Stamp(1, 3)), lambda error: None)
    await store.close()
    monkeypatch.undo()
    again, _ = await opened.open()
    assert [row.position.seq for row in await again.read_journal(A)] == [0]


async def test_what_can_not_be_stored_is_refused_at_once_and_harms_nothing(opened: Opened) -> None:
    store, _ = await opened.open()
    with pytest.raises(UnicodeEncodeError):
        store.write(PutRow(A, row_of(1, 2**64, "\ud800"), Stamp(1, 1)), lambda error: None)
    assert await written(store, put_row(A, row_of(1, 0), 1)) == [None]


async def test_nothing_can_be_written_after_close_and_closing_twice_is_closing_once(opened: Opened) -> None:
    store, _ = await opened.open()
    await store.close()
    await store.close()
    with pytest.raises(RuntimeError, match="closed"):
        store.write(put_row(A, row_of(1, 0), 1), lambda error: None)


async def test_writes_of_one_turn_share_few_commits(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = 0

    def count(*args: object) -> int:
        nonlocal commits
        commits += 1
        return apsw.SQLITE_OK

    monkeypatch.setattr(checkpoints.Checkpointer, "_committed", count)
    store, _ = await opened.open()
    await written(store, *(put_row(A, row_of(1, seq), seq + 1) for seq in range(1000)))
    assert 1 <= commits <= 100


async def test_reads_do_not_wait_for_a_commit_in_progress(opened: Opened) -> None:
    store, _ = await opened.open()
    await written(store, put_row(A, row_of(1, 0), 1))
    other = apsw.Connection(str(opened.path))
    other.execute("BEGIN IMMEDIATE")
    pending: list[Exception | None] = []
    store.write(put_row(A, row_of(1, 1), 2), pending.append)
    assert len(await store.read_journal(A)) == 1
    assert pending == []
    other.execute("ROLLBACK")
    other.close()
    await written(store, put_row(A, row_of(1, 2), 3))
    assert pending == [None]
    assert len(await store.read_journal(A)) == 3


async def test_the_write_ahead_log_starts_over_while_writes_go_on(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 50)
    store, _ = await opened.open()
    log = opened.path.with_name("journal.db-wal")
    written_bytes = 0
    for seq in range(400):
        await written(store, put_row(A, row_of(1, seq, chr(33 + seq % 90) * 900), seq + 1))
        written_bytes += 2 * 4096
    assert log.stat().st_size < written_bytes / 4
    assert len(await store.read_journal(A)) == 400


async def test_a_checkpoint_that_fails_is_fatal(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> int:
        raise apsw.IOError("disk")

    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 1)
    monkeypatch.setattr("data_plane.journal.sqlite.checkpoints._Copy.result", fail)
    store, _ = await opened.open()
    seq = 0
    while not opened.fatal:
        store.write(put_row(A, row_of(1, seq), seq + 1), lambda error: None)
        seq += 1
        await asyncio.sleep(0)
    assert isinstance(opened.fatal[0], apsw.IOError)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("statuses", "index"), [(0, "PRIMARY KEY"), (1, "listings_by_status")])
async def test_a_list_is_a_range_of_an_index_in_its_order(
    opened: Opened, statuses: int, index: str, after: bool
) -> None:
    await opened.open()
    database = apsw.Connection(str(opened.path))
    query = listings_query(statuses, after)
    query = query if not statuses else query[query.index("(SELECT * FROM (") + 16 : query.rindex("))")]
    plan = str(database.execute(f"EXPLAIN QUERY PLAN {query}", ["x"] * query.count("?")).fetchall())
    database.close()
    assert index in plan
    assert ("created_at,instance,uid)<" in plan) == after
    assert "created_at>?" in plan
    assert "TEMP B-TREE" not in plan


async def test_what_was_removed_is_remembered_only_while_something_older_may_arrive(opened: Opened) -> None:
    store, _ = await opened.open()
    await written(store, DeleteInstance(A, UID, 1, Stamp(1, 1)), DropBucket(0, 1, Stamp(1, 2)))
    await opened.open()
    database = apsw.Connection(str(opened.path))
    assert database.execute("SELECT count(*) FROM deletes").fetchall() == [(0,)]
    assert database.execute("SELECT count(*) FROM drops").fetchall() == [(0,)]
    database.close()


async def test_a_large_instance_is_removed_in_parts_between_which_others_write(opened: Opened) -> None:
    store, _ = await opened.open()
    blobs = [f"b-{number}" for number in range(2 * BLOBS_DELETED_MAX + 1)]
    await written(store, *(PutBlob(A, UID, blob, b"x", Stamp(1, 1)) for blob in blobs))
    await written(store, *(put_row(A, row_of(1, seq), 1) for seq in range(ROWS_DELETED_MAX + 1)))
    answered: list[str] = []
    removed = asyncio.Event()

    def done(error: Exception | None) -> None:
        answered.append("removal")
        removed.set()

    store.write(DeleteInstance(A, UID, 5, Stamp(1, 2)), done)
    store.write(put_row(key_of("b"), row_of(1, 0), 3), lambda error: answered.append("row"))
    await removed.wait()
    assert answered == ["row", "removal"]
    assert await store.read_journal(A) == []
    for blob in blobs:
        with pytest.raises(KeyError):
            await store.read_blob(A, UID, blob)


async def test_all_instances_are_known_page_by_page(opened: Opened) -> None:
    store, _ = await opened.open()
    keys = [key_of(instance, workflow) for workflow in ("orders", "refunds") for instance in ("a", "b", "b1", "c")]
    await written(store, *(put_row(key, row_of(1, seq), seq + 1) for key in reversed(keys) for seq in range(3)))
    found = list(await store.instances(limit=3))
    while len(page := await store.instances(after=found[-1], limit=3)) == 3:
        found += page
    assert [*found, *page] == keys
