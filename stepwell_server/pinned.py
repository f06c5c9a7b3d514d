"""How many instances are pinned to a version, where one process has all of them."""

from __future__ import annotations

from collections.abc import Sequence

from data_plane.node import Node
from data_plane.pinned import in_memory, listed
from stepwell.names import Digest, TenantUid, WorkflowId


class NodePinned:
    """`control_plane.pinned.PinnedInstances` by the node in this process."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def count(self, tenant: TenantUid, digest: Digest, workflows: Sequence[WorkflowId]) -> int:
        """As the port says."""
        here = in_memory(self._node, tenant, digest).unended
        return max(here, await listed(self._node.store, tenant, digest, workflows))
