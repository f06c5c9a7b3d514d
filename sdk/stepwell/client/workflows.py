"""Which code a tenant's workflows run: deploys, versions and workflows. Without a tenant, the token's own is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from stepwell.client.calls import Caller
from stepwell.client.resource_names import tenant_name, workflow_name
from stepwell.v1 import workflows_pb2 as pb
from stepwell.v1.workflows_pb2_grpc import WorkflowServiceStub


class BundleFile(Protocol):
    """One file of a bundle."""

    @property
    def path(self) -> str:
        """Relative, NFC, '/' between its parts."""

    @property
    def executable(self) -> bool: ...

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, at most 1 MiB at a time."""


class Workflows:
    """WorkflowService."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = WorkflowServiceStub(caller.channel)

    async def deploy(
        self, tenant: str | None, manifest: pb.Manifest, files: Iterable[BundleFile]
    ) -> pb.DeployVersionResponse:
        """Upload a bundle and route its workflows to it. Idempotent: the same files and manifest are the same version.

        BundleRefusedError when its check fails. Another thread reads the files.
        """
        header = pb.DeployVersionRequest.Header(parent=tenant_name(tenant), manifest=manifest)
        return await self._caller.upload(
            lambda channel: WorkflowServiceStub(channel).DeployVersion, _parts(header, files)
        )

    async def get(self, tenant: str | None, workflow: str) -> pb.Workflow:
        """NotFoundError when there is none."""
        request = pb.GetWorkflowRequest(name=workflow_name(tenant, workflow))
        return await self._caller.unary(self._stub.GetWorkflow, request)

    async def list(self, tenant: str | None, *, page_size: int = 0, page_token: str = "") -> pb.ListWorkflowsResponse:
        """A page of workflows, by id."""
        request = pb.ListWorkflowsRequest(parent=tenant_name(tenant), page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListWorkflows, request)

    async def list_versions(
        self, tenant: str | None, *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListVersionsResponse:
        """A page of versions, newest first."""
        request = pb.ListVersionsRequest(parent=tenant_name(tenant), page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListVersions, request)


def _parts(header: pb.DeployVersionRequest.Header, files: Iterable[BundleFile]) -> Iterator[pb.DeployVersionRequest]:
    yield pb.DeployVersionRequest(header=header)
    for file in files:
        opened = pb.DeployVersionRequest.File(path=file.path, executable=file.executable)
        yield pb.DeployVersionRequest(file=opened)
        for chunk in file.chunks():
            yield pb.DeployVersionRequest(chunk=chunk)
