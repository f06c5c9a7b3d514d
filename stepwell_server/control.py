"""`stepwell control`: a control-plane server. Keeps tenants, tokens, versions and routes; runs no tenant's code."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

from cluster import keys
from cluster.directory import ROUTE_AGE_S, STALENESS_S
from cluster.ownership_view import OwnershipView
from cluster.presence import Presence
from cluster.store_etcd import open_etcd_store
from control_plane.check_remote import RemoteCheck
from control_plane.deploys import Deploys
from control_plane.pinned_remote import RemotePinned
from control_plane.retirement import Retirement
from control_plane.routes import Routes
from control_plane.schedules import ScheduleCalls
from control_plane.tenant_service import TenantService
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from control_plane.turns_leased import LeasedTurns
from control_plane.version_files import VersionFiles
from control_plane.versions import Versions
from control_plane.workflow_removal import WorkflowRemoval
from control_plane.workflow_service import WorkflowService
from control_plane.workflows import Workflows
from data_plane.ownership_solo import DataLock
from loader.bundles.store_cassandra import CassandraBundleStore
from rpc.node_service import NodeServicer, asked_of
from rpc.proxy import proxied
from rpc.server import Service
from stepwell.v1 import instances_pb2
from stepwell.v1.nodes_pb2_grpc import add_NodeServiceServicer_to_server
from stepwell.v1.tenants_pb2_grpc import add_TenantServiceServicer_to_server
from stepwell.v1.workflows_pb2_grpc import add_WorkflowServiceServicer_to_server
from stepwell_server.cluster_config import ControlConfig, printable, read_cluster_config
from stepwell_server.cluster_process import ClusterProcess, any_of
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


def run(config_path: Path | None, *, print_config: bool, new_operator: bool) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        config = read_cluster_config(ControlConfig, config_path, os.environ)
    except EXPECTED as error:
        return refused(error, str(config_path))
    if print_config:
        print(printable(config), end="")
        return 0
    if new_operator:
        return exit_status(_new_operator(config), str(config_path))
    return exit_status(_serve(config), str(config.data), config.telemetry.log_format)


async def _new_operator(config: ControlConfig) -> int:
    """For whoever has the configuration, and so etcd: how an installation gets its first one."""
    async with open_etcd_store(config.etcd_settings()) as store:
        tokens = Tokens(store, clock_ms=clock, random_bytes=secrets.token_bytes, limits=config.control_plane)
        print(await tokens.operator_token())
    return 0


async def _serve(config: ControlConfig) -> int:
    config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_callbacks_that_fail()
    stop = stop_on_signals()
    say = teller(config.telemetry.log_format)
    async with AsyncExitStack() as stack:
        stack.callback(DataLock.acquire(config.data).release)
        process = await ClusterProcess.open(config, stack, "control")
        store, directory, peers = process.store, process.directory, process.peers
        bundles = await CassandraBundleStore.open(
            process.session,
            config.data / "bundles",
            mint=mint,
            clock_ms=clock,
            cache_bytes_max=config.bundle_cache_bytes,
        )
        view = OwnershipView(store, lambda: None)
        stack.callback(process.tasks.create_task(view.run()).cancel)
        presence = Presence(store, keys.control(process.node_name), process.member, boottime)
        stack.callback(process.tasks.create_task(presence.run()).cancel)

        def nodes() -> list[str]:
            """In another order each time."""
            addresses = [member.address for member in view.members.values()]
            random.shuffle(addresses)
            return addresses

        check = RemoteCheck(peers, nodes, config.control_plane.check_seconds_max)
        tenants = Tenants(store, clock_ms=clock, random_bytes=secrets.token_bytes)
        tokens = Tokens(store, clock_ms=clock, random_bytes=secrets.token_bytes, limits=config.control_plane)
        turns = LeasedTurns(store, process.node_name, process.tasks, mint=mint)
        deploys = Deploys(store, bundles, check, turns, clock_ms=clock, limits=config.control_plane)

        async def settled(_: int) -> None:
            """Data nodes believe what their directories remember for so long, and creates what these said."""
            await asyncio.sleep(STALENESS_S + ROUTE_AGE_S)

        retirement = Retirement(
            store, bundles, RemotePinned(peers, nodes), turns, settled, clock_ms=clock, limits=config.control_plane
        )
        routes = Routes(store, clock_ms=clock, limits=config.control_plane)
        services = (
            Service(add_TenantServiceServicer_to_server, TenantService(tenants, tokens, directory)),
            Service(
                add_WorkflowServiceServicer_to_server,
                WorkflowService(
                    directory,
                    deploys,
                    check,
                    Versions(store),
                    VersionFiles(bundles),
                    Workflows(store),
                    routes,
                    retirement,
                    WorkflowRemoval(store, settled),
                    ScheduleCalls(store, clock_ms=clock),
                ),
            ),
        )
        await process.serve(
            (
                *services,
                proxied(
                    instances_pb2.DESCRIPTOR.services_by_name["InstanceService"],
                    peers,
                    any_of(lambda: list(view.members.values())),
                ),
                Service(
                    add_NodeServiceServicer_to_server, NodeServicer(view, asked_of(peers), config.cluster.shard_count)
                ),
            ),
            services,
            view,
            lambda: presence.told,
        )
        figures = await stack.enter_async_context(process.telemetry.serving(None, None, process.tasks))
        settle_memory()
        if figures:
            say(f"metrics on {figures}")
        say(f"control server {process.node_name} is ready on {config.server.listen}")
        await stop.wait()
        say("stopping")
        await process.health.stopping()
        await presence.leave()
        await process.stop()
    return 0
