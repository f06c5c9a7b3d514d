"""`stepwell dev`: both planes in one process, on loopback, on embedded stores.

This module alone knows what the process is made of. Everything runs below one task group; a store that can't commit
ends the process at once, since nothing may be acknowledged after that.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from cluster.directory import ROUTE_AGE_S, Directory
from cluster.store_sqlite import open_sqlite_store
from control_plane.deploys import Deploys
from control_plane.retirement import Retirement
from control_plane.routes import Routes
from control_plane.schedules import ScheduleCalls
from control_plane.tenant_service import TenantService
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from control_plane.turns import Turns
from control_plane.version_files import VersionFiles
from control_plane.versions import Versions
from control_plane.workflow_removal import WorkflowRemoval
from control_plane.workflow_service import WorkflowService
from control_plane.workflows import Workflows
from data_plane.calls import InstanceCalls
from data_plane.instance_service import InstanceServicer
from data_plane.journal.store_sqlite import SqliteJournalStore
from data_plane.logs.reading import LogReading
from data_plane.logs.recorder import Recorder
from data_plane.logs.store_sqlite import SqliteLogStore
from data_plane.node import Node
from data_plane.ownership_solo import SHARD, DataLock, SoloOwner
from data_plane.ticking import Ticker
from loader.bundles.store_files import FileBundleStore
from loader.loader import Loader
from rpc.auth import Authenticator
from rpc.health import Health
from rpc.node_service import NodeServicer
from rpc.open_calls import OpenCalls
from rpc.reflection import reflecting
from rpc.server import Service, build_server
from stepwell.client.contexts import load, save_context
from stepwell.client.part_health import PartHealth
from stepwell.v1.instances_pb2_grpc import add_InstanceServiceServicer_to_server
from stepwell.v1.nodes_pb2_grpc import add_NodeServiceServicer_to_server
from stepwell.v1.tenants_pb2_grpc import add_TenantServiceServicer_to_server
from stepwell.v1.workflows_pb2_grpc import add_WorkflowServiceServicer_to_server
from stepwell_server.alone import Alone, alone_load
from stepwell_server.config import DevConfig, read_config
from stepwell_server.guest_log import GuestLog
from stepwell_server.pinned import NodePinned
from stepwell_server.process import (
    StartError,
    clock,
    die,
    exit_status,
    log,
    log_callbacks_that_fail,
    mint,
    refused,
    settle_memory,
    stop_on_signals,
    teller,
)
from stepwell_server.routes import DirectoryRoutes
from stepwell_server.sandboxes import sandbox_launcher
from stepwell_server.sections import ConfigError
from stepwell_server.telemetry import opened

SERVICES = (
    "stepwell.v1.TenantService",
    "stepwell.v1.WorkflowService",
    "stepwell.v1.InstanceService",
    "stepwell.v1.NodeService",
)


def run(data: Path, port: int | None, sandbox: str) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        config = read_config(data, port, sandbox)
    except (ConfigError, OSError) as error:
        return refused(error, str(data))
    return exit_status(_serve(config), str(data), config.telemetry.log_format)


async def _serve(config: DevConfig) -> int:
    data = config.data
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_callbacks_that_fail()
    stop = stop_on_signals()
    say = teller(config.telemetry.log_format)
    async with AsyncExitStack() as stack:
        lock = DataLock.acquire(data)
        stack.callback(lock.release)
        launcher = sandbox_launcher(config.sandbox, data / "sandboxes", config.gvisor, stack)
        isolation = await launcher.isolation()
        for warning in isolation.warnings:
            say(f"WARNING: {warning}")
        telemetry = await stack.enter_async_context(
            opened(
                config.telemetry, service="stepwell-dev", instance=mint(), clock_ns=time.time_ns,
                monotonic=time.perf_counter, random_bits=secrets.randbits,
            )
        )  # fmt: skip
        control_store = await stack.enter_async_context(open_sqlite_store(data / "control.db", on_fatal=die))
        journal, epoch = await SqliteJournalStore.open(data / "journal.db", on_fatal=die)
        stack.push_async_callback(journal.close)
        log_store = await SqliteLogStore.open(data / "logs.db", config.logs)
        recorder = Recorder(log_store, clock=clock, limits=config.logs)
        stack.push_async_callback(recorder.close)
        bundles = FileBundleStore(data / "bundles")
        bundles.recover()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        directory = Directory(control_store, monotonic_s=time.monotonic)
        following = tasks.create_task(directory.run())
        stack.callback(following.cancel)
        for task in (tasks.create_task(recorder.run()), tasks.create_task(recorder.expire())):
            stack.callback(task.cancel)
        guest_log = GuestLog(recorder, time.monotonic, everything=config.logs.in_operator_log)
        health = Health(SERVICES)

        def tell_of_starts(failure: str) -> None:
            told = PartHealth(not failure, failure or isolation.detail, isolation.warnings)
            tasks.create_task(health.report("sandbox", told))

        tell_of_starts("")
        loader = await stack.enter_async_context(
            Loader(
                bundles, launcher, config.loader, make_correlation_id=mint, log_sinks=guest_log.sink,
                on_starts=tell_of_starts, observer=telemetry.boots,
            )
        )  # fmt: skip
        owner = SoloOwner(lock, epoch)
        node = Node(
            telemetry.measured(journal),
            loader,
            tasks,
            shard_of=lambda key: SHARD,
            clock=clock,
            limits=config.engine,
            settings=config.node,
            tenant_limits=config.tenants,
            forget_logs=recorder.forget,
            observer=telemetry.instances,
        )
        stack.callback(node.close)
        await owner.start(node, tasks)
        tenants = Tenants(control_store, clock_ms=clock, random_bytes=secrets.token_bytes)
        tokens = Tokens(control_store, clock_ms=clock, random_bytes=secrets.token_bytes, limits=config.control_plane)
        turns = Turns()
        deploys = Deploys(control_store, bundles, loader, turns, clock_ms=clock, limits=config.control_plane)
        calls = InstanceCalls(node, DirectoryRoutes(directory), mint=mint)
        log_reading = LogReading(calls, node.watchers, log_store, recorder)
        ticker = Ticker(node, control_store, calls, heard=directory.heard)
        ticking = tasks.create_task(ticker.run())
        stack.callback(ticking.cancel)
        routes = Routes(control_store, clock_ms=clock, limits=config.control_plane)

        async def settled(revision: int) -> None:
            """Whoever creates is in this process, and sees what its directory has heard."""
            await directory.heard(revision)
            await asyncio.sleep(ROUTE_AGE_S)

        retirement = Retirement(
            control_store, bundles, NodePinned(node), turns, settled, clock_ms=clock, limits=config.control_plane
        )
        workflow_service = WorkflowService(
            directory,
            deploys,
            loader,
            Versions(control_store),
            VersionFiles(bundles),
            Workflows(control_store),
            routes,
            retirement,
            WorkflowRemoval(control_store, settled),
            ScheduleCalls(control_store, clock_ms=clock),
        )
        open_calls = OpenCalls(directory, config.rpc, time.monotonic)
        rechecking = tasks.create_task(open_calls.run())
        stack.callback(rechecking.cancel)
        server = await build_server(
            (
                Service(add_TenantServiceServicer_to_server, TenantService(tenants, tokens, directory)),
                Service(add_WorkflowServiceServicer_to_server, workflow_service),
                Service(add_InstanceServiceServicer_to_server, InstanceServicer(calls, directory, log_reading)),
                Service(add_NodeServiceServicer_to_server, NodeServicer(Alone(epoch), alone_load(node), 1)),
                Service(add_ServerReflectionServicer_to_server, reflecting(SERVICES)),
            ),
            authenticator=Authenticator(directory),
            calls=open_calls,
            health=health,
            log=log,
            mint_correlation_id=mint,
            limits=config.rpc,
            observer=telemetry.calls,
        )
        figures = await stack.enter_async_context(telemetry.serving(node, loader, tasks))
        endpoint = _listen(server, config.port)
        await server.start()
        await _tell_context(endpoint, tokens)
        await health.serving()
        settle_memory()
        if figures:
            say(f"metrics on {figures}")
        say(f"ready on {endpoint}, data in {data}, sandbox {launcher.name}")
        await stop.wait()
        say("stopping; what is unfinished goes on at the next start")
        await health.stopping()
        await owner.stop(config.drain_s)
        await server.stop(grace=0.5)
    return 0


def _listen(server: grpc.aio.Server, port: int) -> str:
    """Loopback only: the token goes over this in plaintext."""
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise StartError(f"port {port} on 127.0.0.1 is taken: end what listens there, or choose another with --port")
    return f"127.0.0.1:{bound}"


async def _tell_context(endpoint: str, tokens: Tokens) -> None:
    known = load().find(endpoint)
    token = await tokens.operator_token(known.token or "" if known is not None else "")
    save_context(endpoint, token)
