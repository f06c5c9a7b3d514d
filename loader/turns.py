"""Whose frames are handled next, when guests say more than one turn of the event loop should take.

Tenants share each turn alike, whatever the number of their sandboxes. Each may say so many bytes a second, and while
others say something too, its frames may take little of the loop's time, or not much more than theirs. What is over
waits, unread where possible: in time the socket is full and holds the guest up, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from stepwell.names import TenantUid

TURN_COST_MAX: Final = 32
"""What one tenant may have handled in a turn, in frames: some 1 ms. A step of another tenant's takes several turns."""

COST_BYTES: Final = 4096
"""So many bytes cost what a frame costs."""

TIME_SHARE_MIN: Final = 0.04
"""Of the loop's time, what one tenant's frames may take in any case. What follows from them takes several times that:
at a tenth, a tenant that floods kept one of two CPUs busy."""

OTHERS_FACTOR: Final = 2.0
"""And so many times what those of any other take: tenants that are about as busy don't slow each other down."""

BURST_S: Final = 0.25
"""After a quiet time, the bytes of so many seconds may come at once: disks take a whole second's worth at the cost of
every other tenant's commits."""

USE_S: Final = 0.25
"""What was taken before counts less and less, a third after so long. So one that took nothing may take its share of so
much time at once."""

PAUSE_S_MIN: Final = 0.001
"""The loop's timers are no finer."""

SLICE_COST_MAX: Final = 4
"""What a tenant that takes more than half of its share may have handled in a turn: others wait for so long."""

AT_WORK_S: Final = 1.0
"""Others are at work for so long after the last of their frames."""

Handle = Callable[[int], int]
"""Handles at most so many frames of one guest, and gives how many it did: all that there were, when it is fewer."""


class _Use:
    """How much of the loop's time was taken of late."""

    def __init__(self) -> None:
        self._share = 0.0
        self._at = 0.0

    def share(self, now: float) -> float:
        return self._share * math.exp((self._at - now) / USE_S)

    def add(self, seconds: float, now: float) -> None:
        self._share, self._at = self.share(now) + seconds / USE_S, now


class FrameTurns:
    """The turns of all guests of one loader."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bytes_a_second_max: int) -> None:
        self._loop = loop
        self._bytes_a_second_max = bytes_a_second_max
        self._shares: WeakValueDictionary[TenantUid, Share] = WeakValueDictionary()
        self._spent: list[Share] = []
        self._waiting: deque[Share] = deque()
        self._scheduled = False
        self._last: Share | None = None
        self._last_at = self._other_at = -math.inf
        """When the last share had something handled, and when one that is not that one had."""

    def share(self, tenant: TenantUid) -> Share:
        """The tenant's, the same for all of its sandboxes."""
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = Share(self, self._bytes_a_second_max, self._loop.time)
        return share

    def others_at_work(self, share: Share, now: float) -> bool:
        """Whether any other share had something handled of late."""
        return now - (self._other_at if share is self._last else self._last_at) < AT_WORK_S

    def busiest_other(self, share: Share, now: float) -> float:
        """The most that any other takes of the loop's time."""
        return max((other.use.share(now) for other in self._shares.values() if other is not share), default=0.0)

    def handled(self, share: Share, now: float) -> None:
        """Frames of that tenant were."""
        if share is not self._last:
            self._last, self._other_at = share, self._last_at
        self._last_at = now

    def spent_by(self, share: Share) -> None:
        """The share is not whole in this turn; it is in the next."""
        self._spent.append(share)
        self._schedule()

    def waited_for_by(self, share: Share, until: float) -> None:
        """Somebody of that tenant waits, for the next turn or a later one."""
        if until > self._loop.time():
            self._loop.call_at(until, self.waited_for_by, share, until)
        else:
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
    """One tenant's part in each turn, its share of the loop's time, and its bytes a second."""

    def __init__(self, turns: FrameTurns, bytes_a_second_max: int, monotonic: Callable[[], float]) -> None:
        self.left = TURN_COST_MAX
        self._turns = turns
        self._waiting: deque[Handle] = deque()
        self._in_line = False
        self._bytes_a_second_max = bytes_a_second_max
        self._monotonic = monotonic
        self._bytes_left = bytes_a_second_max * BURST_S
        self._counted_at = monotonic()
        self.use = _Use()
        """While others are at work."""

    def handle(self, handle: Handle) -> bool:
        """Have a guest's frames handled, what is over in later turns; whether all were by now."""
        if not self._waiting and self._handles_all(handle):
            return True
        self._waiting.append(handle)
        if not self._in_line:
            self._in_line = True
            self._turns.waited_for_by(self, self._due())
        return False

    def serve(self) -> None:
        """Let those go on who wait, in their order, as far as this turn's share goes."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            if not self._handles_all(waiting[0]):
                waiting.rotate(-1)
            else:
                waiting.popleft()
        self._in_line = bool(waiting)
        if waiting:
            self._turns.waited_for_by(self, self._due())

    def pause_s(self, size: int) -> float:
        """Count what was read; for how long no more may be."""
        now = self._monotonic()
        most = self._bytes_a_second_max
        left = self._bytes_left + (now - self._counted_at) * most
        self._bytes_left = min(most * BURST_S, left) - size
        self._counted_at = now
        self._spend(size // COST_BYTES)
        return 0.0 if self._bytes_left >= 0 else -self._bytes_left / most

    def _handles_all(self, handle: Handle) -> bool:
        began = self._monotonic()
        most = self._most(began)
        if most <= 0:
            return False
        count = handle(most)
        ended = self._monotonic()
        self._turns.handled(self, ended)
        if self._turns.others_at_work(self, ended):
            self.use.add(ended - began, ended)
        self._spend(count)
        return count < most

    def _most(self, now: float) -> int:
        """How many frames may be handled now."""
        excess = self._excess(now)
        if excess > 1:
            return 0
        return min(self.left, SLICE_COST_MAX) if excess > 0.5 else self.left

    def _due(self) -> float:
        """When those who wait may go on."""
        now = self._monotonic()
        excess = self._excess(now)
        return now + max(PAUSE_S_MIN, USE_S * math.log(excess)) if excess > 1 else now

    def _excess(self, now: float) -> float:
        """What the tenant takes of the loop's time, by what it may."""
        if not self._turns.others_at_work(self, now):
            return 0.0
        mine = self.use.share(now)
        if mine <= TIME_SHARE_MIN / 2:
            return mine / TIME_SHARE_MIN
        return mine / max(TIME_SHARE_MIN, OTHERS_FACTOR * self._turns.busiest_other(self, now))

    def _spend(self, cost: int) -> None:
        if self.left == TURN_COST_MAX and cost:
            self._turns.spent_by(self)
        self.left -= cost
