"""logs.db: its tables, and each of the store's calls as plain SQL.

Synchronous; what writes is used from one thread, what reads from another. A commit is in the write-ahead log when it
returns and on the disk some time later (`synchronous=NORMAL`): killing the server loses nothing that was committed,
losing power may, and neither damages the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from data_plane.logs.limits import LogLimits
from data_plane.logs.store import Line, LogKey, NumberedLine, Stream
from stepwell.errors import StepwellError
from stepwell.names import TenantUid

SCHEMA_VERSION = 1

BUSY_TIMEOUT_MS = 10_000
"""How long to wait for another program that holds the file, such as an operator's sqlite3."""

KEPT_PARTS, OF_PARTS = 7, 8
"""What is left where room is made: so that room is made for many lines at a time."""

EXPIRED_AT_ONCE = 100
"""Instances whose lines are removed in one transaction."""

_TABLES = """
CREATE TABLE lines (
  tenant TEXT, instance TEXT, number INTEGER, at INTEGER, step TEXT, count INTEGER, attempt INTEGER, stream INTEGER,
  text TEXT, dropped INTEGER, size INTEGER, PRIMARY KEY (tenant, instance, number)
) WITHOUT ROWID;
CREATE TABLE instances (
  tenant TEXT, instance TEXT, number INTEGER, size INTEGER, oldest_at INTEGER, newest_at INTEGER,
  PRIMARY KEY (tenant, instance)
) WITHOUT ROWID;
CREATE INDEX instances_by_quiet ON instances (tenant, newest_at) WHERE size > 0;
CREATE INDEX instances_by_age ON instances (oldest_at);
CREATE TABLE tenants (tenant TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID;
"""

_OF = "tenant = ? AND instance = ?"
_READ = """SELECT json_group_array(
  json_array(number, at, step, count, attempt, stream, text, dropped) ORDER BY number
) FROM (SELECT * FROM lines WHERE tenant = ? AND instance = ? AND number > ?{} ORDER BY number LIMIT ?)"""

_lines_decoder = msgspec.json.Decoder(list[tuple[int, int, str, int, int, Stream, str, int]])


class LogFileError(StepwellError):
    """The file can't be used for logs, and what to do about it."""


class SqliteLogFile:
    """Opens the file, making it when it is absent. Raises LogFileError when it is something else, damaged, or newer."""

    def __init__(self, path: Path, limits: LogLimits) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._instance_max = min(limits.instance_bytes_max, limits.tenant_bytes_max)
        self._tenant_max = limits.tenant_bytes_max
        self._db = apsw.Connection(str(path))
        self._db.set_busy_timeout(BUSY_TIMEOUT_MS)
        try:
            self._db.pragma("journal_mode", "wal")
            self._db.pragma("synchronous", "normal")
            self._prepare(path)
        except (apsw.NotADBError, apsw.CorruptError) as error:
            self._db.close()
            raise LogFileError(
                f"{path} is damaged, or is no log file: {error}. It holds what workflows printed and nothing else: "
                "move it away, and the server makes a new one"
            ) from error
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def append(self, batch: Sequence[tuple[LogKey, Sequence[Line]]]) -> None:
        with self._db:
            tenants: dict[TenantUid, int] = {}
            for key, lines in batch:
                tenants[key.tenant] = tenants.get(key.tenant, 0) + self._append(key, lines)
            for tenant, more in tenants.items():
                self._make_room_in_tenant(tenant, self._add_to_tenant(tenant, more))

    def delete(self, keys: Sequence[LogKey]) -> None:
        with self._db:
            for key in keys:
                for (size,) in self._rows(f"DELETE FROM instances WHERE {_OF} RETURNING size", key):
                    self._db.execute(f"DELETE FROM lines WHERE {_OF}", key)
                    self._add_to_tenant(key.tenant, -size)

    def expire(self, before: int) -> bool:
        found = self._rows(
            "SELECT tenant, instance, size, newest_at FROM instances WHERE oldest_at < ? LIMIT ?",
            (before, EXPIRED_AT_ONCE),
        )
        with self._db:
            for tenant, instance, size, newest_at in found:
                key = LogKey(tenant, instance)
                self._db.execute(f"DELETE FROM lines WHERE {_OF} AND at < ?", (*key, before))
                [(left,)] = self._rows(f"SELECT coalesce(sum(size), 0) FROM lines WHERE {_OF}", key)
                self._add_to_tenant(tenant, left - size)
                if left == 0 and newest_at < before:
                    self._db.execute(f"DELETE FROM instances WHERE {_OF}", key)
                else:
                    self._settle(key, left)
        return len(found) == EXPIRED_AT_ONCE

    def _append(self, key: LogKey, lines: Sequence[Line]) -> int:
        """How many bytes more there are of the instance."""
        known = self._rows(f"SELECT number, size FROM instances WHERE {_OF}", key)
        number: int
        before: int
        number, before = known[0] if known else (0, 0)
        rows: list[tuple[object, ...]] = []
        size = before
        for line in lines:
            missing = number if size == 0 else 0
            number += line.dropped + 1
            rows.append(
                (*key, number, line.at, line.step, line.count, line.attempt, line.stream, line.text,
                 line.dropped + missing, line.size())
            )  # fmt: skip
            size += line.size()
        self._db.executemany(f"INSERT INTO lines VALUES ({', '.join('?' * 11)})", rows)
        self._db.execute(
            "INSERT INTO instances VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET "
            "number = ?3, size = ?4, newest_at = max(newest_at, ?6), oldest_at = iif(size = 0, ?5, oldest_at)",
            (*key, number, size, lines[0].at, lines[-1].at),
        )
        if size > self._instance_max:
            size = self._make_room_in_instance(key, size)
        return size - before

    def _make_room_in_instance(self, key: LogKey, size: int) -> int:
        keep, last = self._instance_max * KEPT_PARTS // OF_PARTS, 0
        for number, line_size in self._rows(f"SELECT number, size FROM lines WHERE {_OF} ORDER BY number", key):
            if size <= keep:
                break
            size, last = size - line_size, number
        self._db.execute(f"DELETE FROM lines WHERE {_OF} AND number <= ?", (*key, last))
        self._settle(key, size)
        return size

    def _settle(self, key: LogKey, size: int) -> None:
        """After an instance's oldest lines went: note what is missing before the first that is left."""
        first = self._rows(f"SELECT number, at FROM lines WHERE {_OF} ORDER BY number LIMIT 1", key)
        for number, _ in first:
            self._db.execute(f"UPDATE lines SET dropped = number - 1 WHERE {_OF} AND number = ?", (*key, number))
        oldest_at = first[0][1] if first else None
        self._db.execute(
            f"UPDATE instances SET size = ?, oldest_at = coalesce(?, newest_at) WHERE {_OF}", (size, oldest_at, *key)
        )

    def _add_to_tenant(self, tenant: TenantUid, more: int) -> int:
        """The tenant's bytes then."""
        [(size,)] = self._rows(
            "INSERT INTO tenants VALUES (?1, ?2) ON CONFLICT DO UPDATE SET size = size + ?2 RETURNING size",
            (tenant, more),
        )
        return int(size)

    def _make_room_in_tenant(self, tenant: TenantUid, size: int) -> None:
        if size <= self._tenant_max:
            return
        keep, over = self._tenant_max * KEPT_PARTS // OF_PARTS, size
        for instance, its_size in self._rows(
            "SELECT instance, size FROM instances WHERE tenant = ? AND size > 0 ORDER BY newest_at", (tenant,)
        ):
            if over <= keep:
                break
            self._db.execute(f"DELETE FROM lines WHERE {_OF}", (tenant, instance))
            self._settle(LogKey(tenant, instance), 0)
            over -= its_size
        self._add_to_tenant(tenant, over - size)

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._db.execute(query, values).fetchall()

    def _prepare(self, path: Path) -> None:
        with self._db:
            version = self._db.pragma("user_version")
            if version == 0:
                self._db.execute(_TABLES)
                self._db.pragma("user_version", SCHEMA_VERSION)
            elif version != SCHEMA_VERSION:
                raise LogFileError(
                    f"{path} has schema {version}, this program knows {SCHEMA_VERSION}: run the version of Stepwell "
                    "that wrote it, or a newer one, or move it away"
                )


class SqliteLogReader:
    """Reads beside the thread that writes."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        self._db.set_busy_timeout(BUSY_TIMEOUT_MS)
        self._db.pragma("query_only", True)

    def close(self) -> None:
        self._db.close()

    def read(self, key: LogKey, after: int, step: str, limit: int) -> Sequence[NumberedLine]:
        """SQLite hands the lines over as one: each row apart would wait for the GIL."""
        query = _READ.format(" AND step = ?" if step else "")
        values = (*key, after, step, limit) if step else (*key, after, limit)
        lines = _lines_decoder.decode(self._db.execute(query, values).get)
        return [
            NumberedLine(number, Line(at, step, count, attempt, stream, text, min(dropped, number - after - 1)))
            for number, at, step, count, attempt, stream, text, dropped in lines
        ]
