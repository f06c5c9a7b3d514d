"""Whose frames are handled next, when guests say more than one turn of the event loop should take.

Tenants share each turn alike, whatever the number of their sandboxes, and each may say so many bytes a second. What is
over waits, unread where possible: in time the socket is full and holds the guest up, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from stepwell.names import TenantUid

TURN_COST_MAX: Final = 32
"""What one tenant may have handled in a turn, in frames: some 1 ms. A step of another tenant's takes several turns."""

COST_BYTES: Final = 4096
"""So many bytes cost what a frame costs."""


class FrameTurns:
    """The turns of all guests of one loader."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bytes_a_second_max: int) -> None:
        self._loop = loop
        self._bytes_a_second_max = bytes_a_second_max
        self._shares: WeakValueDictionary[TenantUid, Share] = WeakValueDictionary()
        self._spent: list[Share] = []
        self._waiting: deque[Share] = deque()
        self._scheduled = False

    def share(self, tenant: TenantUid) -> Share:
        """The tenant's, the same for all of its sandboxes."""
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = Share(self, self._bytes_a_second_max, self._loop.time)
        return share

    def spent_by(self, share: Share) -> None:
        """The share is not whole in this turn; it is in the next."""
        self._spent.append(share)
        self._schedule()

    def waited_for_by(self, share: Share) -> None:
        """Somebody of that tenant waits."""
        self._waiting.append(share)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """A new turn: every share is whole again, and those who wait go first, one of each tenant."""
        self._scheduled = False
        for share in self._spent:
            share.left = TURN_COST_MAX
        self._spent.clear()
        for _ in range(len(self._waiting)):
            self._waiting.popleft().serve()


class Share:
    """One tenant's part in each turn, and its bytes a second."""

    def __init__(self, turns: FrameTurns, bytes_a_second_max: int, monotonic: Callable[[], float]) -> None:
        self.left = TURN_COST_MAX
        self._turns = turns
        self._waiting: deque[Callable[[int], int]] = deque()
        self._in_line = False
        self._bytes_a_second_max = bytes_a_second_max
        self._monotonic = monotonic
        self._bytes_left = float(bytes_a_second_max)
        self._counted_at = monotonic()

    def take(self, frames: int, size: int) -> bool:
        """Whether so many frames of so many bytes together may be handled now; then they count."""
        cost = frames + size // COST_BYTES
        if cost > self.left or self._waiting:
            return False
        self._spend(cost)
        return True

    def wait(self, handle: Callable[[int], int]) -> None:
        """Have `handle` called in a later turn, with how many frames it may handle; it gives how many it did."""
        self._waiting.append(handle)
        if not self._in_line:
            self._in_line = True
            self._turns.waited_for_by(self)

    def serve(self) -> None:
        """Let those go on who wait, in their order, as far as this turn's share goes."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            if self.left <= 0:
                break
            self._spend(waiting.popleft()(self.left))
        self._in_line = bool(waiting)
        if waiting:
            self._turns.waited_for_by(self)

    def pause_s(self, size: int) -> float:
        """Count what was read; for how long no more may be."""
        now = self._monotonic()
        most = self._bytes_a_second_max
        self._bytes_left = min(most, self._bytes_left + (now - self._counted_at) * most) - size
        self._counted_at = now
        return 0.0 if self._bytes_left >= 0 else -self._bytes_left / most

    def _spend(self, cost: int) -> None:
        if self.left == TURN_COST_MAX and cost:
            self._turns.spent_by(self)
        self.left -= cost
