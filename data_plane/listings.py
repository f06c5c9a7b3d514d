"""The list's rows of a shard's instances: written when what they show has changed, and until they are durable.

A row is written after what it shows is durable, never before: a create that never took effect would stay in the list,
under a uid of its own, for ever. An instance stays in memory, and its wake is not passed, until the list has it as it
is: an owner that dies before leaves that to the next one, which the wake leads there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from data_plane.journal.store import JournalStore, PutListing
from data_plane.listing import listing_of
from data_plane.shard import Shard
from stepwell.errors import UnavailableError

if TYPE_CHECKING:
    from data_plane.resident import Resident

LIST_AGAIN_DELAY_S: Final = 1.0
"""After a row whose outcome is unknown, before what it was to show is written again."""


NOTHING: Final = ("", 0)


class Listed:
    """What the list has of one instance, as its owner knows it."""

    __slots__ = ("answered", "due", "durable", "number", "shown")

    def __init__(self) -> None:
        self.due = False
        """Its status may have changed since."""
        self.shown = NOTHING
        """Status and stored bytes, as they were written last."""
        self.number = 0
        """Of the row that was written last."""
        self.durable = False
        """That row is."""
        self.answered: asyncio.Future[bool] | None = None
        """Whether that row became durable; None while nobody asks."""


class Listings:
    """`settled` hears of an instance whose newest row is durable, or might be written again by now."""

    def __init__(
        self,
        store: JournalStore,
        shard: Shard,
        *,
        later: Callable[[float, Callable[[], None]], object],
        settled: Callable[[Resident], None],
    ) -> None:
        self._store = store
        self._shard = shard
        self._later = later
        self._settled = settled

    def keep(self, resident: Resident) -> bool:
        """Write the row if it would show something else than the last one; whether the list has it as it is."""
        listed = resident.listed
        listed.due = False
        listing = listing_of(resident.key, resident.instance)
        if listing is None:
            return True
        if (listing.status, listing.stored_bytes) != listed.shown:
            listed.shown, listed.durable = (listing.status, listing.stored_bytes), False
            listed.number += 1
            written = partial(self._written, resident, listed.number)
            self._store.write(PutListing(listing, self._shard.stamp()), written)
        return listed.durable

    async def wait(self, resident: Resident) -> None:
        """Return once the list has it. Raises UnavailableError where that is unknown: the next call tries again."""
        listed = resident.listed
        if listed.durable or (listed.shown == NOTHING and self.keep(resident)):
            return
        if listed.answered is None:
            listed.answered = asyncio.get_running_loop().create_future()
        if not await asyncio.shield(listed.answered):
            raise UnavailableError("it is unknown whether the list of instances has it; try again in a moment")

    def _written(self, resident: Resident, number: int, error: Exception | None) -> None:
        listed = resident.listed
        if number != listed.number:
            return  # a newer one is on its way
        listed.durable = error is None
        if error is not None:
            listed.shown = NOTHING
        if listed.answered is not None:
            listed.answered.set_result(listed.durable)
            listed.answered = None
        if listed.durable:
            self._settled(resident)
        else:
            self._later(LIST_AGAIN_DELAY_S, partial(self._settled, resident))
