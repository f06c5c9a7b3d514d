"""The port to how many instances are pinned to a version: data nodes know, the control plane asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepwell.names import Digest, TenantUid, WorkflowId


class PinnedInstances(Protocol):
    """Reads alone: it may be asked again."""

    async def count(self, tenant: TenantUid, digest: Digest, workflows: Sequence[WorkflowId]) -> int:
        """How many instances of those workflows have that version and have not ended.

        Counted are all whose create was answered before this was asked, and those that are being created by whoever
        owns their shards; one that has just ended may be counted still. `workflows` are all that the version has.
        Raises UnavailableError when an owner of one of the tenant's shards, or the store, can't be asked.
        """
