"""An import's writes to the journal store: many on their way, each sent again while its outcome is unknown.

Sending again is sound as it is for a shard's owner: the mutation is the same, with the same stamp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from data_plane.journal.store import JournalStore, Mutation
from stepwell.errors import UnavailableError

WRITES_MAX: Final = 64
"""On their way at once. A row or a blob is up to 1 MiB."""

TRIES_MAX: Final = 30
"""Of one mutation, before the import gives up; it can be taken up again."""

TRY_AGAIN_S: Final = 1.0


class Writes:
    """`later(delay_s, call)` calls once, later."""

    def __init__(self, store: JournalStore, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._store = store
        self._later = later
        self._in_flight = 0
        self._failure: Exception | None = None
        self._changed = asyncio.Event()

    async def put(self, mutation: Mutation) -> None:
        """Send it once there is room. Raises UnavailableError when one could not be written."""
        await self._until_at_most(WRITES_MAX - 1)
        self._in_flight += 1
        self._send(mutation, 1)

    async def durable(self) -> None:
        """Return once all that was put is durable. Raises UnavailableError when something could not be written."""
        await self._until_at_most(0)

    async def _until_at_most(self, in_flight: int) -> None:
        while self._in_flight > in_flight and self._failure is None:
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise UnavailableError(
                f"the journal store did not say {TRIES_MAX} times in a row that it wrote ({self._failure}): see that it"
                " is well, then import again, which goes on where this ended"
            )

    def _send(self, mutation: Mutation, tries: int) -> None:
        if self._failure is None:
            self._store.write(mutation, partial(self._written, mutation, tries))

    def _written(self, mutation: Mutation, tries: int, error: Exception | None) -> None:
        if error is None:
            self._in_flight -= 1
        elif tries < TRIES_MAX:
            self._later(TRY_AGAIN_S, partial(self._send, mutation, tries + 1))
            return
        else:
            self._failure = error
        self._changed.set()
