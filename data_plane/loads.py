"""How many instances wakes load at once, over all shards of a node: a takeover of many is lazy, and tenants share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from stepwell.names import TenantUid

LOADS_MAX: Final = 64
"""Instances that wakes load at once."""

LOADS_PER_TENANT_MAX: Final = 16
"""Of these, one tenant's."""

QUEUED_PER_TENANT_MAX: Final = 32
"""A tenant's instances that wait for their turn to run, in memory, before further ones that are due are left on the
disk. A new one's create is not held up by this."""


class Loads:
    """`queued` says how many of a tenant's instances wait for their turn to run; when that changes, `go_on`."""

    def __init__(self, queued: Callable[[TenantUid], int]) -> None:
        self._queued = queued
        self._in_all = 0
        self._by_tenant: Counter[TenantUid] = Counter()
        self._held_up: dict[Callable[[], None], None] = {}

    @property
    def are_all_taken(self) -> bool:
        return self._in_all >= LOADS_MAX

    def ready(self, tenant: TenantUid) -> bool:
        """Whether the tenant may have a further instance loaded now."""
        return self._by_tenant[tenant] < LOADS_PER_TENANT_MAX and self._queued(tenant) < QUEUED_PER_TENANT_MAX

    def begin(self, tenant: TenantUid) -> None:
        self._by_tenant[tenant] += 1
        self._in_all += 1

    def end(self, tenant: TenantUid) -> None:
        self._in_all -= 1
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        self.go_on()

    def hold_up(self, go_on: Callable[[], None]) -> None:
        """Call it once, as soon as more may be loaded than now."""
        self._held_up[go_on] = None

    def go_on(self) -> None:
        """More may be loaded, maybe."""
        held_up, self._held_up = self._held_up, {}
        for go_on in held_up:
            go_on()
