"""The bundle store's tables, and the statements over them.

- `bundles`: a tenant is one partition, which everything that is decided about its bundles is decided in, by conditional
  statements alone. A row of kind `bundle`, named by its digest, is a bundle that is kept, and says under which upload's
  id its bytes are. A row of kind `upload`, named by its id, is of bytes that no bundle has: not yet, or, once it has
  `ended`, not any more. One batch makes the one of the other, or swaps two, so that bytes always have a row, and a
  bundle its bytes.
- `bundle_chunks`: the bytes of an upload, in partitions of 4 MiB. An id is used once, and what is written under it is
  written once: writes have the timestamp 1 and deletions 2, so that a write that comes late stays deleted.

At 1,000 versions of 64 KiB of manifest, a partition of `bundles` is 64 MB. Lists of files are among the chunks: they
may be over 10 MB, and what is decided goes through Paxos whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cassandra.query import PreparedStatement

from cluster.cassandra.schema import Component, Table
from cluster.cassandra.session import CassandraSession

CHUNK_BYTES: Final = 256 * 1024
"""In one cell: far below the size that Cassandra warns of."""

PART_CHUNKS: Final = 16
"""Chunks of a partition: 4 MiB, which one read brings."""

_COMPACTION: Final = "compaction = {'class': 'UnifiedCompactionStrategy'}"

COMPONENT: Final = Component(
    "bundles",
    1,
    (
        Table(
            "bundles",
            {"tenant": "text"},
            {"kind": "text", "name": "text"},
            {
                "upload": "text",
                "manifest": "blob",
                "digest": "text",
                "parts": "int",
                "begun_at": "bigint",
                "ended": "boolean",
            },
            options=(_COMPACTION,),
        ),
        Table(
            "bundle_chunks",
            {"tenant": "text", "upload": "text", "part": "int"},
            {"chunk": "int"},
            {"data": "blob"},
            options=(_COMPACTION,),
        ),
    ),
)

_BUNDLE: Final = "tenant = ? AND kind = 'bundle' AND name = ?"
_UPLOAD: Final = "tenant = ? AND kind = 'upload' AND name = ?"


@dataclass(frozen=True, slots=True)
class Statements:
    """Each by what it does."""

    begin: PreparedStatement
    keep: PreparedStatement
    replace: PreparedStatement
    delete: PreparedStatement
    end: PreparedStatement
    forget: PreparedStatement
    bundle: PreparedStatement
    decided_bundle: PreparedStatement
    uploads: PreparedStatement
    put_chunk: PreparedStatement
    delete_part: PreparedStatement
    part: PreparedStatement

    @classmethod
    async def prepare(cls, session: CassandraSession) -> Statements:
        """Raises UnavailableError, also where a table is missing."""
        k = session.keyspace
        upload = (
            f"INSERT INTO {k}.bundles (tenant, kind, name, digest, parts, begun_at, ended)"
            " VALUES (?, 'upload', ?, ?, ?, "
        )
        bundle = f"SELECT upload, manifest, parts FROM {k}.bundles WHERE {_BUNDLE}"
        return cls(
            begin=await session.prepare(f"{upload} ?, false) IF NOT EXISTS"),
            keep=await session.prepare(
                f"BEGIN BATCH INSERT INTO {k}.bundles (tenant, kind, name, upload, manifest, parts)"
                " VALUES (?, 'bundle', ?, ?, ?, ?) IF NOT EXISTS;"
                f" DELETE FROM {k}.bundles WHERE {_UPLOAD} IF ended = false; APPLY BATCH"
            ),
            replace=await session.prepare(
                f"BEGIN BATCH UPDATE {k}.bundles SET upload = ?, manifest = ?, parts = ? WHERE {_BUNDLE} IF upload = ?;"
                f" DELETE FROM {k}.bundles WHERE {_UPLOAD} IF ended = false; {upload} 0, true); APPLY BATCH"
            ),
            delete=await session.prepare(
                f"BEGIN BATCH DELETE FROM {k}.bundles WHERE {_BUNDLE} IF upload = ?; {upload} 0, true); APPLY BATCH"
            ),
            end=await session.prepare(f"UPDATE {k}.bundles SET ended = true WHERE {_UPLOAD} IF ended = false"),
            forget=await session.prepare(f"DELETE FROM {k}.bundles WHERE {_UPLOAD} IF ended = true"),
            bundle=await session.prepare(bundle),
            decided_bundle=await session.prepare(bundle, serial=True),
            uploads=await session.prepare(
                f"SELECT name, digest, parts, begun_at, ended FROM {k}.bundles"
                " WHERE tenant = ? AND kind = 'upload' LIMIT ?"
            ),
            put_chunk=await session.prepare(
                f"INSERT INTO {k}.bundle_chunks (tenant, upload, part, chunk, data)"
                " VALUES (?, ?, ?, ?, ?) USING TIMESTAMP 1"
            ),
            delete_part=await session.prepare(
                f"DELETE FROM {k}.bundle_chunks USING TIMESTAMP 2 WHERE tenant = ? AND upload = ? AND part = ?"
            ),
            part=await session.prepare(
                f"SELECT data FROM {k}.bundle_chunks WHERE tenant = ? AND upload = ? AND part = ?"
            ),
        )
