"""What one tenant may have and do on a node, and how much of it is used.

Over a quota a call is refused before it has any effect. What was stored is counted as rows become durable, from what
the tenant's listings said when it was first asked for: a figure to hold a tenant to, not one to bill by.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from stepwell.errors import LimitExceededError, RateLimitedError
from stepwell.names import TenantUid

TENANTS_MAX: Final = 16_384
"""Tenants whose use is remembered; of those asked for longest ago, the listings are summed up again."""


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """Of each tenant, on one node. Operator-set."""

    activations_max: int = 250
    """Instances that run at once; more wait their turn. One that waits for time or an event does not count."""

    queued_max: int = 10_000
    """Instances that wait for their turn; a create of one more is refused."""

    creates_a_second_max: int = 500
    """Instances created in a second; as many may come at once after a pause."""

    stored_bytes_max: int = 10 * 1024 * 1024 * 1024
    """What its instances have stored. Over it, creates and events are refused and instances are paused."""


class StoredBytes(Protocol):
    """What quotas need of the journal store."""

    async def stored_bytes(self, tenant: TenantUid) -> int: ...


class Quotas:
    """`monotonic` gives seconds; `queued` how many of a tenant's instances wait for their turn."""

    def __init__(
        self,
        limits: TenantLimits,
        store: StoredBytes,
        *,
        monotonic: Callable[[], float],
        queued: Callable[[TenantUid], int],
    ) -> None:
        self._limits = limits
        self._store = store
        self._monotonic = monotonic
        self._queued = queued
        self._stored: OrderedDict[TenantUid, int] = OrderedDict()
        self._rates: OrderedDict[TenantUid, _Bucket] = OrderedDict()

    async def ask(self, tenant: TenantUid) -> None:
        """Have the tenant's use at hand, so that the checks need not wait."""
        if tenant in self._stored:
            self._stored.move_to_end(tenant)
            return
        stored = await self._store.stored_bytes(tenant)
        self._stored.setdefault(tenant, stored)
        if len(self._stored) > TENANTS_MAX:
            self._stored.popitem(last=False)

    def check_rate(self, tenant: TenantUid) -> None:
        """Count a create. Raises RateLimitedError."""
        most = self._limits.creates_a_second_max
        bucket = self._rates.get(tenant)
        if bucket is None:
            bucket = self._rates[tenant] = _Bucket(most, self._monotonic())
            if len(self._rates) > TENANTS_MAX:
                self._rates.popitem(last=False)
        if not bucket.take(most, self._monotonic()):
            raise RateLimitedError(
                f"more than {most:,} creates a second: come again in a moment",
                limit="creates_a_second_max", value=str(most), seen=str(most + 1),
            )  # fmt: skip

    def check_create(self, tenant: TenantUid) -> None:
        """Raises LimitExceededError when too many instances wait already, or too much is stored."""
        queued, most = self._queued(tenant), self._limits.queued_max
        if queued >= most:
            raise LimitExceededError(
                f"{queued:,} instances of the tenant wait for their turn to run, as many as may: try again later",
                limit="queued_max", value=str(most), seen=str(queued + 1),
            )  # fmt: skip
        self.check_stored(tenant)

    def check_stored(self, tenant: TenantUid) -> None:
        """Raises LimitExceededError when the tenant has stored as much as it may."""
        if (full := self.full(tenant)) is not None:
            raise full

    def full(self, tenant: TenantUid) -> LimitExceededError | None:
        """What a tenant hears that has stored as much as it may; None for one that has not."""
        stored, most = self._stored.get(tenant, 0), self._limits.stored_bytes_max
        if stored < most:
            return None
        return LimitExceededError(
            f"the tenant's instances have stored {stored:,} bytes, and may {most:,}: delete instances that have ended",
            limit="stored_bytes_max", value=str(most), seen=str(stored),
        )  # fmt: skip

    def wrote(self, tenant: TenantUid, size: int) -> bool:
        """So many bytes were stored; negative when they were removed. Whether the tenant has as much as it may."""
        stored = self._stored.get(tenant)
        if stored is None:
            return False
        self._stored[tenant] = stored = stored + size
        return stored >= self._limits.stored_bytes_max


class _Bucket:
    """As many tokens as a second brings, at most."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self._tokens = tokens
        self._at = at

    def take(self, a_second: float, now: float) -> bool:
        self._tokens = min(a_second, self._tokens + (now - self._at) * a_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
