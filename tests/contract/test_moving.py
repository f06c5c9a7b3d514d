"""From a data directory's stores into a real etcd and a real Cassandra: what began in the one ends in the other."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from cluster import keys
from cluster.etcd.connection import EtcdSettings
from cluster.records import Tenant
from cluster.store_etcd import EtcdStore, open_etcd_store
from cluster.store_sqlite import open_sqlite_store
from control_plane.limits import ControlLimits
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from data_plane.assignment import shard_of
from data_plane.journal.store import InstanceKey
from data_plane.journal.store_cassandra import CassandraJournalStore
from data_plane.journal.store_sqlite import SqliteJournalStore
from data_plane.ownership_leased import LeasedOwnership
from data_plane.ownership_solo import SHARD, DataLock, SoloOwner
from loader.bundles.store_files import FileBundleStore
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.records import BlobRef, Completed, StepKey
from stepwell.engine.status import status_of
from stepwell.names import TenantId
from stepwell_server.export import export_data
from stepwell_server.moving.folder import ExportWriter
from stepwell_server.moving.importing import Cluster, import_folder
from stepwell_server.moving.manifest import Counts
from stepwell_server.moving.refusals import MoveRefusedError
from tests.contract.cassandra_keyspace import Keyspace
from tests.contract.cassandra_server import ON_ONE_WORKER
from tests.contract.etcd_server import EtcdServer
from tests.contract.moving_house import FLOW, House, house, now_ms, told

pytestmark = ON_ONE_WORKER

SHARDS: Final = 8
FIRST: Final = StepKey("do", "first", 1)


@dataclass
class Left:
    """What the installation was when it stopped."""

    keys: dict[str, InstanceKey] = field(default_factory=dict)
    states: dict[str, Instance] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """By instance, what its code calls itself."""
    firsts: dict[str, str] = field(default_factory=dict)
    """What the first step of each came to, its beginning."""
    wakes_at: int = 0
    """When its sleeper is due."""


@asynccontextmanager
async def embedded(data: Path) -> AsyncIterator[tuple[House, Tenants, Tokens]]:
    """As `stepwell dev` puts it together."""
    lock = DataLock.acquire(data)
    journal, epoch = await SqliteJournalStore.open(data / "journal.db", on_fatal=_raise)
    try:
        async with open_sqlite_store(data / "control.db", on_fatal=_raise) as control:
            tenants = Tenants(control, clock_ms=now_ms, random_bytes=secrets.token_bytes)
            tokens = Tokens(control, clock_ms=now_ms, random_bytes=secrets.token_bytes, limits=ControlLimits())
            owner, bundles = SoloOwner(lock, epoch), FileBundleStore(data / "bundles")
            async with house(data, control, journal, bundles, owner, lambda key: SHARD) as at_home:
                yield at_home, tenants, tokens
    finally:
        await journal.close()
        lock.release()


@asynccontextmanager
async def clustered(folder: Path, store: EtcdStore, cluster: Cluster) -> AsyncIterator[House]:
    """A node of that cluster."""
    attempts = count(1)
    ownership = LeasedOwnership(
        store,
        node=f"node-{uuid4().hex}",
        address="node:1",
        shard_count=SHARDS,
        boottime=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        mint=lambda: f"attempt-{next(attempts)}",
    )

    def of(key: InstanceKey) -> int:
        return shard_of(key.tenant, key.instance, SHARDS)

    async with house(folder, store, cluster.journal, cluster.bundles, ownership, of) as away:
        yield away


async def lived(data: Path) -> Left:
    """Two tenants, two versions, two starts of the server, and an instance in every state; then it stops."""
    left = Left()

    async def begun(at_home: House, tenant: Tenant, version: str, name: str, **params: Any) -> InstanceKey:
        left.versions[name] = version
        left.keys[name] = await at_home.create(tenant, name, json.dumps(params).encode())
        return left.keys[name]

    async with embedded(data) as (at_home, tenants, tokens):
        acme, globex = [await tenants.create(TenantId(name)) for name in ("acme", "globex")]
        for tenant in (None, acme, globex):
            await tokens.mint(tenant)
        await at_home.deploy(acme, "acme 1")
        await at_home.deploy(globex, "globex 1")
        await begun(at_home, acme, "acme 1", "complete", do="nothing")
        await begun(at_home, acme, "acme 1", "errored", do="fail")
        await begun(at_home, globex, "globex 1", "theirs", do="wait")
        for name in ("waiting", "told", "paused", "terminated", "deleted"):
            await at_home.reached(await begun(at_home, acme, "acme 1", name, do="wait"), _waits)
        for name in ("complete", "errored"):
            await at_home.reached(left.keys[name], lambda found: found.phase is Phase.FINISHED)
        await at_home.calls.pause(left.keys["paused"], "")
        await at_home.calls.terminate(left.keys["terminated"], "")
        await at_home.calls.terminate(left.keys["deleted"], "")
        await at_home.calls.delete(left.keys.pop("deleted"), "")
    async with embedded(data) as (at_home, _, _):
        await at_home.deploy(acme, "acme 2")
        await begun(at_home, acme, "acme 2", "sleeping", do="sleep", ms=8_000)
        await begun(at_home, acme, "acme 2", "running", do="slow", s=5)
        await at_home.reached(left.keys["sleeping"], _waits)
        left.wakes_at = (await at_home.get(left.keys["sleeping"])).next_deadline() or 0
        await at_home.reached(left.keys["running"], lambda found: FIRST in found.steps)
        await at_home.reached(left.keys["theirs"], _waits)
        await at_home.calls.send_event(left.keys["told"], "go", b'"early"', "told-once")
        await begun(at_home, acme, "acme 2", "queued", do="nothing")
        for name, key in left.keys.items():
            left.states[name] = await at_home.get(key)
            if FIRST in left.states[name].steps:
                left.firsts[name] = await _first(at_home, key)
    return left


def _waits(found: Instance) -> bool:
    return bool(found.open)


async def _first(where: House, key: InstanceKey) -> str:
    state = await where.get(key)
    output = state.steps[FIRST].output
    assert isinstance(output, BlobRef)
    result: str = json.loads(await where.calls.payload(key, state, output))
    return result[:16]


def _raise(error: BaseException) -> None:
    raise error


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    async with open_etcd_store(EtcdSettings([etcd.endpoint], f"{uuid4().hex}/")) as opened:
        yield opened


@pytest.fixture
async def target(keyspace: Keyspace, store: EtcdStore, tmp_path: Path) -> Cluster:
    await keyspace.emptied()
    journal = await CassandraJournalStore.open(keyspace.session())
    return Cluster(store, journal, FileBundleStore(tmp_path / "cluster" / "bundles"), SHARDS)


async def test_everything_that_was_begun_in_one_process_ends_in_a_cluster(
    target: Cluster, store: EtcdStore, data: Path, tmp_path: Path
) -> None:
    left = await lived(data)
    exported = await export_data(data, tmp_path / "out")
    assert (exported.counts.tenants, exported.counts.versions, exported.counts.tokens) == (2, 3, 2)
    assert exported.counts.instances == len(left.keys)
    assert exported.counts.blobs >= len(left.firsts)
    began = time.monotonic()
    done = await import_folder(tmp_path / "out", target, clock=now_ms)
    assert done.counts == exported.counts
    print(f"{done.counts.instances} instances imported in {time.monotonic() - began:.2f} s")
    assert (await import_folder(tmp_path / "out", target, clock=now_ms)).was_done

    async with clustered(tmp_path / "cluster", store, target) as away:
        for name in ("complete", "errored", "terminated"):
            found = await away.reached(left.keys[name], lambda found: True)
            assert told(found) == told(left.states[name])
            assert await _first(away, left.keys[name]) == left.firsts[name]
        paused = await away.reached(left.keys["paused"], lambda found: True)
        assert status_of(paused) == "paused"
        with pytest.raises(MoveRefusedError, match="stop all data nodes"):
            await import_folder(_another(tmp_path), target, clock=now_ms)
        await away.calls.resume(left.keys["paused"], "")
        for name in ("waiting", "paused", "theirs"):
            await away.calls.send_event(left.keys[name], "go", b'"late"', "")
        await away.calls.send_event(left.keys["told"], "go", b'"early"', "told-once")
        expected = {
            "complete": None,
            "waiting": "late",
            "paused": "late",
            "theirs": "late",
            "told": "early",
            "sleeping": None,
            "running": "slow is done",
            "queued": None,
        }
        for name, answer in expected.items():
            ended = await away.reached(left.keys[name], lambda found: found.phase is Phase.FINISHED)
            assert isinstance(ended.outcome, Completed), (name, ended.outcome)
            version, first, got = json.loads(await away.calls.payload(left.keys[name], ended, ended.outcome.output))
            assert (version, got) == (left.versions[name], answer), name
            assert first == await _first(away, left.keys[name]) == left.firsts.get(name, first), "it ran again"
            if name == "sleeping":
                assert ended.ended_at is not None
                assert ended.ended_at >= left.wakes_at, "no sleep ends early"
        acme = left.keys["complete"].tenant
        page = await away.calls.list(acme, FLOW, limit=100, token="", statuses=frozenset())
        assert {listing.key.instance for listing in page.listings} == left.keys.keys() - {"theirs"}
        assert keys.IMPORT not in {found.key for found in await store.range(keys.OWNERSHIP, limit=1_000)}


def _another(folder: Path) -> Path:
    """An export that is not the one that was imported."""
    with ExportWriter(folder / "another") as writer:
        writer.seal(0, Counts())
    return folder / "another"
