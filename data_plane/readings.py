"""Instances as their journals have them, for those who look: kept for a while, and brought up to date row by row.

Looking at an instance page by page, or again and again, would read its whole journal each time. What was folded is
kept in a cache that is bounded in bytes and may be dropped at any time; a look reads only the rows that are new. What
it holds is what the journal says: rows count here exactly when `data_plane.journal.chain` says so.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Final

from data_plane.journal.chain_reading import read_chain
from data_plane.journal.store import InstanceKey, JournalStore, Position, Row
from stepwell.engine import fold
from stepwell.engine.instance import Instance
from stepwell.engine.records import Created

ROWS_AT_ONCE: Final = 256
"""Read and folded without a pause: some milliseconds, and a part of a large journal in memory."""

BYTES_A_STEP: Final = 1_024
"""What a step takes in memory beside its payload, about."""

BYTES_AN_EVENT: Final = 512
"""The same, of an event that it received."""

BYTES_AN_INSTANCE: Final = 4_096


@dataclass(slots=True)
class Reading:
    """One instance as far as its journal was read; `tip` is the newest row that counts."""

    instance: Instance = field(default_factory=Instance)
    tip: Position | None = None
    spans: list[tuple[Position, int]] = field(default_factory=list)
    """Of each epoch that wrote to it: its first row, and the seq of its last."""
    weight: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def counts(self, position: Position) -> bool:
        """Whether that row is one of the journal's, as far as it was read."""
        return any(first.epoch == position.epoch and first.seq <= position.seq <= last for first, last in self.spans)

    def follows(self, row: Row) -> bool:
        """Whether the row is what comes next, whatever else the partition may hold."""
        if row.first:
            return row.predecessor == self.tip and (self.tip is None or row.position.epoch > self.tip.epoch)
        return self.tip is not None and row.position == Position(self.tip.epoch, self.tip.seq + 1)

    def add(self, rows: Iterable[Row]) -> None:
        """Fold rows that count."""
        for row in rows:
            if self.spans and self.spans[-1][0].epoch == row.position.epoch:
                self.spans[-1] = (self.spans[-1][0], row.position.seq)
            else:
                self.spans.append((row.position, row.position.seq))
            self.tip = row.position
            for record in row.records:
                if isinstance(record, Created):
                    self.instance = Instance()
                fold.apply(self.instance, record)

    def weigh(self) -> int:
        """What it takes in memory, in bytes, about."""
        instance = self.instance
        items = BYTES_A_STEP * len(instance.steps) + BYTES_AN_EVENT * len(instance.received)
        return BYTES_AN_INSTANCE + instance.inline_bytes + items


class Readings:
    """Of one node. `bytes_max` bounds what is kept, not what is being read."""

    def __init__(self, store: JournalStore, bytes_max: int) -> None:
        self._store = store
        self._bytes_max = bytes_max
        self._kept: OrderedDict[InstanceKey, Reading] = OrderedDict()
        """The one that was looked at last is last."""
        self._bytes = 0

    async def newest(self, key: InstanceKey) -> Reading:
        """The instance by all rows that are durable now; others who look share it, and change nothing in it."""
        reading = self._kept.get(key)
        if reading is None:
            reading = self._kept[key] = Reading()
        try:
            async with reading.lock:
                await self._read_on(key, reading)
        finally:
            self._settle(key, reading)
        return reading

    async def rows(self, key: InstanceKey, reading: Reading) -> AsyncGenerator[Row]:
        """The rows that count, from the first to those that were the newest when this began, a few at a time."""
        tip, seen = reading.tip, None
        while tip is not None and (seen is None or seen < tip):
            rows = await self._store.read_journal(key, since=seen, rows_max=ROWS_AT_ONCE)
            for row in rows:
                if (seen is None or row.position > seen) and reading.counts(row.position):
                    yield row
            if not rows or rows[-1].position == seen:
                return
            seen = rows[-1].position

    def forget(self, key: InstanceKey) -> None:
        """The instance was removed: another may take its id, and its rows' places."""
        reading = self._kept.pop(key, None)
        if reading is not None:
            self._bytes -= reading.weight

    async def _read_on(self, key: InstanceKey, reading: Reading) -> None:
        """Beginning with the newest row that was read: where that is gone, the instance is being removed."""
        while True:
            tip = reading.tip
            rows = await self._store.read_journal(key, since=tip, rows_max=ROWS_AT_ONCE)
            new = rows if tip is None else rows[1:]
            if tip is not None and (not rows or rows[0].position != tip):
                await self._read_anew(key, reading)
                return
            for row in new:
                if not reading.follows(row):
                    await self._read_anew(key, reading)
                    return
                reading.add([row])
            if len(rows) < ROWS_AT_ONCE:
                return

    async def _read_anew(self, key: InstanceKey, reading: Reading) -> None:
        """The partition holds rows that don't count, or is not what it was: let the whole of it say what does."""
        rows = await read_chain(self._store, key)
        reading.instance, reading.tip, reading.spans = Instance(), None, []
        reading.add(rows)

    def _settle(self, key: InstanceKey, reading: Reading) -> None:
        if self._kept.get(key) is not reading:
            return
        self._kept.move_to_end(key)
        if reading.tip is None:
            self.forget(key)
            return
        weight = reading.weigh()
        self._bytes += weight - reading.weight
        reading.weight = weight
        while self._bytes > self._bytes_max and self._kept:
            self.forget(next(iter(self._kept)))
