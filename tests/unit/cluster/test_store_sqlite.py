"""What is SQLite's own among the cluster stores: durability, one process a file, failure, watches' bounds."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from cluster import watch_hub
from cluster.sqlite_file import FORMAT, SqliteFile, SqliteFileError
from cluster.store import CompactedError, Event, Put
from cluster.store_sqlite import open_sqlite_store
from stepwell.errors import UnavailableError


def never_fatal(error: BaseException) -> None:
    raise AssertionError(error)


async def test_what_was_answered_is_there_after_opening_again(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal) as store:
        await store.txn((), (Put("a", b"1"),))
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal) as store:
        found = await store.get("a")
        assert found is not None
        assert (found.value, await store.revision()) == (b"1", 1)


async def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    program = """
import asyncio, os, signal, sys
from pathlib import Path
from cluster.store import Put
from cluster.store_sqlite import open_sqlite_store
async def main():
    async with open_sqlite_store(Path(sys.argv[1]), on_fatal=print) as store:
        for n in range(20):
            await store.txn((), (Put(f"a/{n}", b""),))
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    path = tmp_path / "control.db"
    command = [sys.executable, "-c", program, str(path)]
    ended = await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert ended.returncode == -9
    async with open_sqlite_store(path, on_fatal=never_fatal) as store:
        assert len(await store.range("a/", limit=99)) == 20


async def test_a_second_opening_of_the_file_is_refused(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal):
        with pytest.raises(UnavailableError, match="in use by another process"):
            SqliteFile(tmp_path / "control.db")


def test_every_commit_is_synced(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "control.db")
    settings = {name: file._db.pragma(name) for name in ("journal_mode", "synchronous", "locking_mode")}
    file.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "locking_mode": "exclusive"}


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    SqliteFile(tmp_path / "control.db").close()
    with apsw.Connection(str(tmp_path / "control.db")) as db:
        db.pragma("user_version", FORMAT + 1)
    db.close()
    with pytest.raises(SqliteFileError, match="or a newer one"):
        SqliteFile(tmp_path / "control.db")


@pytest.mark.parametrize("content", ["another database", "no database"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "control.db"
    if content == "no database":
        path.write_text("to whom it may concern, " * 100)
    else:
        db = apsw.Connection(str(path))
        db.execute("CREATE TABLE theirs (x)")
        db.close()
    with pytest.raises(SqliteFileError, match="not a Stepwell control store"):
        SqliteFile(path)


async def test_a_failed_commit_ends_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fatal: list[BaseException] = []

    def failing(*args: Any) -> Any:
        raise apsw.IOError("fsync failed")

    async with open_sqlite_store(tmp_path / "control.db", on_fatal=fatal.append) as store:
        watch = store.watch("", after=0)
        await anext(watch)
        monkeypatch.setattr(SqliteFile, "txn", failing)
        with pytest.raises(UnavailableError, match="failed to write"):
            await store.txn((), (Put("a", b""),))
        assert [str(error) for error in fatal] == ["fsync failed"]
        with pytest.raises(UnavailableError, match="failed to write"):
            await store.get("a")
        with pytest.raises(UnavailableError):
            await anext(watch)


async def test_a_cancelled_transaction_that_happened_is_told_to_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, real = threading.Event(), threading.Event(), SqliteFile.txn

    def held(file: SqliteFile, *args: Any) -> Any:
        began.set()
        go_on.wait(10)
        return real(file, *args)

    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal) as store:
        watch = store.watch("", after=0)
        await anext(watch)
        monkeypatch.setattr(SqliteFile, "txn", held)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(store.txn((), (Put("a", b""),)))
            await asyncio.to_thread(began.wait, 10)
            writing.cancel()
        go_on.set()
        assert writing.cancelled()
        batch = await anext(watch)
        assert [event.key for event in batch.events] == ["a"]
        await watch.aclose()


async def test_the_event_loop_is_free_while_the_store_writes(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal) as store:
        turns = 0
        writing = asyncio.gather(*(store.txn((), (Put(f"a/{n}", b""),)) for n in range(50)))
        while not writing.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 50


async def test_closing_ends_watches_and_refuses_calls(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal) as store:
        watch = store.watch("", after=0)
        await anext(watch)
    with pytest.raises(UnavailableError, match="stopping"):
        await anext(watch)
    with pytest.raises(UnavailableError, match="stopping"):
        await store.get("a")


async def test_a_watch_from_before_the_process_started_is_told_to_list_again(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal) as store:
        await store.txn((), (Put("a", b""),))
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=never_fatal) as store:
        with pytest.raises(CompactedError):
            await anext(store.watch("", after=0))


async def test_a_watch_that_lags_too_far_behind_is_told_to_list_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "BUFFER_MAX", 3)
    hub = watch_hub.WatchHub(0)
    watch = hub.watch("a", 0)
    await anext(watch)
    for revision in range(1, 5):
        hub.publish(revision, (Event("a", b"", revision),))
    with pytest.raises(CompactedError, match="lags"):
        await anext(watch)


async def test_the_past_that_is_kept_for_watches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_hub, "HISTORY_MAX", 3)
    hub = watch_hub.WatchHub(0)
    for revision in range(1, 6):
        hub.publish(revision, (Event("a", b"", revision),))
    batch = await anext(hub.watch("a", 2))
    assert [event.mod_revision for event in batch.events] == [3, 4, 5]
    with pytest.raises(CompactedError):
        await anext(hub.watch("a", 1))


async def test_a_quiet_watch_shows_that_it_lives() -> None:
    hub = watch_hub.WatchHub(7, progress_seconds=0.001)
    watch = hub.watch("a", 7)
    for _ in range(3):
        batch = await anext(watch)
        assert (batch.revision, batch.events) == (7, ())
    await watch.aclose()
