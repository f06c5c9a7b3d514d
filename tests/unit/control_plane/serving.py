"""The tenant and workflow services over a real connection, with real tokens, records in SQLite and bundles in files."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from cluster.directory import Directory
from cluster.store_sqlite import open_sqlite_store
from control_plane.deploys import Deploys
from control_plane.limits import ControlLimits
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
from loader.bundles.store_files import FileBundleStore
from rpc.auth import Authenticator
from rpc.health import Health
from rpc.limits import RpcLimits
from rpc.open_calls import OpenCalls
from rpc.server import Service, build_server
from stepwell.client.errors import error_from
from stepwell.v1 import tenants_pb2, tenants_pb2_grpc, workflows_pb2, workflows_pb2_grpc
from tests.unit.control_plane.settings import Check, Pinned
from tests.unit.rpc.echo import Log

Part = workflows_pb2.DeployVersionRequest
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Api:
    """Stubs of a running server, and its operator's metadata."""

    tenants: Any
    workflows: Any
    operator: tuple[tuple[str, str], ...]
    log: Log
    calls: OpenCalls
    check: Check
    bundles: Path

    async def tenant(self, name: str) -> Metadata:
        """The metadata of a new tenant's own token."""
        await self.tenants.CreateTenant(tenants_pb2.CreateTenantRequest(tenant_id=name), metadata=self.operator)
        return (await self.token(f"tenants/{name}"))[1]

    async def token(self, parent: str, *scopes: tenants_pb2.TokenScope.ValueType) -> tuple[tenants_pb2.Token, Metadata]:
        """A new token, and the metadata that carries it."""
        request = tenants_pb2.CreateTokenRequest(parent=parent, scopes=scopes)
        answer = await self.tenants.CreateToken(request, metadata=self.operator)
        assert answer.token.name.startswith(f"{parent}/tokens/" if parent else "tokens/")
        return answer.token, (("authorization", f"Bearer {answer.secret}"),)

    async def deploy(self, parent: str, metadata: Any, *parts: Part, code: bytes = b"code") -> Any:
        file = Part.File(path="main.py")
        sent = parts or (header(parent), Part(file=file), Part(chunk=code))
        return await self.workflows.DeployVersion(iter(sent), metadata=metadata)


def header(parent: str) -> Part:
    entry = workflows_pb2.WorkflowEntry(workflow_id="order", entrypoint="main:Order")
    manifest = workflows_pb2.Manifest(workflows=[entry], vars={"REGION": "eu"})
    return Part(header=Part.Header(parent=parent, manifest=manifest))


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Api]:
    clock, log, check = iter(range(1_000, 10**9)), Log(), Check()

    def clock_ms() -> int:
        return next(clock)

    def fatal(error: BaseException) -> None:
        raise AssertionError(error)

    limits = ControlLimits()
    async with open_sqlite_store(folder / "control.db", on_fatal=fatal) as store, asyncio.TaskGroup() as group:
        directory = Directory(store, monotonic_s=asyncio.get_running_loop().time)
        watching = group.create_task(directory.run())
        tokens = Tokens(store, clock_ms=clock_ms, random_bytes=secrets.token_bytes, limits=limits)
        tenants = Tenants(store, clock_ms=clock_ms, random_bytes=secrets.token_bytes)
        bundles = FileBundleStore(folder / "bundles")
        turns = Turns()
        deploys = Deploys(store, bundles, check, turns, clock_ms=clock_ms, limits=limits)
        routes = Routes(store, clock_ms=clock_ms, limits=limits)

        async def settled(revision: int) -> None:
            await directory.heard(revision)

        retirement = Retirement(store, bundles, Pinned(), turns, settled, clock_ms=clock_ms, limits=limits)
        versions, files = Versions(store), VersionFiles(bundles)
        schedules = ScheduleCalls(store, clock_ms=clock_ms)
        workflows = WorkflowService(
            directory,
            deploys,
            check,
            versions,
            files,
            Workflows(store),
            routes,
            retirement,
            WorkflowRemoval(store, settled),
            schedules,
        )
        calls = OpenCalls(directory, RpcLimits(), time.monotonic)
        server = await build_server(
            [
                Service(
                    tenants_pb2_grpc.add_TenantServiceServicer_to_server, TenantService(tenants, tokens, directory)
                ),
                Service(workflows_pb2_grpc.add_WorkflowServiceServicer_to_server, workflows),
            ],
            authenticator=Authenticator(directory),
            calls=calls,
            health=Health(["stepwell.v1.TenantService", "stepwell.v1.WorkflowService"]),
            log=log,
            mint_correlation_id=lambda: "c-1",
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        operator = (("authorization", f"Bearer {await tokens.operator_token()}"),)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                tenant_stub = tenants_pb2_grpc.TenantServiceStub(channel)
                yield Api(
                    tenant_stub,
                    workflows_pb2_grpc.WorkflowServiceStub(channel),
                    operator,
                    log,
                    calls,
                    check,
                    folder / "bundles",
                )
        finally:
            await server.stop(None)
            watching.cancel()


async def reason(call: Any) -> str:
    """Why that call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call
    return error_from(ended.value).reason
