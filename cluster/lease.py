"""This process's lease on what it owns: kept alive, and believed in only for as long as it certainly lives.

The store counts a lease from when it handles a keep-alive, this process from when it sent the last one that was
answered: so the store's lease never ends before this process stops to believe in it, whatever the delays. `boottime`
must go on while the machine sleeps (CLOCK_BOOTTIME).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from cluster.store import LeaseLostError, LeaseStore
from stepwell.errors import UnavailableError

TTL_S: Final = 10

CLOCK_ERROR: Final = 0.01
"""By which part a second of this machine's clock may be longer than one of the store's: twenty times more than
what crystals and NTP's slewing (0.05 percent at most) make of it."""

KEEP_ALIVE_EVERY_S: Final = 2.5

TRY_AGAIN_S: Final = 0.5
"""After a request that failed."""


class Lease:
    """`id` is 0 while there is none. `ended` is called when one is given up: nothing bound to it is owned any more.
    `begun` is called with each new one."""

    def __init__(
        self,
        store: LeaseStore,
        boottime: Callable[[], float],
        *,
        begun: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self.id = 0
        self._store = store
        self._boottime = boottime
        self._begun = begun
        self._ended = ended
        self._until_s = float("-inf")

    def lives(self) -> bool:
        """Whether what is bound to it is surely still there."""
        return self._boottime() < self._until_s

    def left_s(self) -> float:
        """For how long it surely lives still, unless it is kept alive before; 0 once that is over."""
        return max(0.0, self._until_s - self._boottime())

    async def run(self) -> NoReturn:
        """Keep a lease until cancelled; a new one when one was lost."""
        while True:
            pause_s = KEEP_ALIVE_EVERY_S if await self._renewed() else TRY_AGAIN_S
            await asyncio.sleep(pause_s)

    async def end(self) -> None:
        """Give it up, and all that is bound to it. Raises UnavailableError: it then ends by itself."""
        lease = self.id
        self._give_up()
        if lease:
            await self._store.revoke_lease(lease)

    async def _renewed(self) -> bool:
        sent_s = self._boottime()
        try:
            if self.id:
                await self._store.keep_alive(self.id)
                self._believe(sent_s)
            else:
                lease = await self._store.grant_lease(TTL_S)
                self._believe(sent_s)
                self.id = lease
                self._begun()
        except LeaseLostError:
            self._give_up()
        except UnavailableError:
            if not self.lives():
                self._give_up()
        else:
            return True
        return False

    def _believe(self, sent_s: float) -> None:
        self._until_s = max(self._until_s, sent_s + TTL_S * (1 - CLOCK_ERROR))

    def _give_up(self) -> None:
        self._until_s = float("-inf")
        if self.id:
            self.id = 0
            self._ended()
