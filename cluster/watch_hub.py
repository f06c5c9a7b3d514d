"""Watches for a store that lives in this process: who waits for which keys, and what happened lately.

It keeps the newest changes so that a watch may begin a little in the past, as the port promises; both that history and
each reader's buffer are bounded, and whoever falls behind is told to list again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from cluster.store import WATCH_PROGRESS_SECONDS, CompactedError, Event, WatchBatch
from stepwell.errors import UnavailableError

HISTORY_MAX = 4_096
"""Transactions that a new watch may look back on."""

BUFFER_MAX = 1_024
"""Transactions that a reader may lag behind."""


class WatchHub:
    """Used from one event loop only; the store calls `publish` once for each transaction, in order."""

    def __init__(self, revision: int, *, progress_seconds: float = WATCH_PROGRESS_SECONDS) -> None:
        self._revision = revision
        self._oldest = revision
        self._history: deque[WatchBatch] = deque()
        self._readers: set[_Reader] = set()
        self._progress_seconds = progress_seconds
        self._closed = False

    def publish(self, revision: int, events: tuple[Event, ...]) -> None:
        """Tell every watch of one durable transaction."""
        self._revision = revision
        batch = WatchBatch(revision, events)
        self._history.append(batch)
        if len(self._history) > HISTORY_MAX:
            self._oldest = self._history.popleft().revision
        for reader in self._readers:
            reader.offer(batch)

    def close(self) -> None:
        """End every watch with UnavailableError."""
        self._closed = True
        for reader in self._readers:
            reader.wake.set()

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[WatchBatch, None]:
        """See `ClusterStore.watch`."""
        if after < self._oldest:
            raise CompactedError(
                f"changes after revision {after} are no longer kept: the oldest are after {self._oldest}"
            )
        reader = _Reader(prefix, [batch for batch in self._history if batch.revision > after])
        self._readers.add(reader)
        try:
            while True:
                if self._closed:
                    raise UnavailableError("the cluster store is closed: this process is stopping")
                if reader.overflown:
                    raise CompactedError(f"this watch lags more than {BUFFER_MAX} transactions behind: list again")
                yield WatchBatch(max(self._revision, after), reader.take())
                await self._next(reader)
        finally:
            self._readers.discard(reader)

    async def _next(self, reader: _Reader) -> None:
        """Wait for something to tell, or until it is time to say that there is nothing."""
        try:
            async with asyncio.timeout(self._progress_seconds):
                await reader.wake.wait()
        except TimeoutError:
            pass
        reader.wake.clear()


class _Reader:
    """One watch: the changes it has not read yet."""

    def __init__(self, prefix: str, past: list[WatchBatch]) -> None:
        self.wake = asyncio.Event()
        self.overflown = False
        self._prefix = prefix
        self._waiting: deque[tuple[Event, ...]] = deque()
        for batch in past:
            self._keep(batch)

    def offer(self, batch: WatchBatch) -> None:
        if len(self._waiting) >= BUFFER_MAX:
            self.overflown = True
            self._waiting.clear()
        elif not self.overflown:
            self._keep(batch)

    def take(self) -> tuple[Event, ...]:
        events = tuple(event for batch in self._waiting for event in batch)
        self._waiting.clear()
        return events

    def _keep(self, batch: WatchBatch) -> None:
        events = tuple(event for event in batch.events if event.key.startswith(self._prefix))
        if events:
            self._waiting.append(events)
            self.wake.set()
