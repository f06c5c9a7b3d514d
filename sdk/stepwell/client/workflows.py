"""Which code a tenant's workflows run: deploys, versions, workflows and routes. Without a tenant, the token's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stepwell.client.calls import Caller
from stepwell.client.patience import retryable, uncommitted
from stepwell.client.resource_names import route_name, tenant_name, version_name, workflow_name
from stepwell.errors import ApiError, ConflictError
from stepwell.v1 import workflows_pb2 as pb
from stepwell.v1.workflows_pb2_grpc import WorkflowServiceStub

CHUNK_SIZE = 1024 * 1024


class BundleFile(Protocol):
    """One file of a bundle. It may be read more than once."""

    @property
    def path(self) -> str:
        """Relative, NFC, '/' between its parts."""

    @property
    def executable(self) -> bool: ...

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, at most 1 MiB at a time."""


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """A file of a bundle whose bytes the program has."""

    path: str
    data: bytes = field(repr=False)
    executable: bool = False

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, at most CHUNK_SIZE at a time."""
        for start in range(0, len(self.data), CHUNK_SIZE):
            yield self.data[start : start + CHUNK_SIZE]


class Workflows:
    """WorkflowService."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = WorkflowServiceStub(caller.channel)

    async def deploy(
        self, tenant: str | None, manifest: pb.Manifest, files: Collection[BundleFile], *, no_route: bool = False
    ) -> pb.DeployVersionResponse:
        """Upload a bundle and route its workflows to it, unless told not to. Idempotent: the same files and manifest
        are the same version.

        BundleRefusedError when its check fails. Another thread reads the files.
        """
        header = pb.DeployVersionRequest.Header(parent=tenant_name(tenant), manifest=manifest, no_route=no_route)
        return await self._caller.upload(
            lambda channel: WorkflowServiceStub(channel).DeployVersion, lambda: _parts(header, files)
        )

    async def guest_runtime(self, tenant: str | None) -> pb.GuestRuntime:
        """What the tenant's code runs on: for whom its packages have to be made. SandboxUnavailableError when nobody
        can tell at the moment."""
        request = pb.GetGuestRuntimeRequest(parent=tenant_name(tenant))
        return await self._caller.unary(self._stub.GetGuestRuntime, request)

    async def get(self, tenant: str | None, workflow: str) -> pb.Workflow:
        """NotFoundError when there is none."""
        request = pb.GetWorkflowRequest(name=workflow_name(tenant, workflow))
        return await self._caller.unary(self._stub.GetWorkflow, request)

    async def list(self, tenant: str | None, *, page_size: int = 0, page_token: str = "") -> pb.ListWorkflowsResponse:
        """A page of workflows, by id."""
        request = pb.ListWorkflowsRequest(parent=tenant_name(tenant), page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListWorkflows, request)

    async def get_version(self, tenant: str | None, version: str) -> pb.Version:
        """NotFoundError when there is none."""
        request = pb.GetVersionRequest(name=version_name(tenant, version))
        return await self._caller.unary(self._stub.GetVersion, request)

    async def list_versions(
        self, tenant: str | None, *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListVersionsResponse:
        """A page of versions, newest first."""
        request = pb.ListVersionsRequest(parent=tenant_name(tenant), page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListVersions, request)

    async def list_routes(
        self, tenant: str | None, *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListRoutesResponse:
        """A page of routes, by workflow."""
        request = pb.ListRoutesRequest(parent=tenant_name(tenant), page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListRoutes, request)

    async def set_route(self, tenant: str | None, workflow: str, version: str, *, etag: str = "") -> pb.Route:
        """New instances of the workflow get that version. With an etag, ConflictError unless the route still has it."""
        request = pb.SetRouteRequest(
            name=route_name(tenant, workflow), version=version_name(tenant, version), etag=etag
        )
        repeats = _conflicts_are_final if etag else retryable
        return await self._caller.unary(self._stub.SetRoute, request, repeats=repeats)


def _conflicts_are_final(error: ApiError) -> bool:
    """Of a route that is set where it has an etag: once it was set, or by somebody else, it has another."""
    return uncommitted(error) and not isinstance(error, ConflictError)


def _parts(header: pb.DeployVersionRequest.Header, files: Collection[BundleFile]) -> Iterator[pb.DeployVersionRequest]:
    yield pb.DeployVersionRequest(header=header)
    for file in files:
        opened = pb.DeployVersionRequest.File(path=file.path, executable=file.executable)
        yield pb.DeployVersionRequest(file=opened)
        for chunk in file.chunks():
            yield pb.DeployVersionRequest(chunk=chunk)
