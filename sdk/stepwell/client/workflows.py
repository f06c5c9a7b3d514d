"""Which code a tenant's workflows run: deploys, versions, workflows and routes. Without a tenant, the token's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stepwell.client.calls import Caller
from stepwell.client.patience import retryable, uncommitted
from stepwell.client.resource_names import route_name, tenant_name, version_name, workflow_name
from stepwell.errors import ApiError, ConflictError
from stepwell.v1 import workflows_pb2 as pb
from stepwell.v1.workflows_pb2_grpc import WorkflowServiceStub

CHUNK_SIZE = 1024 * 1024

FILES_PAGE_SIZE = 1_000
"""Of a version's files: as many as a page may have."""

COUNT_S_MAX = 90.0
"""Of one count of pinned instances, which reads the lists of all of a version's workflows."""

DELETE_S_MAX = 60.0
"""What nodes may remember of a route, and some more."""

RETIRE_S_MAX = 600.0
"""Two counts, what nodes may remember of routes, and a turn among the tenant's deploys."""


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

    async def delete(self, tenant: str | None, workflow: str) -> None:
        """Its route and its schedules go, and nothing creates instances of it any more, some 16 s later; those that
        there are stay: `Instances.delete_all`. NotFoundError where it has no route."""
        request = pb.DeleteWorkflowRequest(name=workflow_name(tenant, workflow))
        await self._caller.removal(self._stub.DeleteWorkflow, request, usual_s=DELETE_S_MAX)

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

    async def version_usage(self, tenant: str | None, version: str) -> pb.VersionUsage:
        """Who needs it. NotFoundError when there is none, UnavailableError when nobody can count now."""
        request = pb.GetVersionUsageRequest(name=version_name(tenant, version))
        return await self._caller.unary(self._stub.GetVersionUsage, request, usual_s=COUNT_S_MAX)

    async def drain_version(self, tenant: str | None, version: str) -> pb.DrainVersionResponse:
        """No route names it any more; WrongStateError where it is a route's only version."""
        request = pb.DrainVersionRequest(name=version_name(tenant, version))
        return await self._caller.unary(self._stub.DrainVersion, request)

    async def retire_version(self, tenant: str | None, version: str) -> None:
        """It is gone for good, some 16 s later; WrongStateError while it is needed. May be called again."""
        request = pb.RetireVersionRequest(name=version_name(tenant, version))
        await self._caller.removal(self._stub.RetireVersion, request, usual_s=RETIRE_S_MAX)

    async def version_files(self, tenant: str | None, version: str) -> Sequence[pb.VersionFile]:
        """All files of a version, by path: at most 10,000, page after page. NotFoundError when there is none."""
        found: list[pb.VersionFile] = []
        token = ""
        while True:
            request = pb.ListVersionFilesRequest(
                parent=version_name(tenant, version), page_size=FILES_PAGE_SIZE, page_token=token
            )
            page = await self._caller.unary(self._stub.ListVersionFiles, request)
            found += page.files
            token = page.next_page_token
            if not token:
                return found

    async def list_routes(
        self, tenant: str | None, *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListRoutesResponse:
        """A page of routes, by workflow."""
        request = pb.ListRoutesRequest(parent=tenant_name(tenant), page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListRoutes, request)

    async def get_route(self, tenant: str | None, workflow: str) -> pb.Route:
        """NotFoundError when there is none."""
        request = pb.GetRouteRequest(name=route_name(tenant, workflow))
        return await self._caller.unary(self._stub.GetRoute, request)

    async def set_route(
        self, tenant: str | None, workflow: str, shares: Sequence[tuple[str, int]], *, etag: str = ""
    ) -> pb.Route:
        """New instances of the workflow get those versions, each so many of a hundred.

        With an etag, ConflictError unless the route still has it.
        """
        targets = [pb.RouteTarget(version=version_name(tenant, version), weight=weight) for version, weight in shares]
        request = pb.SetRouteRequest(name=route_name(tenant, workflow), targets=targets, etag=etag)
        repeats = _conflicts_are_final if etag else retryable
        return await self._caller.unary(self._stub.SetRoute, request, repeats=repeats)

    async def promote_route(
        self, tenant: str | None, workflow: str, version: str | None = None, *, etag: str = ""
    ) -> pb.PromoteRouteResponse:
        """That one of the route's versions gets everything; without one, the last of two. Etags as in `set_route`."""
        request = pb.PromoteRouteRequest(
            name=route_name(tenant, workflow),
            version=version_name(tenant, version) if version else "",
            etag=etag,
            request_id=self._caller.new_request_id(),
        )
        return await self._caller.unary(self._stub.PromoteRoute, request)

    async def roll_back_route(self, tenant: str | None, workflow: str, *, etag: str = "") -> pb.RollBackRouteResponse:
        """The route is what it was before the last version came in. Etags as in `set_route`."""
        request = pb.RollBackRouteRequest(
            name=route_name(tenant, workflow), etag=etag, request_id=self._caller.new_request_id()
        )
        return await self._caller.unary(self._stub.RollBackRoute, request)

    async def list_schedules(
        self, tenant: str | None, *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListSchedulesResponse:
        """Of workflows that have schedules in force, or are paused, by name."""
        request = pb.ListSchedulesRequest(parent=tenant_name(tenant), page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListSchedules, request)

    async def pause_schedules(self, tenant: str | None, workflow: str) -> pb.WorkflowSchedules:
        """None of its schedules creates an instance until `resume_schedules`, whatever is deployed. Idempotent."""
        request = pb.PauseSchedulesRequest(name=workflow_name(tenant, workflow))
        return await self._caller.unary(self._stub.PauseSchedules, request)

    async def resume_schedules(self, tenant: str | None, workflow: str) -> pb.WorkflowSchedules:
        """They go on with their next times; what was due meanwhile is not made up for. Idempotent."""
        request = pb.ResumeSchedulesRequest(name=workflow_name(tenant, workflow))
        return await self._caller.unary(self._stub.ResumeSchedules, request)


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
