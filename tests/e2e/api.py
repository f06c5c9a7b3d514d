"""A client that outlives its server: every call carries a request_id and is made again until it has an answer."""

from __future__ import annotations

import asyncio
import json
import time
import tomllib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from stepwell.cli.schedule_entries import schedule_entries
from stepwell.client.errors import error_from
from stepwell.v1 import instances_pb2 as pb
from stepwell.v1 import instances_pb2_grpc, tenants_pb2, tenants_pb2_grpc, workflows_pb2, workflows_pb2_grpc

BUNDLES = Path(__file__).parent / "bundles"
RETRY_DELAY_S = 0.1
CALL_S_MAX = 20.0
PATIENCE_S = 120.0
ENDED = (pb.INSTANCE_STATUS_COMPLETE, pb.INSTANCE_STATUS_ERRORED, pb.INSTANCE_STATUS_TERMINATED)
UNKNOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
)


class Api:
    """One caller's stubs. `call` is for what must get through; the stubs themselves are for what must be refused."""

    def __init__(self, endpoint: str, token: str, authority: bytes | None = None) -> None:
        """With `authority`, a PEM of certificates, over TLS to whoever is `localhost` by it."""
        if authority is None:
            self.channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        else:
            options = (*_OPTIONS, ("grpc.ssl_target_name_override", "localhost"))
            credentials = grpc.ssl_channel_credentials(authority)
            self.channel = grpc.aio.secure_channel(endpoint, credentials, options=options)
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.instances: Any = instances_pb2_grpc.InstanceServiceStub(self.channel)
        self.tenants: Any = tenants_pb2_grpc.TenantServiceStub(self.channel)
        self.workflows: Any = workflows_pb2_grpc.WorkflowServiceStub(self.channel)
        self.repeats = 0
        """Calls that were made again since their outcome was unknown."""

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def once(self, method: Any, request: Any) -> Any:
        """One try. Raises grpc.aio.AioRpcError."""
        return await method(request, metadata=self.metadata, timeout=CALL_S_MAX)

    async def call(self, method: Any, request: Any) -> Any:
        """Try until the outcome is known. Raises grpc.aio.AioRpcError for what was refused."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self.once(method, request)
            except grpc.aio.AioRpcError as error:
                if error.code() not in UNKNOWN or time.monotonic() > deadline:
                    raise
                self.repeats += 1
            await asyncio.sleep(RETRY_DELAY_S)

    async def create_tenant(self, tenant: str, spread: int = 1) -> None:
        request = tenants_pb2.CreateTenantRequest(tenant_id=tenant, spread=spread)
        await self.call(self.tenants.CreateTenant, request)

    async def deploy(self, tenant: str, folder: Path, variables: Mapping[str, str] | None = None) -> str:
        """The folder as a version that its workflows are routed to; the version's name."""
        response: workflows_pb2.DeployVersionResponse = await self.workflows.DeployVersion(
            _parts(tenant, folder, variables or {}), metadata=self.metadata
        )
        return response.version.name

    async def create(self, workflow: str, params: object, *, id: str = "", request_id: str = "") -> pb.Instance:
        """`workflow` is its full name."""
        request = pb.CreateInstanceRequest(
            parent=workflow, instance_id=id, params=json.dumps(params).encode(), request_id=request_id
        )
        created: pb.Instance = await self.call(self.instances.CreateInstance, request)
        return created

    async def get(self, name: str) -> pb.Instance:
        found: pb.Instance = await self.call(self.instances.GetInstance, pb.GetInstanceRequest(name=name))
        return found

    async def send_event(self, name: str, type: str, payload: object, request_id: str = "") -> None:
        request = pb.SendEventRequest(name=name, type=type, payload=json.dumps(payload).encode(), request_id=request_id)
        await self.call(self.instances.SendEvent, request)

    async def steps(self, name: str) -> list[pb.Step]:
        """All of them."""
        found: list[pb.Step] = []
        token = ""
        while True:
            request = pb.ListStepsRequest(parent=name, page_size=1000, page_token=token)
            page = await self.call(self.instances.ListSteps, request)
            found += page.steps
            token = page.next_page_token
            if not token:
                return found

    async def listed(
        self, workflow: str, statuses: Sequence[pb.InstanceStatus.ValueType] = (), page_size: int = 1000
    ) -> list[pb.Instance]:
        """All of them, newest first."""
        found: list[pb.Instance] = []
        token = ""
        while True:
            request = pb.ListInstancesRequest(parent=workflow, page_size=page_size, page_token=token, statuses=statuses)
            page = await self.call(self.instances.ListInstances, request)
            found += page.instances
            token = page.next_page_token
            if not token:
                return found

    async def until_listed(
        self,
        workflow: str,
        expected: dict[str, pb.InstanceStatus.ValueType],
        statuses: Sequence[pb.InstanceStatus.ValueType] = (),
    ) -> None:
        """Return once the list says just this: it follows what is so (docs/guarantees.md)."""
        async with asyncio.timeout(10):
            while {each.name: each.status for each in await self.listed(workflow, statuses)} != expected:
                await asyncio.sleep(0.02)

    async def watch(self, name: str, cursor: str = "") -> AsyncGenerator[pb.InstanceEvent, None]:
        """One stream, as long as it holds."""
        request = pb.WatchInstanceRequest(name=name, cursor=cursor)
        stream = self.instances.WatchInstance(request, metadata=self.metadata)
        try:
            async for event in stream:
                yield event
        finally:
            stream.cancel()

    async def refused(self, method: Any, request: Any) -> tuple[grpc.StatusCode, str]:
        """The code and the reason of a call that must fail."""
        try:
            answer = await self.once(method, request)
        except grpc.aio.AioRpcError as error:
            return error.code(), reason_of(error)
        raise AssertionError(f"not refused: {answer}")

    async def reached(
        self, name: str, holds: Callable[[pb.Instance], bool], patience_s: float = 60, poll_s: float = 0.05
    ) -> pb.Instance:
        """The instance, once that holds of it."""
        deadline = time.monotonic() + patience_s
        while not holds(found := await self.get(name)):
            assert time.monotonic() < deadline, f"in vain for {patience_s} s: {found}"
            await asyncio.sleep(poll_s)
        return found

    async def ended(self, name: str, patience_s: float = 60) -> pb.Instance:
        return await self.reached(name, lambda instance: instance.status in ENDED, patience_s)


async def _parts(
    tenant: str, folder: Path, variables: Mapping[str, str]
) -> AsyncIterator[workflows_pb2.DeployVersionRequest]:
    declared = tomllib.loads((folder / "stepwell.toml").read_text())
    entries = [
        workflows_pb2.WorkflowEntry(
            workflow_id=entry["name"],
            entrypoint=entry["entrypoint"],
            schedules=_schedules(entry.get("schedules", [])),
            limits=workflows_pb2.WorkflowLimits(**entry["limits"]) if "limits" in entry else None,
        )
        for entry in declared["workflows"]
    ]
    bindings = {each["name"]: each["workflow"] for each in declared.get("bindings", [])}
    manifest = workflows_pb2.Manifest(workflows=entries, vars=variables, bindings=bindings)
    header = workflows_pb2.DeployVersionRequest.Header(parent=f"tenants/{tenant}", manifest=manifest)
    yield workflows_pb2.DeployVersionRequest(header=header)
    for path in sorted(folder.rglob("*.py")):  # a few small files
        name = path.relative_to(folder).as_posix()
        yield workflows_pb2.DeployVersionRequest(file=workflows_pb2.DeployVersionRequest.File(path=name))
        yield workflows_pb2.DeployVersionRequest(chunk=path.read_bytes())


def _schedules(declared: object) -> Iterator[workflows_pb2.Schedule]:
    for cron, timezone, catch_up in schedule_entries(declared):
        policy = workflows_pb2.CatchUp.Value(f"CATCH_UP_{catch_up.upper()}")
        yield workflows_pb2.Schedule(cron=cron, timezone=timezone, catch_up=policy)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo's reason, as the client's own table has it."""
    return error_from(error).reason
