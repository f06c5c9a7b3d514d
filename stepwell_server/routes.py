"""How a node finds the version that a workflow's route names: the one place where the planes' words meet."""

from __future__ import annotations

from cluster.directory import Directory
from data_plane.calls import RoutedVersion
from stepwell.names import TenantUid, WorkflowId


class DirectoryRoutes:
    """Adapts the directory to what `data_plane.calls` asks of it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def routed(self, tenant: TenantUid, workflow: WorkflowId) -> RoutedVersion:
        """Raises NotFoundError for a workflow that was never deployed."""
        route = await self._directory.route(tenant, workflow)
        return RoutedVersion(route.digest, route.entrypoint)
