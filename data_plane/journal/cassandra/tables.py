"""The journal store's tables, and the statements over them.

A row's timestamp is its mutation's stamp (USING TIMESTAMP), never a clock. So compaction by time windows must not be
used on these tables: it trusts timestamps to be times. No statement is conditional, and none reads before it writes.

- `journal`: an instance is one partition, an append one row of one cell, written without a row marker.
- `blobs`: all of an instance's are one partition, since its deletion names none of them.
- `wakes`: a partition a shard and bucket, dropped whole.
- `listings`: a partition an hour of a workflow; `listing_hours` says which there are, and is written first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cassandra.query import PreparedStatement

from cluster.cassandra.schema import Component, Table
from cluster.cassandra.session import CassandraSession

HOUR_MS: Final = 3_600_000
"""Of a partition of listings: at 100 instances a second and 200 bytes a row, 72 MB."""

CHUNK_BYTES: Final = 256 * 1024
"""Of a blob, in one cell: far below the size that Cassandra warns of."""

_COMPACTION: Final = "compaction = {'class': 'UnifiedCompactionStrategy'}"
"""Cassandra 5's own choice for tables that are written, read soon or never, and deleted (docs/adr/0017)."""

COMPONENT: Final = Component(
    "journal",
    1,
    (
        Table(
            "journal",
            {"tenant": "text", "workflow": "text", "instance": "text"},
            {"epoch": "int", "seq": "bigint"},
            {"append": "blob"},
            options=(_COMPACTION,),
        ),
        Table(
            "blobs",
            {"tenant": "text", "workflow": "text", "instance": "text", "uid": "text"},
            {"id": "text", "chunk": "int"},
            {"chunks": "int", "data": "blob"},
            options=(_COMPACTION,),
        ),
        Table(
            "wakes",
            {"shard": "int", "bucket": "bigint"},
            {"due": "bigint", "tenant": "text", "workflow": "text", "instance": "text"},
            options=(_COMPACTION,),
        ),
        Table("marks", {"shard": "int"}, {"epoch": "int"}, {"bucket": "bigint"}, options=(_COMPACTION,)),
        Table(
            "listing_hours",
            {"tenant": "text"},
            {"workflow": "text", "hour": "bigint"},
            options=(_COMPACTION,),
        ),
        Table(
            "listings",
            {"tenant": "text", "workflow": "text", "hour": "bigint"},
            {"created_at": "bigint", "instance": "text", "uid": "text"},
            {
                "status": "text",
                "digest": "text",
                "started_at": "bigint",
                "ended_at": "bigint",
                "stored_bytes": "bigint",
            },
            descending=True,
            options=(_COMPACTION,),
        ),
    ),
)

_INSTANCE: Final = "tenant = ? AND workflow = ? AND instance = ?"
_HOUR: Final = "tenant = ? AND workflow = ? AND hour = ?"
_LISTED: Final = "created_at, instance, uid, status, digest, started_at, ended_at, stored_bytes"


@dataclass(frozen=True, slots=True)
class Statements:
    """Each by what it does; the stamp comes first, then the key."""

    put_row: PreparedStatement
    put_blob: PreparedStatement
    put_wake: PreparedStatement
    put_mark: PreparedStatement
    put_listing_hour: PreparedStatement
    put_listing: PreparedStatement
    drop_bucket: PreparedStatement
    delete_blobs: PreparedStatement
    delete_listing: PreparedStatement
    delete_journal: PreparedStatement
    journal: PreparedStatement
    journal_first: PreparedStatement
    journal_some: PreparedStatement
    blob: PreparedStatement
    wakes: PreparedStatement
    marks: PreparedStatement
    listing_hours: PreparedStatement
    listings: PreparedStatement
    listings_after: PreparedStatement
    stored_bytes: PreparedStatement

    @classmethod
    async def prepare(cls, session: CassandraSession) -> Statements:
        """Raises UnavailableError, also where a table is missing."""
        k = session.keyspace
        some = f"SELECT epoch, seq, append FROM {k}.journal WHERE {_INSTANCE} AND (epoch, seq) >= (?, ?)"
        cql = {
            "put_row": f"UPDATE {k}.journal USING TIMESTAMP ? SET append = ?"
            f" WHERE {_INSTANCE} AND epoch = ? AND seq = ?",
            "put_blob": f"UPDATE {k}.blobs USING TIMESTAMP ? SET chunks = ?, data = ?"
            f" WHERE {_INSTANCE} AND uid = ? AND id = ? AND chunk = ?",
            "put_wake": f"INSERT INTO {k}.wakes (shard, bucket, due, tenant, workflow, instance)"
            " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            "put_mark": f"UPDATE {k}.marks USING TIMESTAMP ? SET bucket = ? WHERE shard = ? AND epoch = ?",
            "put_listing_hour": f"INSERT INTO {k}.listing_hours (tenant, workflow, hour)"
            " VALUES (?, ?, ?) USING TIMESTAMP 1",
            "put_listing": f"UPDATE {k}.listings USING TIMESTAMP ?"
            " SET status = ?, digest = ?, started_at = ?, ended_at = ?,"
            f" stored_bytes = ? WHERE {_HOUR} AND created_at = ? AND instance = ? AND uid = ?",
            "drop_bucket": f"DELETE FROM {k}.wakes USING TIMESTAMP ? WHERE shard = ? AND bucket = ?",
            "delete_blobs": f"DELETE FROM {k}.blobs USING TIMESTAMP ? WHERE {_INSTANCE} AND uid = ?",
            "delete_listing": f"DELETE FROM {k}.listings USING TIMESTAMP ?"
            f" WHERE {_HOUR} AND created_at = ? AND instance = ? AND uid = ?",
            "delete_journal": f"DELETE FROM {k}.journal USING TIMESTAMP ? WHERE {_INSTANCE}",
            "journal": f"SELECT epoch, seq, append FROM {k}.journal WHERE {_INSTANCE}",
            "journal_first": f"{some} LIMIT 1",
            "journal_some": some,
            "blob": f"SELECT chunks, data FROM {k}.blobs WHERE {_INSTANCE} AND uid = ? AND id = ?",
            "wakes": f"SELECT due, tenant, workflow, instance FROM {k}.wakes WHERE shard = ? AND bucket = ?",
            "marks": f"SELECT epoch, bucket FROM {k}.marks WHERE shard = ?",
            "listing_hours": f"SELECT workflow, hour FROM {k}.listing_hours WHERE tenant = ?",
            "listings": f"SELECT {_LISTED} FROM {k}.listings WHERE {_HOUR}",
            "listings_after": f"SELECT {_LISTED} FROM {k}.listings WHERE {_HOUR}"
            " AND (created_at, instance, uid) < (?, ?, ?)",
            "stored_bytes": f"SELECT stored_bytes FROM {k}.listings WHERE {_HOUR}",
        }  # fmt: skip
        return cls(**{name: await session.prepare(text) for name, text in cql.items()})
