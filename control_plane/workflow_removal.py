"""The end of a workflow: its route goes, with what that remembers, and its schedules, in one transaction.

Its instances are on data nodes, each on its version: who wants them gone ends and deletes them, once nobody creates
further ones. Nodes may follow for a while what a route was, so that is waited for.
"""

from __future__ import annotations

from cluster import keys
from cluster.generations import Change, change
from cluster.records import Tenant
from cluster.store import ClusterStore, Delete
from control_plane.retirement import Settled
from control_plane.schedules import lifted
from control_plane.workflows import Workflows
from stepwell.names import WorkflowId


class WorkflowRemoval:
    """Of all tenants' workflows."""

    def __init__(self, store: ClusterStore, settled: Settled) -> None:
        self._store = store
        self._settled = settled
        self._workflows = Workflows(store)

    async def remove(self, tenant: Tenant, workflow: WorkflowId) -> None:
        """Returns once no create follows its route any more. Raises NotFoundError where it has none."""

        async def decide() -> Change[int]:
            await self._workflows.get(tenant.uid, workflow)
            route, ticked = Delete(keys.route(tenant.uid, workflow)), Delete(keys.ticked(tenant.uid, workflow))
            return Change((route, ticked, *await lifted(self._store, tenant, workflow)), lambda revision: revision)

        await self._settled(await change(self._store, tenant.uid, decide))
