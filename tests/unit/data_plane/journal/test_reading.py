"""What the SQLite adapter's reading threads promise: order, errors, an end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from data_plane.journal.sqlite.queries import ROWS_TOGETHER, Reader
from data_plane.journal.sqlite.reading import READS_AT_ONCE, ReadThreads
from data_plane.journal.store import Position
from data_plane.journal.store_sqlite import SqliteJournalStore
from tests.contract.journal_worlds import key_of, put_row, row_of, written

A = key_of("a")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    store, _ = await SqliteJournalStore.open(tmp_path / "journal.db", on_fatal=_raise)
    rows = [put_row(A, row_of(epoch, seq, str(seq)), seq + 1, epoch) for epoch in (1, 2) for seq in range(150)]
    await written(store, *reversed(rows))
    await store.close()
    return tmp_path / "journal.db"


@pytest.fixture
async def reads(path: Path) -> AsyncIterator[ReadThreads]:
    reads = ReadThreads([Reader(path)], asyncio.get_running_loop())
    yield reads
    await reads.close()


def _raise(error: BaseException) -> None:
    raise error


async def test_a_journal_of_many_parts_comes_whole_and_in_order(reads: ReadThreads) -> None:
    rows = await reads.read(lambda reader: reader.journal(A))
    assert len(rows) > 2 * ROWS_TOGETHER
    assert [row.position for row in rows] == [Position(epoch, seq) for epoch in (1, 2) for seq in range(150)]


async def test_each_caller_gets_the_answer_to_its_own_question(reads: ReadThreads) -> None:
    async def ask(number: int) -> int:
        return await reads.read(lambda reader: number)

    count = 3 * READS_AT_ONCE
    assert await asyncio.gather(*map(ask, range(count))) == list(range(count))


async def test_a_read_that_fails_fails_its_caller_alone(reads: ReadThreads) -> None:
    def fail(reader: Reader) -> None:
        raise OSError("the disk is gone")

    failed, rows = await asyncio.gather(
        reads.read(fail), reads.read(lambda reader: reader.journal(A)), return_exceptions=True
    )
    assert isinstance(failed, OSError)
    assert isinstance(rows, list)
    assert len(rows) == 300


async def test_a_caller_that_goes_away_disturbs_nobody(reads: ReadThreads) -> None:
    hold, started = threading.Event(), threading.Event()

    def slow(reader: Reader) -> None:
        started.set()
        hold.wait(20)

    gone = asyncio.ensure_future(reads.read(slow))
    other = asyncio.ensure_future(reads.read(lambda reader: "here"))
    await asyncio.to_thread(started.wait, 20)
    gone.cancel()
    hold.set()
    assert await other == "here"
    assert gone.cancelled()


async def test_what_was_asked_before_the_close_is_answered(path: Path) -> None:
    reads = ReadThreads([Reader(path), Reader(path)], asyncio.get_running_loop())
    asked = [asyncio.ensure_future(reads.read(lambda reader: len(reader.journal(A)))) for _ in range(5)]
    await asyncio.sleep(0)
    await reads.close()
    assert await asyncio.gather(*asked) == [300] * 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("journal-read")]
