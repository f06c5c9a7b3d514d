"""Instances that are due, until they are loaded: tenants take turns, and nothing of them is in memory but their keys.

When a hundred thousand of one tenant's sleepers wake at once, they are loaded as they can be run, and the one of
another tenant that is due a moment later is not behind them.
"""

from __future__ import annotations

from collections.abc import Callable

from data_plane.journal.store import InstanceKey
from stepwell.names import TenantUid


class DueInstances:
    """`ready` says whether a tenant may have a further instance loaded now."""

    def __init__(self, ready: Callable[[TenantUid], bool]) -> None:
        self._ready = ready
        self._queues: dict[TenantUid, dict[InstanceKey, None]] = {}

    def __len__(self) -> int:
        """Tenants with something due."""
        return len(self._queues)

    def add(self, key: InstanceKey) -> None:
        """One that waits already keeps its place."""
        self._queues.setdefault(key.tenant, {})[key] = None

    def take(self) -> InstanceKey | None:
        """The next one of the tenant whose turn it is; None when nobody is both due and ready."""
        for tenant in self._queues:
            if self._ready(tenant):
                break
        else:
            return None
        queue = self._queues.pop(tenant)
        key = next(iter(queue))
        del queue[key]
        if queue:
            self._queues[tenant] = queue
        return key
