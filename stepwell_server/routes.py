"""How a node finds the version that a workflow's route gives: the one place where the planes' words meet."""

from __future__ import annotations

from cluster.directory import Directory
from cluster.records import Terms, Version
from cluster.weights import chosen
from data_plane.calling import Choose, RoutedVersion
from stepwell.errors import NotFoundError
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId


class DirectoryRoutes:
    """Adapts the directory to what `data_plane.calls` asks of it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def routed(self, tenant: TenantUid, workflow: WorkflowId) -> Choose:
        """Raises NotFoundError for a workflow that was never deployed."""
        terms: dict[Digest, Terms] = {}
        while True:
            # Last of all, so that it is the route of now, however long its versions took to be read.
            route = await self._directory.route(tenant, workflow)
            unread = [target.digest for target in route.targets if target.digest not in terms]
            if not unread:
                break
            for digest in unread:
                terms[digest] = await self._directory.terms(tenant, digest, workflow)

        def choose(instance: InstanceId) -> RoutedVersion:
            target = chosen(route, instance)
            return RoutedVersion(target.digest, target.entrypoint, *terms[target.digest])

        return choose

    async def check_version(self, tenant: TenantUid, digest: Digest) -> None:
        """Raises NotFoundError for one that was retired, or is being retired."""
        await self._version(tenant, digest)

    async def on_version(self, tenant: TenantUid, workflow: WorkflowId, digest: Digest) -> RoutedVersion:
        """Raises NotFoundError for one that does not have the workflow, too."""
        version = await self._version(tenant, digest)
        entrypoint = dict(version.entrypoints).get(workflow)
        if entrypoint is None:
            raise NotFoundError(f"the version {digest} has no workflow {workflow!r}", version=digest, workflow=workflow)
        return RoutedVersion(digest, entrypoint, *version.terms(workflow))

    async def _version(self, tenant: TenantUid, digest: Digest) -> Version:
        version = await self._directory.version(tenant, digest)
        if version.retiring:
            raise NotFoundError(
                f"the version {digest} is being retired: nothing begins with it any more", version=digest
            )
        return version
