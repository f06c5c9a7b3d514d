"""The log store's tables, and the statements over them. Here timestamps are times, and what is too old goes by itself.

- `log_blocks`: an instance is one partition, a block one row, named by the number of its last line. It knows how many
  bytes of lines there were up to its own, so that the newest and the oldest row tell what there is now.
- `log_sizes`: what each of a tenant's instances has, and when it printed last: for room to be made by. A tenant is 16
  partitions, since all of its instances write to them; what is removed leaves tombstones, which last an hour here.

Every row is written with a time to live. A delete that a replica missed for longer than `gc_grace_seconds` may come
undone there, until that time is over: of logs, that does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cassandra.query import PreparedStatement

from cluster.cassandra.schema import Component, Table
from cluster.cassandra.session import CassandraSession

SLICES: Final = 16
"""Partitions that a tenant's sizes are in. With the hour of a tombstone, 400 instances a second may make room."""

_GRACE: Final = "gc_grace_seconds = 3600"

COMPONENT: Final = Component(
    "logs",
    1,
    (
        Table(
            "log_blocks",
            {"tenant": "text", "instance": "text"},
            {"number": "bigint"},
            {"lines": "blob", "bytes": "int", "total": "bigint"},
            options=(
                "compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS',"
                " 'compaction_window_size': 1}",
                _GRACE,
            ),
        ),
        Table(
            "log_sizes",
            {"tenant": "text", "slice": "int"},
            {"instance": "text"},
            {"bytes": "bigint", "newest_at": "bigint"},
            options=("compaction = {'class': 'UnifiedCompactionStrategy'}", _GRACE),
        ),
    ),
)

_INSTANCE: Final = "tenant = ? AND instance = ?"
_SLICE: Final = "tenant = ? AND slice = ?"


@dataclass(frozen=True, slots=True)
class Statements:
    """Each by what it does; where there is a time to live, it comes last."""

    put_block: PreparedStatement
    put_size: PreparedStatement
    delete_blocks: PreparedStatement
    delete_blocks_before: PreparedStatement
    delete_size: PreparedStatement
    newest: PreparedStatement
    oldest: PreparedStatement
    sizes_of_blocks: PreparedStatement
    blocks: PreparedStatement
    sum_of_sizes: PreparedStatement
    sizes: PreparedStatement

    @classmethod
    async def prepare(cls, session: CassandraSession) -> Statements:
        """Raises UnavailableError, also where a table is missing."""
        k = session.keyspace
        block = f"SELECT number, bytes, total FROM {k}.log_blocks WHERE {_INSTANCE}"
        cql = {
            "put_block": f"INSERT INTO {k}.log_blocks (tenant, instance, number, lines, bytes, total)"
            " VALUES (?, ?, ?, ?, ?, ?) USING TTL ?",
            "put_size": f"INSERT INTO {k}.log_sizes (tenant, slice, instance, bytes, newest_at) VALUES (?, ?, ?, ?, ?)"
            " USING TTL ?",
            "delete_blocks": f"DELETE FROM {k}.log_blocks WHERE {_INSTANCE}",
            "delete_blocks_before": f"DELETE FROM {k}.log_blocks WHERE {_INSTANCE} AND number < ?",
            "delete_size": f"DELETE FROM {k}.log_sizes WHERE {_SLICE} AND instance = ?",
            "newest": f"{block} ORDER BY number DESC LIMIT 1",
            "oldest": f"{block} LIMIT 1",
            "sizes_of_blocks": f"SELECT number, bytes FROM {k}.log_blocks WHERE {_INSTANCE}",
            "blocks": f"SELECT lines FROM {k}.log_blocks WHERE {_INSTANCE} AND number > ?",
            "sum_of_sizes": f"SELECT sum(bytes) FROM {k}.log_sizes WHERE {_SLICE}",
            "sizes": f"SELECT instance, bytes, newest_at FROM {k}.log_sizes WHERE {_SLICE}",
        }
        return cls(**{name: await session.prepare(text) for name, text in cql.items()})
