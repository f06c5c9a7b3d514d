"""The clock of the modelled etcd's leases, which only its leader has (etcd: the lessor).

- A lease's time (**TTL**) counts from when the leader handles its grant, and again from each keep-alive.
- A lease whose time is over is **expired**: the leader revokes it a little later. Until then transactions still put
  keys on it; a keep-alive waits for what becomes of it.
- A new leader does not know how much of a lease's time was left: each is **extended** by its whole time, an expired one
  too (etcd: Promote). Without a leader no lease ends.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from cluster.store import LeaseLostError
from tests.simulation.etcd_faults import EXPIRY_LAG_S, Fault
from tests.simulation.etcd_state import EtcdState
from tests.simulation.etcd_time import EtcdTime, Timer

TTL_MIN_S: Final = 2
"""A shorter time is made this long (etcd: minLeaseTTL, from its election timeout)."""


class ExpiredError(Exception):
    """The lease is expired and not revoked yet: ask again at `until`, when it is decided."""

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.until = until


@dataclass(eq=False, slots=True)
class _Lease:
    id: int
    ttl_s: int
    expires_at: float
    revoked_at: float | None = None
    """When the leader will have revoked it, once it is expired."""
    timer: Timer | None = None


class Lessor:
    """Grants, renews and ends the leases of the state."""

    def __init__(self, time: EtcdTime, random: Random, seen: Counter[str], state: EtcdState) -> None:
        self._time = time
        self._random = random
        self._seen = seen
        self._state = state
        self._leases: dict[int, _Lease] = {}

    def grant(self, ttl_s: int) -> int:
        ttl_s = max(ttl_s, TTL_MIN_S)
        lease = _Lease(self._random.getrandbits(62) + 1, ttl_s, self._time.now() + ttl_s)
        self._leases[lease.id] = lease
        self._state.grant(lease.id)
        self._watch_over(lease)
        return lease.id

    def renew(self, id: int) -> None:
        """Raises LeaseLostError, and ExpiredError."""
        lease = self._leases.get(id)
        if lease is None:
            raise LeaseLostError(f"requested lease not found: {id}")
        if lease.revoked_at is not None:
            raise ExpiredError(lease.revoked_at)
        lease.expires_at = self._time.now() + lease.ttl_s

    def revoke(self, id: int) -> None:
        lease = self._leases.pop(id, None)
        if lease is not None:
            if lease.timer is not None:
                lease.timer.cancel()
            self._state.revoke(id)

    def demote(self) -> None:
        """There is no leader: nobody counts."""
        for lease in self._leases.values():
            if lease.timer is not None:
                lease.timer.cancel()

    def promote(self) -> None:
        """There is a new leader."""
        for lease in self._leases.values():
            lease.expires_at = self._time.now() + lease.ttl_s
            lease.revoked_at = None
            self._seen[Fault.LEASE_EXTENDED] += 1
            self._watch_over(lease)

    def _watch_over(self, lease: _Lease) -> None:
        lease.timer = self._time.at(lease.expires_at, self._check, lease)

    def _check(self, lease: _Lease) -> None:
        now = self._time.now()
        if now < lease.expires_at:
            self._watch_over(lease)
            return
        lease.revoked_at = now + EXPIRY_LAG_S * self._random.random()
        lease.timer = self._time.at(lease.revoked_at, self._expire, lease)

    def _expire(self, lease: _Lease) -> None:
        self._seen[Fault.LEASE_EXPIRED] += 1
        self.revoke(lease.id)
