"""`stepwell node`: a data-plane node. It runs instances of the shards that it owns, and passes every other call on."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

from control_plane.check import BundleCheck
from data_plane.assignment import shard_of
from data_plane.bindings_grpc import BindingPeers
from data_plane.calls import InstanceCalls
from data_plane.forwarding import ForwardingServicer
from data_plane.forwarding_grpc import InstancePeers
from data_plane.instance_service import InstanceServicer
from data_plane.journal.store import InstanceKey
from data_plane.journal.store_cassandra import CassandraJournalStore
from data_plane.logs.reading import LogReading
from data_plane.logs.recorder import Recorder
from data_plane.logs.store_cassandra import CassandraLogStore
from data_plane.node import Node
from data_plane.ownership_leased import LeasedOwnership
from data_plane.ownership_solo import DataLock
from data_plane.peer_service import PeerServicer
from loader.bundles.store_cassandra import CassandraBundleStore
from loader.loader import Loader
from rpc.internal.v1.peers_pb2_grpc import add_PeerServiceServicer_to_server
from rpc.node_service import NodeServicer, asked_of
from rpc.proxy import proxied
from rpc.server import Service
from stepwell.client.part_health import PartHealth
from stepwell.v1 import tenants_pb2, workflows_pb2
from stepwell.v1.instances_pb2_grpc import add_InstanceServiceServicer_to_server
from stepwell.v1.nodes_pb2_grpc import add_NodeServiceServicer_to_server
from stepwell_server.cluster_config import NodeConfig, printable, read_cluster_config
from stepwell_server.cluster_process import ClusterProcess, any_of
from stepwell_server.guest_log import GuestLog
from stepwell_server.process import (
    EXPECTED,
    boottime,
    clock,
    exit_status,
    log_callbacks_that_fail,
    mint,
    refused,
    settle_memory,
    stop_on_signals,
    teller,
)
from stepwell_server.routes import DirectoryRoutes
from stepwell_server.sandboxes import sandbox_launcher


def run(config_path: Path | None, *, print_config: bool) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        config = read_cluster_config(NodeConfig, config_path, os.environ)
    except EXPECTED as error:
        return refused(error, str(config_path))
    if print_config:
        print(printable(config), end="")
        return 0
    return exit_status(_serve(config), str(config.data), config.telemetry.log_format)


async def _serve(config: NodeConfig) -> int:
    config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_callbacks_that_fail()
    stop = stop_on_signals()
    say = teller(config.telemetry.log_format)
    async with AsyncExitStack() as stack:
        stack.callback(DataLock.acquire(config.data).release)
        launcher = sandbox_launcher(config.sandbox, config.data / "sandboxes", config.gvisor, stack)
        isolation = await launcher.isolation()
        for warning in isolation.warnings:
            say(f"WARNING: {warning}")
        process = await ClusterProcess.open(config, stack, "node")
        tasks, directory = process.tasks, process.directory
        journal = await CassandraJournalStore.open(process.session)
        stack.push_async_callback(journal.close)
        log_store = await CassandraLogStore.open(process.session, config.logs)
        recorder = Recorder(log_store, clock=clock, limits=config.logs)
        stack.push_async_callback(recorder.close)
        for task in (tasks.create_task(recorder.run()), tasks.create_task(recorder.expire())):
            stack.callback(task.cancel)
        bundles = await CassandraBundleStore.open(
            process.session,
            config.data / "bundles",
            mint=mint,
            clock_ms=clock,
            cache_bytes_max=config.bundle_cache_bytes,
        )
        guest_log = GuestLog(recorder, time.monotonic, everything=config.logs.in_operator_log)

        def tell_of_starts(failure: str) -> None:
            told = PartHealth(not failure, failure or isolation.detail, isolation.warnings)
            tasks.create_task(process.health.report("sandbox", told))

        tell_of_starts("")
        loader = await stack.enter_async_context(
            Loader(
                bundles, launcher, config.loader, make_correlation_id=mint, log_sinks=guest_log.sink,
                on_starts=tell_of_starts, observer=process.telemetry.boots,
            )
        )  # fmt: skip
        shard_count = config.cluster.shard_count

        def shard_of_key(key: InstanceKey) -> int:
            return shard_of(key.tenant, key.instance, shard_count)

        node = Node(
            process.telemetry.measured(journal),
            loader,
            tasks,
            shard_of=shard_of_key,
            clock=clock,
            limits=config.engine,
            settings=config.node,
            tenant_limits=config.tenants,
            forget_logs=recorder.forget,
            observer=process.telemetry.instances,
        )
        stack.callback(node.close)
        ownership = LeasedOwnership(
            process.store,
            node=process.node_name,
            address=process.member.address,
            shard_count=shard_count,
            boottime=boottime,
            mint=mint,
        )
        elsewhere = BindingPeers(process.peers, ownership.owner_of)
        calls = InstanceCalls(node, DirectoryRoutes(directory), mint=mint, elsewhere=elsewhere)
        log_reading = LogReading(calls, node.watchers, log_store, recorder)
        instances = ForwardingServicer(
            InstanceServicer(calls, directory, log_reading), ownership.owner_of, InstancePeers(process.peers)
        )
        view, peers = ownership.view, process.peers
        control = any_of(lambda: list(view.controls.values()))
        instance_service = Service(add_InstanceServiceServicer_to_server, instances)
        check: BundleCheck = loader
        figures = await stack.enter_async_context(
            process.telemetry.serving(node, loader, tasks, lease_left_s=ownership.lease_left_s)
        )
        await ownership.start(node, tasks)
        await process.serve(
            (
                proxied(tenants_pb2.DESCRIPTOR.services_by_name["TenantService"], peers, control),
                proxied(workflows_pb2.DESCRIPTOR.services_by_name["WorkflowService"], peers, control),
                instance_service,
                Service(add_NodeServiceServicer_to_server, NodeServicer(view, asked_of(peers), shard_count)),
            ),
            (
                instance_service,
                Service(
                    add_PeerServiceServicer_to_server,
                    PeerServicer(node, calls.bindings, check.check, loader.runtime, shard_count),
                ),
            ),
            view,
            lambda: ownership.joined,
        )
        settle_memory()
        if figures:
            say(f"metrics on {figures}")
        say(f"node {process.node_name} is ready on {config.server.listen}, sandbox {launcher.name}")
        await stop.wait()
        say("stopping; other nodes take over")
        await process.health.stopping()
        await ownership.stop(config.drain_s)
        await process.stop()
    return 0
