"""How fast one tenant may have sandboxes started: code that ends its sandbox again and again must not keep the machine
busy with starting others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from stepwell.names import TenantUid

TENANTS_MAX: Final = 16_384
"""Tenants whose starts are remembered; the one that started something longest ago is forgotten."""


class StartPace:
    """So many starts at once after a pause, then so many a minute. `monotonic` gives seconds."""

    def __init__(self, at_once: int, a_minute: int, monotonic: Callable[[], float]) -> None:
        self._interval_s = 60 / max(a_minute, 1)
        self._ahead_s = (at_once - 1) * self._interval_s
        self._monotonic = monotonic
        self._next: OrderedDict[TenantUid, float] = OrderedDict()

    def pause_s(self, tenant: TenantUid) -> float:
        """Count a start; how long it has to wait."""
        now = self._monotonic()
        at = max(self._next.pop(tenant, 0.0), now - self._ahead_s)
        self._next[tenant] = at + self._interval_s
        if len(self._next) > TENANTS_MAX:
            self._next.popitem(last=False)
        return max(0.0, at - now)
