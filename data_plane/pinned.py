"""Which instances that have not ended are pinned to a version: those in memory here, and those in the lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from data_plane.journal.store import JournalStore
from data_plane.node import Node
from stepwell.engine.instance import Phase
from stepwell.names import Digest, TenantUid, WorkflowId

LISTED_AT_ONCE: Final = 1_000
"""Rows of a list in memory at one time."""

UNENDED: Final = frozenset({"queued", "running", "paused", "waiting", "waitingForPause"})
"""Statuses of instances that need their version."""


class InMemory(NamedTuple):
    """How many instances the shards that are served here have in memory, and which shards that is true of."""

    served: frozenset[int]
    unended: int


def in_memory(node: Node, tenant: TenantUid, digest: Digest) -> InMemory:
    """Those that are being created are among them, from when it was decided which version they get."""
    found = [
        key
        for key, instance in node.residents_of(tenant)
        if instance.digest == digest and instance.phase in (Phase.LIVE, Phase.PAUSED)
    ]
    return InMemory(node.serves, len(found))


async def listed(store: JournalStore, tenant: TenantUid, digest: Digest, workflows: Sequence[WorkflowId]) -> int:
    """Reads the lists of those workflows page by page. Raises UnavailableError."""
    count = 0
    for workflow in workflows:
        token = ""
        while True:
            page = await store.list_instances(tenant, workflow, limit=LISTED_AT_ONCE, token=token, statuses=UNENDED)
            count += sum(each.digest == digest for each in page.listings)
            token = page.next_token
            if not token:
                break
    return count
