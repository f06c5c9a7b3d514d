"""Moves committed pages from the write-ahead log into the database without making commits wait.

SQLite's own automatic checkpoint runs inside the commit that crosses its limit, and that commit waits for every page
and a second fsync. Here a thread with a connection of its own copies while commits go on; only what they add
meanwhile is left for the writer's thread, between two commits, so that the log can start over instead of growing
while there is load.
"""

from __future__ import annotations

import threading
from pathlib import Path

import apsw

CHECKPOINT_PAGES = 8_192
"""32 MiB of log: a page that changes often is copied once for many commits, and opening after a crash reads little."""

FINISH_PAGES_MAX = 1_024
"""What the writer's thread may have left to copy itself: measured at 1 to 7 ms."""


class Checkpointer:
    """Owned by the thread that commits, which calls everything here."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._pages = 0
        self._copy: _Copy | None = None
        connection.set_wal_hook(self._committed)

    def after_commit(self) -> None:
        """Raises what a copy failed with: after a failed fsync, no later one proves anything."""
        if self._copy is not None and not self._copy.is_alive():
            copied, self._copy = self._copy.result(), None
            if self._pages - copied <= FINISH_PAGES_MAX:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._pages = 0
        if self._copy is None and self._pages >= CHECKPOINT_PAGES:
            self._copy = _Copy(self._path)
            self._copy.start()

    def close(self) -> None:
        if self._copy is not None:
            self._copy.join()

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK


class _Copy(threading.Thread):
    """One passive checkpoint: it waits for nobody and nobody waits for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="journal-checkpoint", daemon=True)
        self._path = path
        self._copied = 0
        self._error: apsw.Error | None = None

    def run(self) -> None:
        try:
            connection = apsw.Connection(str(self._path))
            try:
                connection.pragma("schema_version")  # a connection that has read nothing doesn't know of the log yet
                _, self._copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            finally:
                connection.close()
        except apsw.BusyError:
            """Somebody else runs a checkpoint: there will be another commit."""
        except apsw.Error as error:
            self._error = error

    def result(self) -> int:
        """Pages of the log that are in the database now."""
        if self._error is not None:
            raise self._error
        return self._copied
