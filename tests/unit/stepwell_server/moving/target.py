"""A cluster that is imported into, and what is to be found there afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cluster import keys
from data_plane.assignment import shard_of
from data_plane.journal.chain import chain
from data_plane.journal.store import InstanceKey
from data_plane.shard import Shard
from data_plane.wakes import BUCKET_MS, ShardWakes
from stepwell.engine.records import Created
from stepwell.names import TenantUid
from stepwell_server.moving.importing import Cluster, Import, import_folder
from tests.contract.memory_store import MemoryStore
from tests.contract.oracle_store import OracleJournalStore
from tests.unit.stepwell_server.moving.installation import NOW, SHARDS, UNTIL, Installation, moved_records

LATER: Final = NOW + 120_000
"""When the import runs: what was due in the installation by then is due now."""


async def imported(folder: Path, target: Cluster) -> Import:
    return await import_folder(folder, target, clock=lambda: LATER)


def control(target: Cluster) -> MemoryStore:
    assert isinstance(target.store, MemoryStore)
    return target.store


def journal(target: Cluster) -> OracleJournalStore:
    assert isinstance(target.journal, OracleJournalStore)
    return target.journal


def records(target: Cluster) -> dict[str, bytes]:
    return {each.key: each.value for each in control(target)._records.values()}


def shard(key: InstanceKey) -> int:
    return shard_of(key.tenant, key.instance, SHARDS)


def acme(made: Installation) -> TenantUid:
    return made.tenants["acme"].uid


async def has_moved(made: Installation, target: Cluster) -> None:
    """The cluster has all that the installation has, and lets nodes at it."""
    assert moved_records(control(target)) == moved_records(made.control)
    assert keys.IMPORT not in records(target)
    for key, history in made.records.items():
        rows = await target.journal.read_journal(key)
        assert chain(rows) == list(rows), "there is nothing but the chain"
        assert [record for row in rows for record in row.records] == history
        created = history[0]
        assert isinstance(created, Created)
        for id, data in made.blobs.get(key, {}).items():
            assert await target.journal.read_blob(key, created.uid, id) == data
    for record in records(target):
        if keys.kind(record) == "version":
            async with target.bundles.pull(TenantUid(keys.owner(record)), keys.digest_by_age(record)):
                pass


async def found_by_owners(target: Cluster) -> dict[InstanceKey, int]:
    """Which instances the next owners of all shards are led to, and when at the earliest."""
    led: dict[InstanceKey, int] = {}
    for number in range(SHARDS):
        stored = await target.store.get(keys.shard_epoch(number))
        term = Shard(number, int(stored.value if stored else 0) + 1, lambda: True)
        wakes = ShardWakes(term, target.journal, lambda: UNTIL, later=lambda *_: None)
        await wakes.take_over()
        await wakes.read_ahead()
        for at in range(LATER, UNTIL + BUCKET_MS, BUCKET_MS // 2):
            for key in wakes.take_due(at):
                led[key] = min(at, led.get(key, at))
    return led
