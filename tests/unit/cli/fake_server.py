"""A Stepwell server that only remembers: every service of stepwell.v1 and health, in this process, on a free port.

It answers as the real one must: bearer tokens, one ErrorInfo an error, `tenants/-` for a tenant's own token.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2  # type: ignore[import-untyped]  # the wheel has no stubs
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import tenants_pb2 as t
from stepwell.v1 import workflows_pb2 as w
from stepwell.v1.instances_pb2_grpc import add_InstanceServiceServicer_to_server
from stepwell.v1.tenants_pb2_grpc import TenantServiceServicer, add_TenantServiceServicer_to_server
from stepwell.v1.workflows_pb2_grpc import add_WorkflowServiceServicer_to_server
from tests.unit.cli.fake_events import FakeEvents
from tests.unit.cli.fake_other_versions import FakeOtherVersions
from tests.unit.cli.fake_routes import FakeRoutes
from tests.unit.cli.fake_schedules import FakeSchedules
from tests.unit.cli.troubles import Troubles, refuse

OPERATOR = "swk_op_0123"
ACME = "swk_acme_4567"
KEY = "0123456789abcdef"
SECRET = "5ec7e7" * 10 + "cafe"
DIGEST = "sha256-" + "ab" * 32


class TellingHealth(health.HealthServicer):
    """Health, and by service what comes behind its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, tuple[tuple[str, bytes], ...]] = {}

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        context.set_trailing_metadata(self.told.get(request.service, ()))
        return super().Check(request, context)


class FakeServer(FakeOtherVersions, TenantServiceServicer, FakeRoutes, FakeSchedules, FakeEvents):
    """`with FakeServer() as server:` serves on `server.endpoint`. Tests set and read its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tenants: dict[str, t.Tenant] = {"tenants/acme": t.Tenant(name="tenants/acme", uid="u1")}
        self.versions: list[w.Version] = []
        self.pinned = 0
        self.version_files: dict[str, list[w.VersionFile]] = {}
        FakeRoutes.__init__(self, self.tenant_of)
        FakeSchedules.__init__(self, self.tenant_of)
        self.tokens: list[t.Token] = []
        self.deploys: list[bool] = []
        """Of each whether it was without routes."""
        self.instances: dict[str, i.Instance] = {}
        self.steps: dict[str, list[i.Step]] = {}
        self.events: dict[str, list[i.InstanceEvent]] = {}
        self.logs: dict[str, list[i.LogEntry]] = {}
        self.logs_asked: list[i.ListLogsRequest] = []
        FakeEvents.__init__(self, self.found)
        self.created: list[i.CreateInstanceRequest] = []
        self.undeletable = False
        """Whether batches of deletes are refused."""
        self.uploaded: dict[str, bytes] = {}
        self.executables: set[str] = set()
        self.manifest: w.Manifest | None = None
        self.chunk_sizes: list[int] = []
        self.deploy_refusal: str | None = None
        self.warnings: list[str] = []
        self.runtime = w.GuestRuntime(
            python_version="3.11.2", implementation="cpython", machine="x86_64", libc="glibc", libc_version="2.36"
        )
        self.runtimes_asked: list[str] = []
        self.watch_breaks_after: int | None = None
        self.watch_hangs = False
        self.let_go = Event()
        self.watched_from: list[str] = []
        self.steps_page_max = 1000
        self.metadata_seen: list[dict[str, str | bytes]] = []
        self.troubles = Troubles()
        self.health = TellingHealth()
        self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        may_ping = [("grpc.http2.min_ping_interval_without_data_ms", 100), ("grpc.keepalive_permit_without_calls", 1)]
        self._server = grpc.server(ThreadPoolExecutor(4), interceptors=[self.troubles], options=may_ping)
        add_TenantServiceServicer_to_server(self, self._server)
        add_WorkflowServiceServicer_to_server(self, self._server)
        add_InstanceServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> FakeServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def tenant_of(self, name: str, context: grpc.ServicerContext) -> str:
        """The name with the caller's own tenant for `-`, if the token may speak for it."""
        metadata = dict(context.invocation_metadata())
        self.metadata_seen.append(metadata)
        authorization = metadata.get("authorization")
        if authorization == f"Bearer {OPERATOR}":
            if name.startswith("tenants/-"):
                refuse(
                    context,
                    code_pb2.INVALID_ARGUMENT,
                    "INVALID_ARGUMENT",
                    "an operator's token has no tenant of its own",
                )
            return name
        if authorization != f"Bearer {ACME}":
            refuse(context, code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", "no known token came with this call")
        own = name.replace("tenants/-", "tenants/acme", 1)
        if own != "tenants/acme" and not own.startswith("tenants/acme/"):
            refuse(context, code_pb2.PERMISSION_DENIED, "PERMISSION_DENIED", "this token may not do that")
        return own

    def CreateTenant(self, request: t.CreateTenantRequest, context: grpc.ServicerContext) -> t.Tenant:
        name = self.tenant_of(f"tenants/{request.tenant_id}", context)
        if name in self.tenants:
            refuse(context, code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS", f"{name} exists", tenant=request.tenant_id)
        made = t.Tenant(name=name, uid=f"u{len(self.tenants) + 1}")
        made.create_time.FromJsonString("2026-01-02T03:04:05Z")
        self.tenants[name] = made
        return made

    def GetTenant(self, request: t.GetTenantRequest, context: grpc.ServicerContext) -> t.Tenant:
        return self.tenants[self.tenant_of(request.name, context)]

    def ListTenants(self, request: t.ListTenantsRequest, context: grpc.ServicerContext) -> t.ListTenantsResponse:
        self.tenant_of("tenants", context)
        found = sorted(self.tenants.values(), key=lambda tenant: tenant.name)
        start = int(request.page_token or 0)
        end = start + (request.page_size or 100)
        return t.ListTenantsResponse(tenants=found[start:end], next_page_token=str(end) if end < len(found) else "")

    def CreateToken(self, request: t.CreateTokenRequest, context: grpc.ServicerContext) -> t.CreateTokenResponse:
        parent = self.tenant_of(request.parent, context)
        made = t.Token(name=f"{parent}/tokens/{KEY}" if parent else f"tokens/{KEY}", scopes=request.scopes)
        self.tokens.append(made)
        return t.CreateTokenResponse(token=made, secret=f"swk_{KEY}_{SECRET}")

    def ListTokens(self, request: t.ListTokensRequest, context: grpc.ServicerContext) -> t.ListTokensResponse:
        parent = self.tenant_of(request.parent, context)
        own = [token for token in self.tokens if token.name.rpartition("tokens/")[0] == (parent and f"{parent}/")]
        return t.ListTokensResponse(tokens=own)

    def RevokeToken(self, request: t.RevokeTokenRequest, context: grpc.ServicerContext) -> Empty:
        name = self.tenant_of(request.name, context)
        if name not in {token.name for token in self.tokens}:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} does not exist")
        self.tokens = [token for token in self.tokens if token.name != name]
        return Empty()

    def DeployVersion(
        self, request_iterator: Iterator[w.DeployVersionRequest], context: grpc.ServicerContext
    ) -> w.DeployVersionResponse:
        header = next(request_iterator).header
        parent = self.tenant_of(header.parent, context)
        if self.deploy_refusal:
            refuse(context, code_pb2.FAILED_PRECONDITION, "BUNDLE_REFUSED", self.deploy_refusal)
        self.manifest, self.uploaded, path = header.manifest, {}, ""
        self.deploys.append(header.no_route)
        for part in request_iterator:
            if part.HasField("file"):
                path = part.file.path
                self.uploaded[path] = b""
                self.executables |= {path} if part.file.executable else set()
            else:
                self.uploaded[path] += part.chunk
                self.chunk_sizes.append(len(part.chunk))
        version = w.Version(name=f"{parent}/versions/{DIGEST}", manifest=header.manifest, file_count=len(self.uploaded))
        created = version.name not in {each.name for each in self.versions}
        self.versions = [version] if created else self.versions
        return w.DeployVersionResponse(version=version, created=created, warnings=self.warnings)

    def GetGuestRuntime(self, request: w.GetGuestRuntimeRequest, context: grpc.ServicerContext) -> w.GuestRuntime:
        self.runtimes_asked.append(self.tenant_of(request.parent, context))
        return self.runtime

    def GetVersion(self, request: w.GetVersionRequest, context: grpc.ServicerContext) -> w.Version:
        name = self.tenant_of(request.name, context)
        found = [version for version in self.versions if version.name == name]
        if not found:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} does not exist")
        return found[0]

    def ListVersions(self, request: w.ListVersionsRequest, context: grpc.ServicerContext) -> w.ListVersionsResponse:
        self.tenant_of(request.parent, context)
        return w.ListVersionsResponse(versions=self.versions)

    def GetVersionUsage(self, request: w.GetVersionUsageRequest, context: grpc.ServicerContext) -> w.VersionUsage:
        name = self.GetVersion(w.GetVersionRequest(name=request.name), context).name
        routed = [route.name.removesuffix("/route") for route in self.routes.values() if route.version == name]
        return w.VersionUsage(name=name, routed_workflows=routed, pinned_instances=self.pinned)

    def DrainVersion(self, request: w.DrainVersionRequest, context: grpc.ServicerContext) -> w.DrainVersionResponse:
        name = self.tenant_of(request.name, context)
        for route in self.routes.values():
            kept = [target for target in route.targets if target.version != name]
            if kept != list(route.targets):
                del route.targets[:]
                route.targets.extend(kept)
                return w.DrainVersionResponse(routes=[route])
        return w.DrainVersionResponse()

    def RetireVersion(self, request: w.RetireVersionRequest, context: grpc.ServicerContext) -> Empty:
        version = self.GetVersion(w.GetVersionRequest(name=request.name), context)
        if self.pinned:
            refuse(context, code_pb2.FAILED_PRECONDITION, "WRONG_STATE", f"{self.pinned} instances", pinned="2")
        self.versions.remove(version)
        return Empty()

    def ListVersionFiles(
        self, request: w.ListVersionFilesRequest, context: grpc.ServicerContext
    ) -> w.ListVersionFilesResponse:
        """A page has one file, whatever is asked for."""
        files, start = self.version_files[self.tenant_of(request.parent, context)], int(request.page_token or 0)
        more = str(start + 1) if start + 1 < len(files) else ""
        return w.ListVersionFilesResponse(files=files[start : start + 1], next_page_token=more)

    def CreateInstance(self, request: i.CreateInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        name = f"{self.tenant_of(request.parent, context)}/instances/{request.instance_id or 'made-1'}"
        self.created.append(request)
        if name in self.instances:
            refuse(context, code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS", f"{name} exists")
        made = i.Instance(name=name, uid="iu1", status=i.INSTANCE_STATUS_QUEUED, params=request.params or b"null")
        made.version = f"tenants/acme/versions/{DIGEST}"
        made.create_time.FromJsonString("2026-01-02T03:04:05.678Z")
        self.instances = {name: made, **self.instances}
        return made

    def BatchCreateInstances(
        self, request: i.BatchCreateInstancesRequest, context: grpc.ServicerContext
    ) -> i.BatchCreateInstancesResponse:
        parent, answer = self.tenant_of(request.parent, context), i.BatchCreateInstancesResponse()
        for item in request.items:
            name = f"{parent}/instances/{item.instance_id}"
            if name in self.instances:
                error = i.ItemError(code=6, reason="ALREADY_EXISTS", message=f"{name} exists", metadata={"a": "b"})
                answer.results.add(error=error)
            else:
                answer.results.add(instance=i.Instance(name=name, params=item.params))
        return answer

    def BatchDeleteInstances(
        self, request: i.BatchDeleteInstancesRequest, context: grpc.ServicerContext
    ) -> i.BatchDeleteInstancesResponse:
        parent, answer = self.tenant_of(request.parent, context), i.BatchDeleteInstancesResponse()
        for id in request.instance_ids:
            if self.undeletable:
                answer.results.add(error=i.ItemError(code=9, reason="WRONG_STATE", message="its parent has to hear"))
                continue
            there = self.instances.pop(f"{parent}/instances/{id}", None)
            answer.results.add(error=None if there else i.ItemError(code=5, reason="NOT_FOUND", message=f"no {id}"))
        return answer

    def GetInstance(self, request: i.GetInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        return self.found(request.name, context)

    def ListInstances(self, request: i.ListInstancesRequest, context: grpc.ServicerContext) -> i.ListInstancesResponse:
        parent = self.tenant_of(request.parent, context)
        found = [one for name, one in self.instances.items() if name.startswith(f"{parent}/instances/")]
        found = [one for one in found if not request.statuses or one.status in request.statuses]
        size = request.page_size or 100
        return i.ListInstancesResponse(instances=found[:size], next_page_token="more" if len(found) > size else "")

    def ListSteps(self, request: i.ListStepsRequest, context: grpc.ServicerContext) -> i.ListStepsResponse:
        steps = self.steps.get(self.tenant_of(request.parent, context), [])
        start = int(request.page_token or 0)
        end = start + min(request.page_size or 100, self.steps_page_max)
        return i.ListStepsResponse(steps=steps[start:end], next_page_token=str(end) if end < len(steps) else "")

    def PauseInstance(self, request: i.PauseInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        return self._put(request.name, i.INSTANCE_STATUS_WAITING_FOR_PAUSE, context)

    def ResumeInstance(self, request: i.ResumeInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        return self._put(request.name, i.INSTANCE_STATUS_RUNNING, context)

    def RestartInstance(self, request: i.RestartInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        return self._put(request.name, i.INSTANCE_STATUS_QUEUED, context)

    def CancelInstance(self, request: i.CancelInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        return self._put(request.name, i.INSTANCE_STATUS_RUNNING, context)

    def TerminateInstance(self, request: i.TerminateInstanceRequest, context: grpc.ServicerContext) -> i.Instance:
        return self._put(request.name, i.INSTANCE_STATUS_TERMINATED, context)

    def DeleteInstance(self, request: i.DeleteInstanceRequest, context: grpc.ServicerContext) -> Empty:
        del self.instances[self.found(request.name, context).name]
        return Empty()

    def WatchInstance(
        self, request: i.WatchInstanceRequest, context: grpc.ServicerContext
    ) -> Iterator[i.InstanceEvent]:
        name = self.found(request.name, context).name
        self.watched_from.append(request.cursor)
        for number, event in enumerate(self.events[name]):
            if number == self.watch_breaks_after:
                self.watch_breaks_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if not request.cursor or int(event.cursor) > int(request.cursor):
                yield event
        if self.watch_hangs:
            self.let_go.wait()

    def ListLogs(self, request: i.ListLogsRequest, context: grpc.ServicerContext) -> i.ListLogsResponse:
        name = self.found(request.parent, context).name
        self.logs_asked.append(request)
        start = int(request.page_token or 0)
        end = start + (request.page_size or 100)
        entries = self.logs.get(name, [])
        return i.ListLogsResponse(entries=entries[start:end], next_page_token=str(end) if end < len(entries) else "")

    def WatchLogs(self, request: i.WatchLogsRequest, context: grpc.ServicerContext) -> Iterator[i.LogEntry]:
        name = self.found(request.name, context).name
        self.watched_from.append(request.cursor)
        for number, entry in enumerate(self.logs[name]):
            if number == self.watch_breaks_after:
                self.watch_breaks_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if (not request.cursor or int(entry.cursor) > int(request.cursor)) and (
                request.step_name in ("", entry.step_name)
            ):
                yield entry
        if self.watch_hangs:
            self.let_go.wait()

    def found(self, name: str, context: grpc.ServicerContext) -> i.Instance:
        name = self.tenant_of(name, context)
        if name not in self.instances:
            refuse(context, code_pb2.NOT_FOUND, "NOT_FOUND", f"{name} does not exist", instance=name)
        return self.instances[name]

    def _put(self, name: str, status: i.InstanceStatus.ValueType, context: grpc.ServicerContext) -> i.Instance:
        found = self.found(name, context)
        found.status = status
        return found
