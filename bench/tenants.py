"""What tenants cost a cluster: bytes of etcd for each, memory of a data node; and how soon a route is seen everywhere.

The records of TENANTS tenants, each with a version and a route, are written as a deploy writes them; ACTIVE of them
have their code, and an instance that sleeps. The sandboxes are plain processes: their memory is not the node's.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import grpc

from bench.deploy import deploy
from bench.figure import Figure
from bench.server import BUNDLE, Server
from cluster import keys
from cluster.cassandra.session import CassandraSession
from cluster.codec import encode
from cluster.etcd.connection import EtcdSettings
from cluster.records import Route, Tenant, Version
from cluster.store import Put
from cluster.store_etcd import EtcdStore, open_etcd_store
from cluster.tenant_uids import tenant_uid
from loader.bundles.manifest import Manifest, WorkflowEntry
from loader.bundles.store import Bundle
from loader.bundles.store_cassandra import CassandraBundleStore
from scripts.demo_server import until
from scripts.local_cluster import LocalCluster, Part
from stepwell.names import TenantId, TenantUid, WorkflowId
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import workflows_pb2, workflows_pb2_grpc

TENANTS: Final = 100_000
ACTIVE: Final = 1_000
KNOWN: Final = 20_000
"""More than a node remembers (`cluster.directory.ENTRIES_MAX`): asked of it, they fill what it keeps of tenants."""

A_TXN: Final = 25
"""Tenants: four records each, of the 128 that etcd takes."""

AT_ONCE: Final = 32
IN_A_ROW: Final = 30
"""So many answers of a node say that it reaches the others."""

START_S_MAX: Final = 60.0
ROUTE_CHANGES: Final = 20
BYTES_MAX: Final = 1_000.0
"""A tenant may have so many for a million to fit 1 GB."""

WORKFLOW: Final = WorkflowId("steps")
CREATED_AT_MS: Final = 1_732_800_000_000


async def figures() -> AsyncIterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-", ignore_cleanup_errors=True) as folder:
        config = "[loader]\nwarm_sandboxes = 4\n"
        cluster = LocalCluster(Path(folder), cassandra=1, nodes=3, sandbox="process", settings=config)
        try:
            await asyncio.to_thread(cluster.start)
            async with open_etcd_store(EtcdSettings([f"127.0.0.1:{cluster.etcd_port}"])) as store:
                async for figure in _figures(cluster, store, Path(folder)):
                    yield figure
        finally:
            await asyncio.to_thread(cluster.stop)


async def _figures(cluster: LocalCluster, store: EtcdStore, folder: Path) -> AsyncIterator[Figure]:
    node, *others = cluster.nodes
    session = await CassandraSession.connect(cluster.cassandra_settings())
    bundles = await CassandraBundleStore.open(
        session,
        folder / "bench-bundles",
        mint=lambda: f"{time.time_ns():x}",
        clock_ms=lambda: time.time_ns() // 1_000_000,
    )
    uids = [tenant_uid(number.to_bytes(12, "big"), 1) for number in range(TENANTS)]
    bundle = await _kept(bundles, uids[0])

    before = _etcd(cluster)
    await _load(store, uids, bundle)
    after = _etcd(cluster)
    in_use, memory = "etcd_mvcc_db_total_size_in_use_in_bytes", "process_resident_memory_bytes"
    yield Figure(f"etcd_bytes_a_tenant_of_{TENANTS}", (after[in_use] - before[in_use]) / TENANTS, "B", BYTES_MAX)
    yield Figure(f"etcd_memory_a_tenant_of_{TENANTS}", (after[memory] - before[memory]) / TENANTS, "B")

    for each in others:
        await asyncio.to_thread(each.stop)
    async with grpc.aio.insecure_channel(cluster.endpoints[node.name]) as channel:
        server = Server(node.pid, channel, cluster.token, folder)
        yield Figure("node_memory_at_rest", _memory_mb(node), "MB")
        await _at_once(_known(server, number) for number in range(KNOWN))
        yield Figure(f"node_memory_tenants_{KNOWN}_known", _memory_mb(node), "MB")
        await _at_once(_kept(bundles, uid) for uid in uids[1:ACTIVE])
        await _at_once(_begun(server, number) for number in range(ACTIVE))
        yield Figure(f"node_memory_tenants_{KNOWN}_known_{ACTIVE}_active", _memory_mb(node), "MB")
    await session.close()

    for each in others:
        await asyncio.to_thread(cluster.start_node, each)
    yield Figure("route_change_seen_by_3_nodes_ms", await _route_changes(cluster, folder), "ms", 1_000.0)


# -------------------------------------------------------------------- etcd
async def _load(store: EtcdStore, uids: list[TenantUid], bundle: Bundle) -> None:
    async def some(numbers: range) -> None:
        await store.txn((), [put for number in numbers for put in _records(number, uids[number], bundle)])

    await _at_once(some(range(first, first + A_TXN)) for first in range(0, len(uids), A_TXN))


def _records(number: int, uid: TenantUid, bundle: Bundle) -> Iterable[Put]:
    """As `control_plane.tenants` and `control_plane.routing` write them."""
    tenant = TenantId(f"customer-{number:06}")
    (entry,) = bundle.manifest.workflows
    version = Version(
        uid, bundle.digest, ((WORKFLOW, entry.entrypoint),), {}, CREATED_AT_MS, bundle.file_count, bundle.size_bytes
    )
    route = Route(uid, WORKFLOW, bundle.digest, entry.entrypoint, CREATED_AT_MS, CREATED_AT_MS)
    yield Put(keys.tenant(tenant), encode(Tenant(tenant, uid, CREATED_AT_MS)))
    yield Put(keys.version(uid, bundle.digest), encode(version))
    yield Put(keys.version_by_age(uid, CREATED_AT_MS, bundle.digest), str(bundle.size_bytes).encode())
    yield Put(keys.route(uid, WORKFLOW), encode(route))


def _etcd(cluster: LocalCluster) -> dict[str, float]:
    """What etcd tells of itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.etcd_port}/metrics", timeout=10) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {line[0]: float(line[1]) for line in lines if len(line) == 2}


# -------------------------------------------------------------------- memory
async def _kept(bundles: CassandraBundleStore, uid: TenantUid) -> Bundle:
    """The benchmark's bundle, kept for that tenant."""
    upload = bundles.upload(uid)
    await upload.open("steps.py", executable=False)
    await upload.write((BUNDLE / "steps.py").read_bytes())
    return await upload.commit(Manifest((WorkflowEntry(WORKFLOW, "steps:Steps"),), {}))


async def _known(server: Server, number: int) -> None:
    parent = f"tenants/customer-{number:06}/workflows/{WORKFLOW}"
    await server.instances.ListInstances(pb.ListInstancesRequest(parent=parent), metadata=server.metadata)


async def _begun(server: Server, number: int) -> None:
    """An instance has made a step, and sleeps."""
    parent = f"tenants/customer-{number:06}/workflows/{WORKFLOW}"
    create = pb.CreateInstanceRequest(parent=parent, params=b'{"steps":1,"rest":"1 hour"}')
    made = await server.instances.CreateInstance(create, metadata=server.metadata)
    watch = server.instances.WatchInstance(pb.WatchInstanceRequest(name=made.name), metadata=server.metadata)
    async for event in watch:
        if event.type == "stepStarted" and event.step.kind == pb.STEP_KIND_SLEEP:
            break
    watch.cancel()


def _memory_mb(part: Part) -> float:
    status = Path(f"/proc/{part.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


# -------------------------------------------------------------------- routes
async def _route_changes(cluster: LocalCluster, folder: Path) -> float:
    """The longest time from a route change's answer until each node starts instances by it, in ms."""
    channels = [grpc.aio.insecure_channel(cluster.endpoints[part.name]) for part in cluster.nodes]
    servers = [Server(0, channel, cluster.token, folder) for channel in channels]
    workflow = await servers[0].tenant("rerouted")
    other = folder / "other"
    other.mkdir()
    for path in BUNDLE.iterdir():
        if path.is_file():
            (other / path.name).write_text(f"{path.read_text()}\n# another version\n")
    stub: Any = workflows_pb2_grpc.WorkflowServiceStub(channels[0])
    metadata = servers[0].metadata
    await deploy(channels[0], metadata, "rerouted", other)
    listed = await stub.ListVersions(workflows_pb2.ListVersionsRequest(parent="tenants/rerouted"), metadata=metadata)
    versions, longest = [each.name for each in listed.versions], 0.0
    await asyncio.to_thread(until, "every shard has an owner", cluster.is_whole, START_S_MAX)
    await asyncio.gather(*(_reaches_all(server, workflow) for server in servers))
    for turn in range(ROUTE_CHANGES):
        version = versions[(turn + 1) % 2]
        await stub.SetRoute(workflows_pb2.SetRouteRequest(name=f"{workflow}/route", version=version), metadata=metadata)
        began = time.perf_counter()
        await asyncio.gather(*(_started_by(server, workflow, version) for server in servers))
        longest = max(longest, (time.perf_counter() - began) * 1e3)
    for channel in channels:
        await channel.close()
    return longest


async def _reaches_all(server: Server, workflow: str) -> None:
    """Nodes that were started again are connected again to each other a moment later."""
    request, answered = pb.CreateInstanceRequest(parent=workflow, params=b'{"steps":1}'), 0
    while answered < IN_A_ROW:
        try:
            await server.instances.CreateInstance(request, metadata=server.metadata)
            answered += 1
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            answered = 0
            await asyncio.sleep(0.1)


async def _started_by(server: Server, workflow: str, version: str) -> None:
    request = pb.CreateInstanceRequest(parent=workflow, params=b'{"steps":1}')
    while (await server.instances.CreateInstance(request, metadata=server.metadata)).version != version:
        """A few ms each."""


async def _at_once(work: Iterable[Any]) -> None:
    """All of it, AT_ONCE at a time."""
    rest = iter(work)

    async def one_after_the_other() -> None:
        for each in rest:
            await each

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(one_after_the_other())
