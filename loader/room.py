"""Room for sandboxes, or for activations: so many in all, so many a tenant, and whose turn it is when there is none.

Pure but for the futures of those who wait: tenants take turns, and each tenant's requests keep their order.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from stepwell.errors import UnavailableError
from stepwell.names import TenantUid


class Room:
    """Counts places. `evict` is asked for one, of a tenant's or anybody's, when all are taken.

    It ends something idle, calls `vacate` for it and answers whether it did.
    """

    def __init__(
        self, places: int, places_per_tenant: int, waiting_max: int, evict: Callable[[TenantUid | None], bool]
    ) -> None:
        self._places = places
        self._places_per_tenant = places_per_tenant
        self._waiting_max = waiting_max
        self._evict = evict
        self._taken: Counter[TenantUid] = Counter()
        self._taken_in_all = 0
        self._waiting_in_all = 0
        self._queues: dict[TenantUid, deque[asyncio.Future[None]]] = {}

    async def enter(self, tenant: TenantUid) -> None:
        """Wait for a place and take it; give it back with `leave`. Raises UnavailableError when too many wait."""
        if tenant not in self._queues and self._make(tenant):
            self._take(tenant)
            return
        if self._waiting_in_all >= self._waiting_max:
            raise UnavailableError("Too many requests wait for a sandbox at the moment; try again later.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(turn)
        self._waiting_in_all += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(tenant)
            else:
                self._forget(tenant, turn)
            raise

    @property
    def taken_in_all(self) -> int:
        """Places that are taken."""
        return self._taken_in_all

    @property
    def waiting_in_all(self) -> int:
        """Requests that wait, of all tenants."""
        return self._waiting_in_all

    def waiting(self, tenant: TenantUid) -> int:
        """How many of the tenant's requests wait."""
        queue = self._queues.get(tenant)
        return len(queue) if queue is not None else 0

    def leave(self, tenant: TenantUid) -> None:
        """Give a place back, and let the next in."""
        self.vacate(tenant)
        self.serve()

    def vacate(self, tenant: TenantUid) -> None:
        """Give a place back, from within `evict`."""
        self._taken_in_all -= 1
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]

    def serve(self) -> None:
        """Let in whoever can be: after a place came free, or something became idle."""
        served = True
        while served and self._queues:
            served = False
            for tenant in list(self._queues):
                if self._make(tenant):
                    self._admit(tenant)
                    served = True
                    break

    def _make(self, tenant: TenantUid) -> bool:
        if self._taken[tenant] >= self._places_per_tenant and not self._evict(tenant):
            return False
        return self._taken_in_all < self._places or self._evict(None)

    def _admit(self, tenant: TenantUid) -> None:
        queue = self._queues.pop(tenant)
        turn = queue.popleft()
        self._waiting_in_all -= 1
        if queue:
            self._queues[tenant] = queue
        if not turn.done():
            self._take(tenant)
            turn.set_result(None)

    def _take(self, tenant: TenantUid) -> None:
        self._taken[tenant] += 1
        self._taken_in_all += 1

    def _forget(self, tenant: TenantUid, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self._waiting_in_all -= 1
            if not queue:
                del self._queues[tenant]
