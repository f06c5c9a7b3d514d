"""Who watches which instance: rows go to them once they are durable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from data_plane.journal.store import InstanceKey, Row

ROWS_MAX: Final = 1_000
"""Rows kept for a watcher that is slow; past that it reads the journal again."""


class Watcher:
    """Rows of one instance as they become durable, in order; `missed` says that some were dropped."""

    def __init__(self, *, status_only: bool = False) -> None:
        self._rows: deque[Row] = deque()
        self._changed = asyncio.Event()
        self._status_only = status_only
        self.missed = False

    def publish(self, row: Row) -> None:
        if len(self._rows) == ROWS_MAX:
            self._rows.clear()
            self.missed = True
        self._rows.append(row)
        if not self._status_only or not steps_alone(row):
            self._changed.set()

    def shard_lost(self) -> None:
        """No further row comes: have it read the journal again, which is refused here."""
        self.missed = True
        self._changed.set()

    async def next_rows(self) -> list[Row]:
        """What came since the last call, at least one row; what was dropped before them is in the journal."""
        await self._changed.wait()
        self._changed.clear()
        rows = list(self._rows)
        self._rows.clear()
        return rows


def steps_alone(row: Row) -> bool:
    """Whether nothing but steps changed: whoever looks at the status alone can wait for the next row."""
    return all(hasattr(record, "key") for record in row.records)


class Listener(Protocol):
    """Whoever hears of an instance's rows."""

    def publish(self, row: Row) -> None: ...
    def shard_lost(self) -> None: ...


class StatusListener:
    """Sets an event when a row becomes durable that is about more than steps."""

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed

    def publish(self, row: Row) -> None:
        if not steps_alone(row):
            self._changed.set()

    def shard_lost(self) -> None:
        self._changed.set()


class Watchers:
    """The watchers of a node's instances. An instance that nobody watches costs a look-up a row."""

    def __init__(self) -> None:
        self._by_key: dict[InstanceKey, set[Listener]] = {}

    def add(self, key: InstanceKey, *, status_only: bool = False) -> Watcher:
        watcher = Watcher(status_only=status_only)
        self.listen(key, watcher)
        return watcher

    def listen(self, key: InstanceKey, listener: Listener) -> None:
        """Have it hear of each row, until it is removed."""
        self._by_key.setdefault(key, set()).add(listener)

    def remove(self, key: InstanceKey, watcher: Listener) -> None:
        watchers = self._by_key[key]
        watchers.discard(watcher)
        if not watchers:
            del self._by_key[key]

    def publish(self, key: InstanceKey, row: Row) -> None:
        for watcher in self._by_key.get(key, ()):
            watcher.publish(row)

    def lose(self, lost: Callable[[InstanceKey], bool]) -> None:
        """Tell the watchers of those instances that their shard is served here no more."""
        for key in [key for key in self._by_key if lost(key)]:
            for watcher in self._by_key[key]:
                watcher.shard_lost()
