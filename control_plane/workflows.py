"""Workflows: which versions new instances of each get."""

from __future__ import annotations

from cluster import keys
from cluster.codec import decode_route
from cluster.records import Route
from cluster.store import RANGE_LIMIT_MAX, ClusterStore
from control_plane.pages import Page, stored_page
from stepwell.errors import NotFoundError
from stepwell.names import TenantUid, WorkflowId


class Workflows:
    """Reads over the cluster's store; see there for consistency. `routing` and `routes` write the routes."""

    def __init__(self, store: ClusterStore) -> None:
        self._store = store

    async def get(self, uid: TenantUid, workflow: WorkflowId) -> Route:
        """Raises NotFoundError."""
        stored = await self._store.get(keys.route(uid, workflow))
        if stored is None:
            raise NotFoundError(
                f"the tenant has no workflow {workflow!r}: deploy a bundle that declares it, or set its route",
                workflow=workflow,
            )
        return decode_route(stored)

    async def list(self, uid: TenantUid, size: int, position: str = "") -> Page[Route]:
        """By id."""
        page = await stored_page(self._store, keys.routes(uid), size, position)
        return Page(tuple(decode_route(stored) for stored in page.items), page.position)

    async def all(self, uid: TenantUid) -> tuple[Route, ...]:
        """By id; a tenant has so many as its limit says, and RANGE_LIMIT_MAX at most."""
        return tuple(map(decode_route, await self._store.range(keys.routes(uid), limit=RANGE_LIMIT_MAX)))
