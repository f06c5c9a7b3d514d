"""Bundle stores to hold against the port's page, and small ways to upload and to look."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from loader.bundles.cache import CACHE_BYTES_MAX, BundleCache
from loader.bundles.cassandra.tables import CHUNK_BYTES, PART_CHUNKS, Statements
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store import Bundle, BundleStore, Upload
from loader.bundles.store_cassandra import CassandraBundleStore
from stepwell.names import Digest, TenantUid, WorkflowId
from tests.contract.cassandra_keyspace import Keyspace

ACME = TenantUid("acme1")
OTHER = TenantUid("other1")
MANIFEST = Manifest((WorkflowEntry(WorkflowId("order"), "main:Order"),), {"region": "eu"})
LARGE = {"main.py": b"x = 1\n", "data.bin": bytes(range(256)) * (PART_CHUNKS * CHUNK_BYTES // 256 + 10)}
"""More than one part."""
FILES = {"main.py": b"x = 1\n", "lib/deep/er.py": b"", "run.sh": b"#!/bin/sh\n"}


async def put(store: BundleStore, tenant: TenantUid = ACME, files: Mapping[str, bytes] = FILES) -> Upload:
    """An upload with all of its files, not committed yet."""
    incoming = store.upload(tenant)
    for path, content in files.items():
        await incoming.open(path, path.endswith(".sh"))
        step = max(4, len(content) // 8)
        for at in range(0, len(content), step):
            await incoming.write(content[at : at + step])
    return incoming


async def upload(store: BundleStore, tenant: TenantUid = ACME, files: Mapping[str, bytes] = FILES) -> Bundle:
    return await (await put(store, tenant, files)).commit(MANIFEST)


async def named(digest: Digest) -> bool:
    """As if a version's record named it."""
    return True


async def left_over(digest: Digest) -> bool:
    """As if no record named it."""
    return False


async def pulled(store: BundleStore, digest: Digest, tenant: TenantUid = ACME) -> dict[str, bytes]:
    async with store.pull(tenant, digest) as folder:
        return content(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class CassandraNodes:
    """Bundle stores of several nodes over one Cassandra, each with a cache of its own; all clocks show `now`, in ms."""

    def __init__(self, keyspace: Keyspace, folder: Path) -> None:
        self.now = 1_000_000_000
        self.keyspace = keyspace
        self.folder = folder
        self._ids = map("u{}".format, itertools.count(1))

    async def open(self, name: str = "a", cache_bytes_max: int = CACHE_BYTES_MAX) -> CassandraBundleStore:
        session = self.keyspace.session()
        return CassandraBundleStore(
            session,
            await Statements.prepare(session),
            await BundleCache.open(self.folder / name, cache_bytes_max),
            mint=self._ids.__next__,
            clock_ms=lambda: self.now,
        )


async def rows(nodes: CassandraNodes) -> list[tuple[str, str]]:
    """(kind, the upload's id) of all rows of all tenants."""
    session = nodes.keyspace.session()
    found = await session.execute(f"SELECT kind, name, upload FROM {session.keyspace}.bundles")
    return sorted((kind, upload or name) for kind, name, upload in found)


async def stored(nodes: CassandraNodes) -> set[str]:
    """Ids of the uploads that have bytes."""
    session = nodes.keyspace.session()
    return {upload for (upload,) in await session.execute(f"SELECT upload FROM {session.keyspace}.bundle_chunks")}
