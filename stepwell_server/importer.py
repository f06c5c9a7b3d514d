"""`stepwell import`: what `stepwell export` wrote becomes a cluster's. The composition root of a cluster's stores."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

from cluster.cassandra import schema
from cluster.cassandra.session import CassandraSession
from cluster.store_etcd import open_etcd_store
from data_plane.journal.store_cassandra import CassandraJournalStore
from loader.bundles.store_cassandra import CassandraBundleStore
from stepwell_server.cluster_config import NodeConfig, read_cluster_config
from stepwell_server.cluster_process import agree_on_shards
from stepwell_server.moving.claim import give_up
from stepwell_server.moving.importing import Cluster, Import, import_folder
from stepwell_server.moving.refusals import MoveRefusedError
from stepwell_server.process import StartError, clock, mint
from stepwell_server.schema import COMPONENTS
from stepwell_server.sections import ConfigError


def run(folder: Path, config_path: Path | None) -> dict[str, str | int | bool]:
    """Import, and say what is in the cluster now. Raises MoveRefusedError, UnavailableError."""
    imported = asyncio.run(_import(folder, _config(config_path)))
    done = {"alreadyImported": imported.was_done, "takenUp": imported.was_begun}
    return {"folder": str(folder), "checksum": imported.checksum, **asdict(imported.counts), **done}


def run_give_up(config_path: Path | None) -> None:
    """End an import without finishing it. Raises MoveRefusedError where that is too late, UnavailableError."""
    config = _config(config_path)

    async def given_up() -> None:
        async with open_etcd_store(config.etcd_settings()) as store:
            await give_up(store)

    asyncio.run(given_up())


def _config(path: Path | None) -> NodeConfig:
    try:
        return read_cluster_config(NodeConfig, path, os.environ)
    except ConfigError as error:
        raise MoveRefusedError(str(error)) from None


async def _import(folder: Path, config: NodeConfig) -> Import:
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_etcd_store(config.etcd_settings()))
            await agree_on_shards(store, config.cluster.shard_count)
            session = await CassandraSession.connect(config.cassandra_settings())
        except (ConfigError, StartError) as error:
            raise MoveRefusedError(str(error)) from None
        stack.push_async_callback(session.close)
        faults = await schema.faults(session, COMPONENTS)
        if faults:
            raise MoveRefusedError(f"the schema of Cassandra is not as this program needs it: {' '.join(faults)}")
        journal = await CassandraJournalStore.open(session)
        stack.push_async_callback(journal.close)
        cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepwell-import-")))
        bundles = await CassandraBundleStore.open(session, cache, mint=mint, clock_ms=clock)
        return await import_folder(folder, Cluster(store, journal, bundles, config.cluster.shard_count), clock=clock)
