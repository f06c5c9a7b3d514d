"""Whose writes are sent next, when Cassandra is slower than what is written: tenants take turns.

So many are on their way at once and no more: a store that is slow is not made slower, and what waits here waits in the
order in which it came, each tenant's for itself. How much can wait is bounded by who writes: an instance has one append
on its way (`data_plane.lane`), and instances and calls have limits of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

IN_FLIGHT_MAX: Final = 512
"""Writes at once. A node of Cassandra was at its fastest from 64 to 256; three of them need more."""

Send = Callable[[], None]


class InFlight:
    """`start` what may be sent, and say `ended` once for each that was."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[str, deque[Send]] = {}

    @property
    def idle(self) -> bool:
        return not self.count

    def start(self, tenant: str, send: Send) -> None:
        """Call `send`, now or when it is its tenant's turn."""
        if self.count < IN_FLIGHT_MAX:
            self.count += 1
            send()
        else:
            queue = self._waiting.get(tenant)
            if queue is None:
                queue = self._waiting[tenant] = deque()
            queue.append(send)

    def ended(self) -> None:
        """One is over: the next may go."""
        if not self._waiting:
            self.count -= 1
            return
        tenant = next(iter(self._waiting))
        queue = self._waiting.pop(tenant)
        send = queue.popleft()
        if queue:
            self._waiting[tenant] = queue
        send()
