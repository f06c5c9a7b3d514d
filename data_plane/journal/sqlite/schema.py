"""journal.db: its tables, and how a connection to it is opened.

Tables are keyed as they would be in a replicated store, partition first, and WITHOUT ROWID, so that a partition's rows
are neighbours; blobs are too large for that and keep a rowid. A cell's stamp is one integer, epoch and counter, as in
Cassandra. `deletes` and `drops` remember what was removed, for mutations that arrive after it with a lower stamp.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from data_plane.journal.store import StoredFormatError

SCHEMA_VERSION = 2

BUSY_TIMEOUT_MS = 10_000
"""How long to wait for another program that holds the database, such as an operator's sqlite3, before giving up."""

_TABLES = """
CREATE TABLE rows (
  tenant TEXT, workflow TEXT, instance TEXT, epoch INTEGER, seq INTEGER, stamp INTEGER, append BLOB,
  PRIMARY KEY (tenant, workflow, instance, epoch, seq)
) WITHOUT ROWID;
CREATE TABLE blobs (
  tenant TEXT, workflow TEXT, instance TEXT, uid TEXT, id TEXT, stamp INTEGER, data BLOB,
  PRIMARY KEY (tenant, workflow, instance, uid, id)
);
CREATE TABLE listings (
  tenant TEXT, workflow TEXT, instance TEXT, uid TEXT, created_at INTEGER, status TEXT, digest TEXT,
  started_at INTEGER, ended_at INTEGER, stamp INTEGER, stored_bytes INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, workflow, created_at, instance, uid)
) WITHOUT ROWID;
CREATE INDEX listings_by_status ON listings (tenant, workflow, status, created_at, instance, uid);
CREATE TABLE deletes (
  tenant TEXT, workflow TEXT, instance TEXT, uid TEXT, created_at INTEGER, stamp INTEGER,
  PRIMARY KEY (tenant, workflow, instance, uid, created_at)
) WITHOUT ROWID;
CREATE TABLE wakes (
  shard INTEGER, bucket INTEGER, due INTEGER, tenant TEXT, workflow TEXT, instance TEXT, stamp INTEGER,
  PRIMARY KEY (shard, bucket, due, tenant, workflow, instance)
) WITHOUT ROWID;
CREATE TABLE drops (shard INTEGER, bucket INTEGER, stamp INTEGER, PRIMARY KEY (shard, bucket)) WITHOUT ROWID;
CREATE TABLE marks (
  shard INTEGER, epoch INTEGER, bucket INTEGER, stamp INTEGER, PRIMARY KEY (shard, epoch)
) WITHOUT ROWID;
CREATE TABLE opened (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
INSERT INTO opened VALUES (1, 0);
"""


_MIGRATIONS = {1: ("ALTER TABLE listings ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0",)}
"""What makes the tables of an older version those of the next. What instances of version 1 have stored counts from
their next change on."""


def connect(path: Path) -> apsw.Connection:
    """A connection whose commits are on the disk when they return. The file is the owner's alone."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("cache_size", -32 * 1024)
    connection.wal_autocheckpoint(0)
    return connection


def connect_reader(path: Path) -> apsw.Connection:
    """A connection that can't write."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("query_only", True)
    connection.pragma("cache_size", -8 * 1024)
    connection.wal_autocheckpoint(0)
    return connection


def prepare(connection: apsw.Connection) -> int:
    """Make the tables where there are none, forget what only earlier epochs could meet, and raise the epoch: durably.

    The caller holds the data directory's lock: no earlier epoch is alive, so nothing with a lower stamp can arrive,
    and of the low marks only the newest will be read. Raises StoredFormatError for a newer program's database.
    """
    with connection:
        version = connection.pragma("user_version")
        if version > SCHEMA_VERSION:
            raise StoredFormatError(
                f"{connection.filename} has schema {version}, this program knows {SCHEMA_VERSION}: "
                "run the version of Stepwell that wrote it, or a newer one"
            )
        if version == 0:
            connection.execute(_TABLES)
        else:
            for older in range(version, SCHEMA_VERSION):
                for statement in _MIGRATIONS[older]:
                    connection.execute(statement)
        connection.pragma("user_version", SCHEMA_VERSION)
        connection.execute("DELETE FROM deletes")
        connection.execute("DELETE FROM drops")
        connection.execute(
            "DELETE FROM marks AS old WHERE EXISTS (SELECT 1 FROM marks WHERE shard = old.shard AND epoch > old.epoch)"
        )
        connection.execute("UPDATE opened SET epoch = epoch + 1")
        [(epoch,)] = connection.execute("SELECT epoch FROM opened").fetchall()
    assert isinstance(epoch, int)
    return epoch
