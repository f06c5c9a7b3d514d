"""Instances that are due, until they are loaded: tenants take turns, and the workflows of each; nothing of them is in
memory but their keys.

When a hundred thousand of one tenant's sleepers wake at once, they are loaded as they can be run, and the one of
another tenant that is due a moment later is not behind them. Nor is one of another workflow behind those whose workflow
runs as many as it may.
"""

from __future__ import annotations

from collections.abc import Callable

from data_plane.journal.store import InstanceKey
from stepwell.names import TenantUid, WorkflowId


class DueInstances:
    """`ready` says whether a tenant may have a further instance loaded now, `held_back` whether it may be none of that
    workflow."""

    def __init__(self, ready: Callable[[TenantUid], bool], held_back: Callable[[TenantUid, WorkflowId], bool]) -> None:
        self._ready = ready
        self._held_back = held_back
        self._queues: dict[TenantUid, dict[WorkflowId, dict[InstanceKey, None]]] = {}

    def __len__(self) -> int:
        """Tenants with something due."""
        return len(self._queues)

    def add(self, key: InstanceKey) -> None:
        """One that waits already keeps its place."""
        self._queues.setdefault(key.tenant, {}).setdefault(key.workflow, {})[key] = None

    def take(self) -> InstanceKey | None:
        """The next one of the tenant whose turn it is; None when nobody is both due and ready."""
        found = next(
            (
                (tenant, workflow)
                for tenant, workflows in self._queues.items()
                if self._ready(tenant)
                for workflow in workflows
                if not self._held_back(tenant, workflow)
            ),
            None,
        )
        if found is None:
            return None
        tenant, workflow = found
        workflows = self._queues.pop(tenant)
        queue = workflows.pop(workflow)
        key = next(iter(queue))
        del queue[key]
        if queue:
            workflows[workflow] = queue
        if workflows:
            self._queues[tenant] = workflows
        return key
