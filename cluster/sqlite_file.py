"""The SQLite file behind the embedded cluster store: its tables, and each of the store's calls as plain SQL.

Synchronous, and used from one thread. apsw brings its own SQLite: distributions ship releases with the WAL-reset bug.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from cluster.store import Compare, Event, KeyValue, Operation, Put, TxnResult
from stepwell.errors import StepwellError, UnavailableError

APPLICATION_ID = 0x53574331
"""Marks the file as a Stepwell control store."""

FORMAT = 1

_TABLES = """
CREATE TABLE record (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL, mod_revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('revision', 0);
"""


class SqliteFileError(StepwellError):
    """The file can't be used as a control store: it is something else, or a newer release wrote it."""


class SqliteFile:
    """Opens the file for this process alone (`locking_mode=EXCLUSIVE`), making it when it is absent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = apsw.Connection(str(path))
        try:
            self._prepare()
        except apsw.BusyError as error:
            self._db.close()
            raise UnavailableError(
                f"{path} is in use by another process: one server serves one data directory"
            ) from error
        except apsw.NotADBError as error:
            self._db.close()
            raise SqliteFileError(f"{path} is not a Stepwell control store") from error
        except BaseException:
            self._db.close()
            raise

    def get(self, key: str) -> KeyValue | None:
        row = self._db.execute(
            "SELECT key, value, create_revision, mod_revision FROM record WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else KeyValue(*row)

    def range(self, prefix: str, after: str, limit: int) -> tuple[KeyValue, ...]:
        rows = self._db.execute(
            "SELECT key, value, create_revision, mod_revision FROM record"
            " WHERE key >= ?1 AND key > ?2 AND substr(key, 1, ?3) = ?1 AND (?4 IS NULL OR key < ?4)"
            " ORDER BY key LIMIT ?5",
            (prefix, after, len(prefix), _end_of(prefix), limit),
        )
        return tuple(KeyValue(*row) for row in rows)

    def revision(self) -> int:
        return int(self._db.execute("SELECT value FROM counter WHERE name = 'revision'").get)

    def txn(
        self, compares: tuple[Compare, ...], operations: tuple[Operation, ...]
    ) -> tuple[TxnResult, tuple[Event, ...]]:
        """One transaction, durable when this returns. Raises apsw.Error when it may or may not have happened."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result, events = self._apply(compares, operations)
            self._db.execute("COMMIT" if events else "ROLLBACK")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return result, events

    def close(self) -> None:
        self._db.close()

    def _apply(
        self, compares: tuple[Compare, ...], operations: tuple[Operation, ...]
    ) -> tuple[TxnResult, tuple[Event, ...]]:
        newest = self.revision()
        if any(self._mod_revision(compare.key) != compare.mod_revision for compare in compares):
            return TxnResult(False, newest), ()
        revision = newest + 1
        events = tuple(event for operation in operations if (event := self._write(operation, revision)) is not None)
        if not events:
            return TxnResult(True, newest), ()
        self._db.execute("UPDATE counter SET value = ? WHERE name = 'revision'", (revision,))
        return TxnResult(True, revision), events

    def _write(self, operation: Operation, revision: int) -> Event | None:
        if isinstance(operation, Put):
            self._db.execute(
                "INSERT INTO record VALUES (?1, ?2, ?3, ?3)"
                " ON CONFLICT (key) DO UPDATE SET value = ?2, mod_revision = ?3",
                (operation.key, operation.value, revision),
            )
            return Event(operation.key, operation.value, revision)
        self._db.execute("DELETE FROM record WHERE key = ?", (operation.key,))
        return Event(operation.key, None, revision) if self._db.changes() else None

    def _mod_revision(self, key: str) -> int:
        row = self._db.execute("SELECT mod_revision FROM record WHERE key = ?", (key,)).fetchone()
        return 0 if row is None else int(row[0])

    def _prepare(self) -> None:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        # With the lock mode EXCLUSIVE the first write takes the file; without one, two processes could both open it.
        self._db.execute("BEGIN EXCLUSIVE")
        try:
            self._check_or_create()
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._keep_directory_entries()

    def _keep_directory_entries(self) -> None:
        """A new file is lost with its directory's entry: make that durable too."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _check_or_create(self) -> None:
        application_id = self._db.pragma("application_id")
        tables = self._db.execute("SELECT count(*) FROM sqlite_schema").get
        if application_id == 0 and tables == 0:
            self._db.execute(_TABLES)
            self._db.pragma("application_id", APPLICATION_ID)
            self._db.pragma("user_version", FORMAT)
            return
        if application_id != APPLICATION_ID:
            raise SqliteFileError(f"{self._path} is not a Stepwell control store")
        found = self._db.pragma("user_version")
        if found != FORMAT:
            raise SqliteFileError(
                f"{self._path} has format {found}, this program knows {FORMAT}: start the release that wrote it,"
                " or a newer one"
            )


def _end_of(prefix: str) -> str | None:
    """The first key past all that start with the prefix, where SQLite may stop; None when it is not worth it."""
    if not prefix or ord(prefix[-1]) >= 0x7E:
        return None
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
