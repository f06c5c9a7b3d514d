"""`stepwell dev`: both planes in one process, on loopback, on embedded stores.

This module alone knows what the process is made of. Everything runs below one task group; a store that can't commit
ends the process at once, since nothing may be acknowledged after that.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import grpc
import structlog
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from cluster.directory import Directory
from cluster.sqlite_file import SqliteFileError
from cluster.store_sqlite import open_sqlite_store
from control_plane.deploys import Deploys
from control_plane.routing import Routes
from control_plane.tenant_service import TenantService
from control_plane.tenants import Tenants
from control_plane.tokens import Tokens
from control_plane.versions import Versions
from control_plane.workflow_service import WorkflowService
from control_plane.workflows import Workflows
from data_plane.calls import InstanceCalls
from data_plane.instance_service import InstanceServicer
from data_plane.journal.store_sqlite import SqliteJournalStore
from data_plane.logs.reading import LogReading
from data_plane.logs.recorder import Recorder
from data_plane.logs.sqlite_file import LogFileError
from data_plane.logs.store_sqlite import SqliteLogStore
from data_plane.node import Node
from data_plane.ownership_solo import SHARD, DataInUseError, DataLock, SoloOwner
from loader.bundles.store_files import FileBundleStore
from loader.loader import Loader
from loader.sandbox.cgroup_mounts import CgroupError, find_hierarchy
from loader.sandbox.cgroups import Cgroups
from loader.sandbox.rootfs import ensure_rootfs
from loader.sandbox.sandbox import SandboxError, SandboxLauncher
from loader.sandbox.sandbox_gvisor import GVisorLauncher, GVisorSettings
from loader.sandbox.sandbox_process import ProcessLauncher
from rpc.auth import Authenticator
from rpc.health import Health
from rpc.open_calls import OpenCalls
from rpc.reflection import reflecting
from rpc.server import Service, build_server
from stepwell.client.contexts import ContextFileError, load, save_context
from stepwell.client.part_health import PartHealth
from stepwell.errors import ApiError
from stepwell.tokens import hidden
from stepwell.v1.instances_pb2_grpc import add_InstanceServiceServicer_to_server
from stepwell.v1.tenants_pb2_grpc import add_TenantServiceServicer_to_server
from stepwell.v1.workflows_pb2_grpc import add_WorkflowServiceServicer_to_server
from stepwell_server.config import ConfigError, DevConfig, read_config
from stepwell_server.guest_log import GuestLog
from stepwell_server.log import configure_log, tell
from stepwell_server.routes import DirectoryRoutes
from stepwell_server.telemetry import TelemetryError, opened

GC_THRESHOLDS = (10_000, 10, 10)
"""Objects and rounds between collections. At the default, a twentieth of the step path went to looking for cycles."""

SERVICES = ("stepwell.v1.TenantService", "stepwell.v1.WorkflowService", "stepwell.v1.InstanceService")

log = structlog.get_logger("stepwell")


class StartError(Exception):
    """Why the server can't start, and what to do."""


_EXPECTED = (
    ConfigError,
    StartError,
    DataInUseError,
    SqliteFileError,
    SandboxError,
    LogFileError,
    ContextFileError,
    TelemetryError,
    ApiError,
    OSError,
)
"""What may go wrong for reasons outside this program, each with words of its own."""


def run(data: Path, port: int | None, sandbox: str) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    try:
        config = read_config(data, port, sandbox)
        configure_log(sys.stderr, config.telemetry.log_format)
        return asyncio.run(_serve(config))
    except _EXPECTED as error:
        problem: BaseException = error
    except BaseExceptionGroup as group:
        expected = group.subgroup(_EXPECTED)
        if expected is None or group.split(_EXPECTED)[1] is not None:
            raise
        problem = _first_of(expected)
    if isinstance(problem, OSError):
        problem = StartError(f"{problem.filename or data}: {problem.strerror}")
    print(f"stepwell: {hidden(str(problem))}", file=sys.stderr)
    return 1


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def clock() -> int:
    """ms since the epoch."""
    return time.time_ns() // 1_000_000


def mint() -> str:
    """An id that nobody guesses: 160 bits in the alphabet of instance ids."""
    return secrets.token_hex(20)


async def _serve(config: DevConfig) -> int:
    data = config.data
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    asyncio.get_running_loop().set_exception_handler(_log_loop_error)
    stop = _stop_on_signals()
    say = partial(tell, stream=sys.stderr, log_format=config.telemetry.log_format)
    async with AsyncExitStack() as stack:
        lock = DataLock.acquire(data)
        stack.callback(lock.release)
        launcher = _launcher(config, stack)
        isolation = await launcher.isolation()
        for warning in isolation.warnings:
            say(f"WARNING: {warning}")
        telemetry = await stack.enter_async_context(
            opened(
                config.telemetry, service="stepwell-dev", instance=mint(), clock_ns=time.time_ns,
                monotonic=time.perf_counter, random_bits=secrets.randbits,
            )
        )  # fmt: skip
        control_store = await stack.enter_async_context(open_sqlite_store(data / "control.db", on_fatal=_die))
        journal, epoch = await SqliteJournalStore.open(data / "journal.db", on_fatal=_die)
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
        deploys = Deploys(control_store, bundles, loader, clock_ms=clock, limits=config.control_plane)
        calls = InstanceCalls(node, DirectoryRoutes(directory), mint=mint)
        log_reading = LogReading(calls, node.watchers, log_store, recorder)
        routes = Routes(control_store, clock_ms=clock, limits=config.control_plane)
        workflow_service = WorkflowService(
            directory, deploys, Versions(control_store), Workflows(control_store), routes
        )
        open_calls = OpenCalls(directory, config.rpc, time.monotonic)
        rechecking = tasks.create_task(open_calls.run())
        stack.callback(rechecking.cancel)
        server = await build_server(
            (
                Service(add_TenantServiceServicer_to_server, TenantService(tenants, tokens, directory)),
                Service(add_WorkflowServiceServicer_to_server, workflow_service),
                Service(add_InstanceServiceServicer_to_server, InstanceServicer(calls, directory, log_reading)),
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
        _settle_memory()
        if figures:
            say(f"metrics on {figures}")
        say(f"ready on {endpoint}, data in {data}, sandbox {launcher.name}")
        await stop.wait()
        say("stopping; what is unfinished goes on at the next start")
        await health.stopping()
        await owner.stop(config.drain_s)
        await server.stop(grace=0.5)
    return 0


def _settle_memory() -> None:
    """What stands now stands for good, and what comes and goes has no cycles: look for garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _launcher(config: DevConfig, stack: AsyncExitStack) -> SandboxLauncher:
    folder = config.data / "sandboxes"
    launcher: SandboxLauncher
    if config.sandbox == "process":
        launcher = ProcessLauncher(folder)
    else:
        missing = GVisorLauncher(folder, Path("/"), None, config.gvisor).probe()
        if missing:
            raise StartError("gVisor can't be used here: " + " ".join(missing))
        launcher = GVisorLauncher(folder, ensure_rootfs(), _cgroups(config.gvisor, stack), config.gvisor)
    problems = launcher.probe()
    if problems:
        raise StartError("no sandbox can be started here: " + " ".join(problems))
    return launcher


def _cgroups(settings: GVisorSettings, stack: AsyncExitStack) -> Cgroups | None:
    if not settings.cgroups:
        return None
    try:
        cgroups = Cgroups.open(find_hierarchy(), below=settings.cgroup, memory_percent_max=settings.memory_percent_max)
    except CgroupError as error:
        raise StartError(f"sandboxes can't be limited here: {error}") from None
    stack.callback(cgroups.close)
    return cgroups


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


def _die(error: BaseException) -> None:
    """A commit failed: what was promised can't be kept, so nothing more may be."""
    print(f"stepwell: the data directory can't be written, the server ends: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    log.error("a callback failed", exc_info=context.get("exception"), what=context.get("message"))
