"""Mutations as SQL: what each writes, unless something newer is there already.

`bind` is called where the mutation is made and touches no database: encoded there, while the commit before it waits
for the disk, rows cost the committing thread little. `commit` runs what was bound, grouped by statement, as one
transaction. Grouping reorders mutations, which is sound because stamps decide and not arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, assert_never

import apsw
import msgspec

from data_plane.journal.codec import RowCodec
from data_plane.journal.store import (
    DeleteInstance,
    DropBucket,
    Mutation,
    PutBlob,
    PutListing,
    PutMark,
    PutRow,
    PutWake,
)


class Statement(IntEnum):
    """In the order in which a transaction runs them."""

    PUT_BLOB = 0
    PUT_WAKE = 1
    PUT_ROW = 2
    PUT_LISTING = 3
    PUT_MARK = 4
    DROP_BUCKET = 5
    DELETE_INSTANCE = 6


Bound = tuple[Statement, tuple[Any, ...], str, int]
"""The statement, its parameters, whose it is ("" for the shard's own), and the bytes of its data. A plain tuple, since
there is one a step, and a named one costs a microsecond more on its way to the disk."""

_encode = msgspec.json.Encoder().encode

_TOGETHER: dict[Statement, str] = {
    Statement.PUT_WAKE: (
        "INSERT INTO wakes SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,"
        " value ->> 6 FROM json_each(?1)"
        " WHERE NOT EXISTS (SELECT 1 FROM drops WHERE shard = value ->> 0 AND bucket = value ->> 1"
        " AND stamp >= value ->> 6)"
        " ON CONFLICT DO UPDATE SET stamp = excluded.stamp WHERE excluded.stamp > stamp"
    ),
    Statement.PUT_ROW: (
        "INSERT INTO rows SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,"
        " unhex(value ->> 6) FROM json_each(?1)"
        " WHERE NOT EXISTS (SELECT 1 FROM deletes WHERE tenant = value ->> 0 AND workflow = value ->> 1"
        " AND instance = value ->> 2 AND stamp >= value ->> 5)"
        " ON CONFLICT DO UPDATE SET stamp = excluded.stamp, append = excluded.append WHERE excluded.stamp > stamp"
    ),
    Statement.PUT_LISTING: (
        "INSERT INTO listings SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,"
        " value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10 FROM json_each(?1)"
        " WHERE NOT EXISTS (SELECT 1 FROM deletes WHERE tenant = value ->> 0 AND workflow = value ->> 1"
        " AND instance = value ->> 2 AND uid = value ->> 3 AND created_at = value ->> 4 AND stamp >= value ->> 9)"
        " ON CONFLICT DO UPDATE SET status = excluded.status, digest = excluded.digest,"
        " started_at = excluded.started_at, ended_at = excluded.ended_at, stored_bytes = excluded.stored_bytes,"
        " stamp = excluded.stamp"
        " WHERE excluded.stamp > stamp"
    ),
}
"""What every instance writes: all of a commit as one JSON array of arrays. The GIL is given up once a statement: with a
statement each, two threads would hand it to and fro more often than they work (docs/adr/0003)."""

_ONE_BY_ONE: dict[Statement, tuple[str, ...]] = {
    Statement.PUT_BLOB: (
        "INSERT INTO blobs SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7"
        " WHERE NOT EXISTS (SELECT 1 FROM deletes WHERE tenant = ?1 AND workflow = ?2 AND instance = ?3"
        " AND uid = ?4 AND stamp >= ?6)"
        " ON CONFLICT DO UPDATE SET stamp = excluded.stamp, data = excluded.data WHERE excluded.stamp > stamp",
    ),
    Statement.PUT_MARK: (
        "INSERT INTO marks VALUES (?1, ?2, ?3, ?4)"
        " ON CONFLICT DO UPDATE SET bucket = excluded.bucket, stamp = excluded.stamp WHERE excluded.stamp > stamp",
    ),
    Statement.DROP_BUCKET: (
        "DELETE FROM wakes WHERE shard = ?1 AND bucket = ?2 AND stamp <= ?3",
        "INSERT INTO drops VALUES (?1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET stamp = excluded.stamp WHERE excluded.stamp > stamp",
    ),
}

BLOBS_DELETED_MAX = 16
ROWS_DELETED_MAX = 2_000
"""Of one instance in one transaction: a removal of a gigabyte at once would hold everybody up for half a second."""

_DELETE: tuple[tuple[str, int], ...] = (
    (
        "DELETE FROM blobs WHERE rowid IN (SELECT rowid FROM blobs WHERE tenant = ?1 AND workflow = ?2"
        f" AND instance = ?3 AND uid = ?4 AND stamp <= ?6 LIMIT {BLOBS_DELETED_MAX})",
        BLOBS_DELETED_MAX,
    ),
    (
        "DELETE FROM listings WHERE tenant = ?1 AND workflow = ?2 AND instance = ?3 AND uid = ?4 AND created_at = ?5"
        " AND stamp <= ?6",
        0,
    ),
    (
        "DELETE FROM rows WHERE (tenant, workflow, instance, epoch, seq) IN (SELECT tenant, workflow, instance, epoch,"
        " seq FROM rows WHERE tenant = ?1 AND workflow = ?2 AND instance = ?3 AND stamp <= ?6"
        f" ORDER BY epoch, seq LIMIT {ROWS_DELETED_MAX})",
        ROWS_DELETED_MAX,
    ),
    (
        "INSERT INTO deletes VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT DO UPDATE SET stamp = excluded.stamp WHERE excluded.stamp > stamp",
        0,
    ),
)
"""In this order, each with how many rows it takes at most: as many say that there may be more."""


def bind(mutation: Mutation, codec: RowCodec) -> Bound:
    """The mutation as a statement and its parameters. Raises ValueError for what can't be stored."""
    match mutation:
        case PutRow(key, row, stamp):
            encoded = _encode((*key, *row.position, stamp.as_one_number(), codec.encode(row).hex()))
            return (Statement.PUT_ROW, (encoded,), key.tenant, len(encoded))
        case PutWake(shard, wake, stamp):
            encoded = _encode((shard, wake.bucket, wake.due, *wake.key, stamp.as_one_number()))
            return (Statement.PUT_WAKE, (encoded,), wake.key.tenant, len(encoded))
        case PutListing(listing, stamp):
            what = (
                listing.status,
                listing.digest,
                listing.started_at,
                listing.ended_at,
                stamp.as_one_number(),
                listing.stored_bytes,
            )
            encoded = _encode((*listing.key, listing.uid, listing.created_at, *what))
            return (Statement.PUT_LISTING, (encoded,), listing.key.tenant, len(encoded))
        case PutBlob(key, uid, id, data, stamp):
            return (Statement.PUT_BLOB, (*key, uid, id, stamp.as_one_number(), data), key.tenant, len(data))
        case PutMark(shard, epoch, bucket, stamp):
            return (Statement.PUT_MARK, (shard, epoch, bucket, stamp.as_one_number()), "", 0)
        case DropBucket(shard, bucket, stamp):
            return (Statement.DROP_BUCKET, (shard, bucket, stamp.as_one_number()), "", 0)
        case DeleteInstance(key, uid, created_at, stamp):
            return (Statement.DELETE_INSTANCE, (*key, uid, created_at, stamp.as_one_number()), key.tenant, 0)
        case _:
            assert_never(mutation)


def commit(connection: apsw.Connection, batch: Sequence[Bound]) -> set[Bound]:
    """Make what was bound, which is something, durable: all of it or nothing.

    Returns the removals of which a part is left: the same again takes the next part.
    """
    groups: list[list[tuple[Any, ...]]] = [[] for _ in Statement]
    for statement, parameters, _, _ in batch:
        groups[statement].append(parameters)
    used = [statement for statement in Statement if groups[statement]]
    whole = len(used) > 1 or used[0] not in _TOGETHER  # one statement is a transaction by itself
    unfinished: set[Bound] = set()
    if whole:
        connection.execute("BEGIN IMMEDIATE")
    for statement in used:
        if statement in _TOGETHER:
            cells = b",".join([encoded for (encoded,) in groups[statement]])
            connection.execute(_TOGETHER[statement], (f"[{cells.decode()}]",))
        elif statement is Statement.DELETE_INSTANCE:
            removals = [bound for bound in batch if bound[0] is Statement.DELETE_INSTANCE]
            unfinished = {removal for removal in removals if not _removed(connection, removal[1])}
        else:
            for sql in _ONE_BY_ONE[statement]:
                connection.executemany(sql, groups[statement])
    if whole:
        connection.execute("COMMIT")
    return unfinished


def _removed(connection: apsw.Connection, parameters: tuple[Any, ...]) -> bool:
    """Remove the next part; whether it was the last."""
    for sql, most in _DELETE:
        connection.execute(sql, parameters)
        if most and connection.changes() == most:
            return False
    return True
