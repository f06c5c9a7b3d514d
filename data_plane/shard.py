"""One shard in its owner's hands: the epoch, the stamps that its writes carry, and whether it is still owned."""

from __future__ import annotations

from collections.abc import Callable

from data_plane.journal.store import Stamp


class Shard:
    """An ownership term. `owned` is asked after every acknowledgement, before anything is shown or done."""

    def __init__(self, number: int, epoch: int, owned: Callable[[], bool]) -> None:
        self.number = number
        self.epoch = epoch
        self.owned = owned
        self._counter = 0

    def stamp(self) -> Stamp:
        """Newer than every stamp before it."""
        self._counter += 1
        return Stamp(self.epoch, self._counter)
