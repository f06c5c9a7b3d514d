"""One mutation on its way to the store: sent again, identical, for as long as its outcome is unknown and the shard is
owned.

An object and not a closure that knows itself: that would be a cycle for the garbage collector, one a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from data_plane.journal.store import JournalStore, Mutation
from data_plane.shard import Shard

RESEND_DELAY_S: Final = 0.05
"""After a write whose outcome is unknown, before the identical one is sent again."""


class Sending:
    """`then` is called once the mutation is durable and the shard still owned, or `lost` once it is not; never both.

    `later(delay_s, call)` calls once, later. `start` sends it; whoever started it need not keep it.
    """

    __slots__ = ("_delay_s", "_later", "_lost", "_mutation", "_shard", "_store", "_then")

    def __init__(
        self,
        mutation: Mutation,
        store: JournalStore,
        shard: Shard,
        later: Callable[[float, Callable[[], None]], object],
        then: Callable[[], None],
        lost: Callable[[], None],
        delay_s: float = RESEND_DELAY_S,
    ) -> None:
        self._mutation = mutation
        self._store = store
        self._shard = shard
        self._later = later
        self._then = then
        self._lost = lost
        self._delay_s = delay_s

    def start(self) -> None:
        """Send it, or send it again."""
        if self._shard.owned():
            self._store.write(self._mutation, self._written)
        else:
            self._lost()

    def _written(self, error: Exception | None) -> None:
        if not self._shard.owned():
            self._lost()
        elif error is None:
            self._then()
        else:
            self._later(self._delay_s, self.start)
