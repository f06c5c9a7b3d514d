"""WorkflowService of `stepwell.v1`: decodes, calls, encodes. Deploys, versions, workflows and routes of a tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from google.protobuf.empty_pb2 import Empty

from cluster.directory import Directory
from cluster.records import WEIGHTS_SUM, CatchUp, Route, Schedule, Targets, Version
from control_plane.deploys import Deploys, FileStart
from control_plane.guests import Guests
from control_plane.retirement import Retirement
from control_plane.routes import Routes, Share
from control_plane.schedules import ScheduleCalls, WorkflowSchedules
from control_plane.version_files import VersionFiles
from control_plane.versions import Versions
from control_plane.workflow_removal import WorkflowRemoval
from control_plane.workflows import Workflows
from loader.bundles.manifest import Manifest, WorkflowEntry
from rpc.auth import Principal, principal
from rpc.paging import page_size, page_token, position
from rpc.resource_names import (
    checked,
    parse_route,
    parse_tenant,
    parse_version,
    parse_workflow,
    route_name,
    version_name,
    workflow_name,
)
from rpc.times import timestamp
from rpc.workflow_terms import limits_of, retention_of
from stepwell import names
from stepwell.client.workflow_terms import limits_message, retention_message
from stepwell.errors import InvalidArgumentError, LimitExceededError
from stepwell.names import Digest, TenantId, WorkflowId
from stepwell.v1 import workflows_pb2 as pb
from stepwell.v1.workflows_pb2_grpc import WorkflowServiceServicer

CHUNK_BYTES_MAX = 1024 * 1024
"""Of one chunk in a deploy, as the API documents it."""


class WorkflowService(WorkflowServiceServicer):
    def __init__(
        self,
        directory: Directory,
        deploys: Deploys,
        guests: Guests,
        versions: Versions,
        files: VersionFiles,
        workflows: Workflows,
        routes: Routes,
        retirement: Retirement,
        removal: WorkflowRemoval,
        schedules: ScheduleCalls,
    ) -> None:
        self._directory = directory
        self._deploys = deploys
        self._guests = guests
        self._versions = versions
        self._files = files
        self._workflows = workflows
        self._routes = routes
        self._retirement = retirement
        self._removal = removal
        self._schedules = schedules

    async def DeployVersion(
        self, request_iterator: AsyncIterator[pb.DeployVersionRequest], context: Any
    ) -> pb.DeployVersionResponse:
        header = await _header(request_iterator)
        tenant = await self._directory.tenant(parse_tenant(header.parent, principal(context), "header.parent"))
        deployed = await self._deploys.deploy(
            tenant, _manifest(header.manifest), _parts(request_iterator), no_route=header.no_route
        )
        return pb.DeployVersionResponse(
            version=_version(tenant.id, deployed.version, _digests(deployed.routes)),
            workflows=[_workflow(tenant.id, route) for route in deployed.routes],
            created=deployed.created,
            warnings=deployed.warnings,
        )

    async def GetGuestRuntime(self, request: pb.GetGuestRuntimeRequest, context: Any) -> pb.GuestRuntime:
        await self._directory.tenant(parse_tenant(request.parent, principal(context), "parent"))
        return pb.GuestRuntime(**(await self._guests.runtime())._asdict())

    async def GetVersion(self, request: pb.GetVersionRequest, context: Any) -> pb.Version:
        tenant_id, digest = parse_version(request.name, principal(context))
        tenant = await self._directory.tenant(tenant_id)
        version = await self._versions.get(tenant.uid, digest)
        return _version(tenant_id, version, _digests(await self._workflows.all(tenant.uid)))

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Any) -> pb.ListVersionsResponse:
        tenant = await self._directory.tenant(parse_tenant(request.parent, principal(context), "parent"))
        scope = f"versions/{tenant.uid}"
        page = await self._versions.list(tenant.uid, page_size(request.page_size), position(scope, request.page_token))
        routed = _digests(await self._workflows.all(tenant.uid))
        return pb.ListVersionsResponse(
            versions=[_version(tenant.id, version, routed) for version in page.items],
            next_page_token=page_token(scope, page.position) if page.position else "",
        )

    async def GetVersionUsage(self, request: pb.GetVersionUsageRequest, context: Any) -> pb.VersionUsage:
        tenant_id, digest = parse_version(request.name, principal(context))
        usage = await self._retirement.usage(await self._directory.tenant(tenant_id), digest)
        return pb.VersionUsage(
            name=version_name(tenant_id, digest),
            routed_workflows=[workflow_name(tenant_id, each) for each in usage.routed],
            pinned_instances=usage.pinned,
        )

    async def DrainVersion(self, request: pb.DrainVersionRequest, context: Any) -> pb.DrainVersionResponse:
        tenant_id, digest = parse_version(request.name, principal(context))
        changed = await self._retirement.drain(await self._directory.tenant(tenant_id), digest)
        return pb.DrainVersionResponse(routes=[_route(tenant_id, each) for each in changed])

    async def RetireVersion(self, request: pb.RetireVersionRequest, context: Any) -> Empty:
        tenant_id, digest = parse_version(request.name, principal(context))
        await self._retirement.retire(await self._directory.tenant(tenant_id), digest)
        return Empty()

    async def ListVersionFiles(self, request: pb.ListVersionFilesRequest, context: Any) -> pb.ListVersionFilesResponse:
        tenant_id, digest = parse_version(request.parent, principal(context), "parent")
        tenant = await self._directory.tenant(tenant_id)
        scope = f"files/{tenant.uid}/{digest}"
        size, after = page_size(request.page_size), position(scope, request.page_token)
        await self._versions.get(tenant.uid, digest)
        page = await self._files.list(tenant.uid, digest, size, after)
        return pb.ListVersionFilesResponse(
            files=[
                pb.VersionFile(
                    path=each.path, executable=each.executable, size_bytes=each.size_bytes, sha256=each.sha256
                )
                for each in page.items
            ],
            next_page_token=page_token(scope, page.position) if page.position else "",
        )

    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Any) -> pb.Workflow:
        tenant_id, workflow = parse_workflow(request.name, principal(context))
        tenant = await self._directory.tenant(tenant_id)
        return _workflow(tenant_id, await self._workflows.get(tenant.uid, workflow))

    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Any) -> pb.ListWorkflowsResponse:
        tenant = await self._directory.tenant(parse_tenant(request.parent, principal(context), "parent"))
        scope = f"workflows/{tenant.uid}"
        page = await self._workflows.list(tenant.uid, page_size(request.page_size), position(scope, request.page_token))
        return pb.ListWorkflowsResponse(
            workflows=[_workflow(tenant.id, route) for route in page.items],
            next_page_token=page_token(scope, page.position) if page.position else "",
        )

    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: Any) -> Empty:
        tenant_id, workflow = parse_workflow(request.name, principal(context))
        await self._removal.remove(await self._directory.tenant(tenant_id), workflow)
        return Empty()

    async def GetRoute(self, request: pb.GetRouteRequest, context: Any) -> pb.Route:
        tenant_id, workflow = parse_route(request.name, principal(context))
        tenant = await self._directory.tenant(tenant_id)
        return _route(tenant_id, await self._workflows.get(tenant.uid, workflow))

    async def ListRoutes(self, request: pb.ListRoutesRequest, context: Any) -> pb.ListRoutesResponse:
        tenant = await self._directory.tenant(parse_tenant(request.parent, principal(context), "parent"))
        scope = f"routes/{tenant.uid}"
        page = await self._workflows.list(tenant.uid, page_size(request.page_size), position(scope, request.page_token))
        return pb.ListRoutesResponse(
            routes=[_route(tenant.id, route) for route in page.items],
            next_page_token=page_token(scope, page.position) if page.position else "",
        )

    async def SetRoute(self, request: pb.SetRouteRequest, context: Any) -> pb.Route:
        caller = principal(context)
        tenant_id, workflow = parse_route(request.name, caller)
        shares = _shares(request, tenant_id, caller)
        first = _digest(request.version, tenant_id, caller, "version") if request.version else shares[0].digest
        tenant = await self._directory.tenant(tenant_id)
        if first != shares[0].digest:
            for digest in (first, shares[0].digest):
                await self._versions.get(tenant.uid, digest)
            raise InvalidArgumentError(
                "version: with targets it is the first of them, and this is another; leave it out", field="version"
            )
        return _route(tenant_id, await self._routes.set(tenant, workflow, shares, request.etag))

    async def PromoteRoute(self, request: pb.PromoteRouteRequest, context: Any) -> pb.PromoteRouteResponse:
        caller = principal(context)
        tenant_id, workflow = parse_route(request.name, caller)
        digest = _digest(request.version, tenant_id, caller, "version") if request.version else None
        request_id = checked(names.request_id, request.request_id, "request_id")
        tenant = await self._directory.tenant(tenant_id)
        changed = await self._routes.promote(tenant, workflow, digest, request.etag, request_id)
        return pb.PromoteRouteResponse(
            route=_route(tenant_id, changed.route), replaced_targets=_targets(tenant_id, changed.replaced)
        )

    async def RollBackRoute(self, request: pb.RollBackRouteRequest, context: Any) -> pb.RollBackRouteResponse:
        tenant_id, workflow = parse_route(request.name, principal(context))
        request_id = checked(names.request_id, request.request_id, "request_id")
        tenant = await self._directory.tenant(tenant_id)
        changed = await self._routes.roll_back(tenant, workflow, request.etag, request_id)
        return pb.RollBackRouteResponse(
            route=_route(tenant_id, changed.route), replaced_targets=_targets(tenant_id, changed.replaced)
        )

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Any) -> pb.ListSchedulesResponse:
        tenant = await self._directory.tenant(parse_tenant(request.parent, principal(context), "parent"))
        scope = f"schedules/{tenant.uid}"
        page = await self._schedules.list(tenant, page_size(request.page_size), position(scope, request.page_token))
        return pb.ListSchedulesResponse(
            workflows=[_schedules(tenant.id, each) for each in page.items],
            next_page_token=page_token(scope, page.position) if page.position else "",
        )

    async def PauseSchedules(self, request: pb.PauseSchedulesRequest, context: Any) -> pb.WorkflowSchedules:
        tenant_id, workflow = parse_workflow(request.name, principal(context))
        paused = await self._schedules.pause(await self._directory.tenant(tenant_id), workflow)
        return _schedules(tenant_id, paused)

    async def ResumeSchedules(self, request: pb.ResumeSchedulesRequest, context: Any) -> pb.WorkflowSchedules:
        tenant_id, workflow = parse_workflow(request.name, principal(context))
        resumed = await self._schedules.resume(await self._directory.tenant(tenant_id), workflow)
        return _schedules(tenant_id, resumed)


_CATCH_UP: Final = {
    pb.CATCH_UP_NONE: CatchUp.NONE,
    pb.CATCH_UP_LAST: CatchUp.LAST,
    pb.CATCH_UP_ALL: CatchUp.ALL,
}
_CATCH_UP_TOLD: Final = {catch_up: told for told, catch_up in _CATCH_UP.items()}


async def _header(requests: AsyncIterator[pb.DeployVersionRequest]) -> pb.DeployVersionRequest.Header:
    async for request in requests:
        if request.WhichOneof("part") == "header":
            return request.header
        break
    raise InvalidArgumentError("a deploy begins with its header: the tenant and the manifest", field="header")


async def _parts(requests: AsyncIterator[pb.DeployVersionRequest]) -> AsyncIterator[FileStart | bytes]:
    async for request in requests:
        match request.WhichOneof("part"):
            case "file":
                yield FileStart(request.file.path, request.file.executable)
            case "chunk":
                if len(request.chunk) > CHUNK_BYTES_MAX:
                    seen = len(request.chunk)
                    raise LimitExceededError(
                        f"a chunk has {seen:,} bytes; at most {CHUNK_BYTES_MAX:,} can be sent at once",
                        field="chunk", limit="chunk_bytes_max", value=str(CHUNK_BYTES_MAX), seen=str(seen),
                    )  # fmt: skip
                yield request.chunk
            case "header":
                raise InvalidArgumentError("a deploy has one header, and it comes first", field="header")
            case _:
                raise InvalidArgumentError("each part of a deploy is a file or a chunk; one is empty", field="part")


def _manifest(manifest: pb.Manifest) -> Manifest:
    """Unjudged: the deploy does that."""
    entries = (
        WorkflowEntry(
            WorkflowId(entry.workflow_id),
            entry.entrypoint,
            tuple(
                _schedule(schedule, f"header.manifest.workflows[{at}].schedules[{number}]")
                for number, schedule in enumerate(entry.schedules)
            ),
            retention_of(entry.retention),
            limits_of(entry.limits),
        )
        for at, entry in enumerate(manifest.workflows)
    )
    bindings = {name: WorkflowId(workflow) for name, workflow in manifest.bindings.items()}
    return Manifest(tuple(entries), dict(manifest.vars), bindings)


def _schedule(schedule: pb.Schedule, field: str) -> Schedule:
    catch_up = _CATCH_UP.get(schedule.catch_up or pb.CATCH_UP_LAST)
    if catch_up is None:
        raise InvalidArgumentError(
            f"{field}.catch_up: {schedule.catch_up} is none of CATCH_UP_NONE, CATCH_UP_LAST and CATCH_UP_ALL",
            field=f"{field}.catch_up",
        )
    return Schedule(" ".join(schedule.cron.split()), schedule.timezone or "UTC", catch_up)


def _shares(request: pb.SetRouteRequest, tenant: TenantId, caller: Principal) -> list[Share]:
    """Unjudged but for their names."""
    if not request.targets:
        return [Share(_digest(request.version, tenant, caller, "version"), WEIGHTS_SUM)]
    return [
        Share(_digest(each.version, tenant, caller, f"targets[{number}].version"), each.weight)
        for number, each in enumerate(request.targets)
    ]


def _digest(name: str, tenant: TenantId, caller: Principal, field: str) -> Digest:
    """Of a version of that tenant's."""
    versions_tenant, digest = parse_version(name, caller, field)
    if versions_tenant != tenant:
        raise InvalidArgumentError(
            f"{field}: a route leads to a version of its own tenant, and this is another's", field=field
        )
    return digest


def _digests(routes: Iterable[Route]) -> frozenset[Digest]:
    """The versions that those routes name."""
    return frozenset(target.digest for route in routes for target in route.targets)


def _version(tenant: TenantId, version: Version, routed: frozenset[Digest]) -> pb.Version:
    schedules = dict(version.schedules)
    entries = [
        pb.WorkflowEntry(
            workflow_id=name,
            entrypoint=entrypoint,
            schedules=map(_shown, schedules.get(name, ())),
            retention=retention_message(terms.retention),
            limits=limits_message(terms.limits),
        )
        for name, entrypoint in version.entrypoints
        for terms in [version.terms(name)]
    ]
    return pb.Version(
        name=version_name(tenant, version.digest),
        manifest=pb.Manifest(workflows=entries, vars=version.vars, bindings=dict(version.bindings)),
        create_time=timestamp(version.created_at_ms),
        file_count=version.file_count,
        size_bytes=version.size_bytes,
        state=_state(version, routed),
    )


def _shown(schedule: Schedule) -> pb.Schedule:
    return pb.Schedule(
        cron=schedule.cron, timezone=schedule.timezone, catch_up=_CATCH_UP_TOLD[CatchUp(schedule.catch_up)]
    )


def _schedules(tenant: TenantId, scheduled: WorkflowSchedules) -> pb.WorkflowSchedules:
    told = pb.WorkflowSchedules(name=workflow_name(tenant, scheduled.workflow), paused=scheduled.paused)
    for each in scheduled.schedules:
        shown = told.schedules.add(schedule=_shown(each.schedule))
        if each.next_ms is not None:
            shown.next_tick_time.CopyFrom(timestamp(each.next_ms))
        if each.last_ms is not None:
            shown.last_tick_time.CopyFrom(timestamp(each.last_ms))
    return told


def _state(version: Version, routed: frozenset[Digest]) -> pb.VersionState.ValueType:
    if version.retiring:
        return pb.VERSION_STATE_RETIRING
    return pb.VERSION_STATE_ROUTED if version.digest in routed else pb.VERSION_STATE_UNROUTED


def _workflow(tenant: TenantId, route: Route) -> pb.Workflow:
    return pb.Workflow(
        name=workflow_name(tenant, route.workflow),
        version=version_name(tenant, route.digest),
        entrypoint=route.entrypoint,
        create_time=timestamp(route.created_at_ms),
        update_time=timestamp(route.updated_at_ms),
        targets=_targets(tenant, route.targets),
    )


def _route(tenant: TenantId, route: Route) -> pb.Route:
    return pb.Route(
        name=route_name(tenant, route.workflow),
        version=version_name(tenant, route.digest),
        entrypoint=route.entrypoint,
        etag=str(route.mod_revision),
        update_time=timestamp(route.updated_at_ms),
        targets=_targets(tenant, route.targets),
        previous_targets=_targets(tenant, route.before[0] if route.before else ()),
    )


def _targets(tenant: TenantId, targets: Targets) -> list[pb.RouteTarget]:
    return [
        pb.RouteTarget(version=version_name(tenant, each.digest), entrypoint=each.entrypoint, weight=each.weight)
        for each in targets
    ]
