"""The reads, each one statement on a connection of its own that sees all that was committed before it began."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from data_plane.journal.codec import RowCodec
from data_plane.journal.pages import PageEnd
from data_plane.journal.sqlite.schema import connect_reader
from data_plane.journal.store import InstanceKey, Listing, Position, Row, Wake
from stepwell.names import InstanceId, InstanceUid, TenantUid, WorkflowId

ROWS_TOGETHER = 64
"""Rows of a journal that SQLite hands over as one: each time, the thread gives up the GIL, and waits for it again as
long as the event loop is busy. All of a large journal at once would be in memory several times."""

_JOURNAL = f"""SELECT json_group_array(json_array(epoch, seq, hex(append)) ORDER BY epoch, seq) FROM (
SELECT epoch, seq, append, (row_number() OVER (ORDER BY epoch, seq) - 1) / {ROWS_TOGETHER} AS part FROM rows
WHERE tenant = ? AND workflow = ? AND instance = ? AND (epoch, seq) >= (?, ?) ORDER BY epoch, seq LIMIT ?)
GROUP BY part ORDER BY part"""
_BEGINNING = Position(-1, -1)
_ALL_ROWS = -1
_INSTANCES = """SELECT DISTINCT tenant, workflow, instance FROM rows
WHERE (tenant, workflow, instance) > (?, ?, ?) ORDER BY tenant, workflow, instance LIMIT ?"""
_BLOB = "SELECT data FROM blobs WHERE tenant = ? AND workflow = ? AND instance = ? AND uid = ? AND id = ?"
_MARKS = "SELECT epoch, bucket FROM marks WHERE shard = ?"
_WAKES = """SELECT json_group_array(json_array(bucket, due, tenant, workflow, instance))
FROM (SELECT * FROM wakes WHERE shard = ? AND bucket BETWEEN ? AND ? ORDER BY bucket, due)"""
_LISTING = "created_at, instance, uid, status, digest, started_at, ended_at, stored_bytes"
_STORED_BYTES = "SELECT coalesce(sum(stored_bytes), 0) FROM listings WHERE tenant = ?"
_NEWEST_FIRST = "ORDER BY created_at DESC, instance DESC, uid DESC"

_rows_decoder = msgspec.json.Decoder(list[tuple[int, int, str]])
_wakes_decoder = msgspec.json.Decoder(list[tuple[int, int, TenantUid, WorkflowId, InstanceId]])


class Reader:
    """One connection, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = connect_reader(path)
        self._codec = RowCodec()

    def close(self) -> None:
        self._connection.close()

    def journal(self, key: InstanceKey, since: Position | None = None, rows_max: int | None = None) -> Sequence[Row]:
        values = (*key, *(since or _BEGINNING), _ALL_ROWS if rows_max is None else rows_max)
        return [
            self._codec.decode(Position(epoch, seq), bytes.fromhex(append))
            for (text,) in self._connection.execute(_JOURNAL, values)
            for epoch, seq, append in _rows_decoder.decode(text)
        ]

    def instances(self, after: InstanceKey | None, limit: int) -> list[InstanceKey]:
        found = self._all(_INSTANCES, (*(after or ("", "", "")), limit))
        return [InstanceKey(tenant, workflow, instance) for tenant, workflow, instance in found]

    def blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        for (data,) in self._all(_BLOB, (*key, uid, id)):
            return bytes(data)
        raise KeyError(f"instance {key} of uid {uid} has no blob {id}")

    def wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        """There may be many, so SQLite hands them over as one, as it does parts of a journal."""
        [(text,)] = self._all(_WAKES, (shard, first, last))
        return [
            Wake(bucket, due, InstanceKey(tenant, workflow, instance))
            for bucket, due, tenant, workflow, instance in _wakes_decoder.decode(text)
        ]

    def marks(self, shard: int) -> dict[int, int]:
        return dict(self._all(_MARKS, (shard,)))

    def stored_bytes(self, tenant: TenantUid) -> int:
        [(total,)] = self._all(_STORED_BYTES, (tenant,))
        return int(total)

    def listings(
        self,
        tenant: TenantUid,
        workflow: WorkflowId,
        statuses: Sequence[str],
        after: PageEnd | None,
        first: int,
        limit: int,
    ) -> list[Listing]:
        """Without statuses, all; none that was created before `first`."""
        query = listings_query(len(statuses), after is not None)
        place = (first, *(after or ()))
        if statuses:
            values = [value for status in statuses for value in (tenant, workflow, status, *place, limit)]
        else:
            values = [tenant, workflow, *place]
        return [
            Listing(InstanceKey(tenant, workflow, instance), uid, created_at, *rest)
            for created_at, instance, uid, *rest in self._all(query, (*values, limit))
        ]

    def _all(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall()


def listings_query(statuses: int, after: bool) -> str:
    """Each status is a range of its own in the index, merged here: a rare one is found at once among many others."""
    within = " AND created_at >= ?" + (" AND (created_at, instance, uid) < (?, ?, ?)" if after else "")
    select = f"SELECT {_LISTING} FROM listings"
    page = f"{within} {_NEWEST_FIRST} LIMIT ?"
    if not statuses:
        return f"{select} WHERE tenant = ? AND workflow = ?{page}"
    each = f"{select} INDEXED BY listings_by_status WHERE tenant = ? AND workflow = ? AND status = ?{page}"
    union = " UNION ALL ".join([f"SELECT * FROM ({each})"] * statuses)
    return f"SELECT * FROM ({union}) {_NEWEST_FIRST} LIMIT ?"
