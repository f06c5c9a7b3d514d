"""One replica of the modelled Cassandra: what it holds, what is on its way to it, and how two replicas' words merge.

Every row has one cell. The rules, by the names that Cassandra's documentation has for them:
- **last write wins**: of two cells the one with the greater timestamp is kept, whichever came first. Of two with the
  same timestamp a **tombstone** beats data, and of two values the lexically greater is kept.
- a **partition deletion** and a **row deletion** are tombstones: they shadow what is stamped at or below them, what
  comes later too. They live for **gc_grace_seconds**, which is longer than any run: they are never purged.
- a **mutation** is applied to a partition whole, and again without effect: it is idempotent.

What is sent to a replica waits in its inbox and is applied when somebody looks next, in the order of arrival: the same
to see as if it had been applied as it arrived, and it takes no timer.
"""

from __future__ import annotations

import math
from collections import Counter
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from tests.simulation.cassandra_faults import Fault

PartitionKey = tuple[int | str, ...]
Clustering = tuple[int | str, ...]
"""A row's place in its partition; rows are sorted by it."""

NEVER_DELETED: Final = -1


class Cell(NamedTuple):
    """What a row has; without a value it is a tombstone."""

    timestamp: int
    value: Any


class Change(NamedTuple):
    """A mutation of one row, or the deletion of the whole partition where no clustering is named."""

    partition: PartitionKey
    clustering: Clustering | None
    cell: Cell


class Span(NamedTuple):
    """Rows of a partition from `start` on, that one included, up to `end`, that one not."""

    partition: PartitionKey
    start: Clustering = ()
    end: Clustering | None = None

    def after(self, last: Clustering) -> Span:
        """What is left once a row was read: no row's place is as long as this beginning."""
        return Span(self.partition, (*last, 0), self.end)


class Slice(NamedTuple):
    """A part of a partition as a replica has it: its deletion, and the cells that this does not shadow."""

    deleted: int
    cells: dict[Clustering, Cell]


class _Partition:
    __slots__ = ("cells", "deleted")

    def __init__(self) -> None:
        self.deleted = NEVER_DELETED
        self.cells: dict[Clustering, Cell] = {}


class Replica:
    """`down_until` is for those who send to it: what is on its way when it goes down still arrives."""

    def __init__(self, seen: Counter[str]) -> None:
        self.down_until = -math.inf
        self._seen = seen
        self._partitions: dict[PartitionKey, _Partition] = {}
        self._inbox: list[tuple[float, int, Change, Fault | None]] = []
        self._posted = 0

    def post(self, now: float, arrival: float, change: Change, fault: Fault | None = None) -> None:
        """Have the change arrive; the fault that delayed it is counted when it does."""
        self._posted += 1
        heappush(self._inbox, (arrival, self._posted, change, fault))
        self._receive(now)

    def read(self, now: float, span: Span) -> Slice:
        """What it has at this moment."""
        self._receive(now)
        partition = self._partitions.get(span.partition)
        if partition is None:
            return Slice(NEVER_DELETED, {})
        start, end = span.start, span.end
        cells = partition.cells
        if start or end:
            cells = {place: cell for place, cell in cells.items() if start <= place and (end is None or place < end)}
        else:
            cells = cells.copy()
        return Slice(partition.deleted, cells)

    def _receive(self, now: float) -> None:
        inbox = self._inbox
        while inbox and inbox[0][0] <= now:
            _, _, change, fault = heappop(inbox)
            changed = self._apply(change)
            if fault is not None:
                self._seen[fault] += 1
                if not changed and fault is not Fault.WRITE_TWICE:
                    self._seen[Fault.WITHOUT_EFFECT] += 1

    def _apply(self, change: Change) -> bool:
        """Whether it changed anything."""
        key, place, cell = change
        partition = self._partitions.get(key)
        if partition is None:
            partition = self._partitions[key] = _Partition()
        if cell.timestamp <= partition.deleted:
            return False
        if place is None:
            partition.deleted = cell.timestamp
            partition.cells = _above(partition.deleted, partition.cells)
            return True
        before = partition.cells.get(place)
        if before is not None and not _supersedes(cell, before):
            return False
        partition.cells[place] = cell
        return True


def merged(one: Slice, other: Slice) -> Slice:
    """What two replicas know together, cell by cell."""
    deleted = max(one.deleted, other.deleted)
    cells = dict(one.cells)
    for place, cell in other.cells.items():
        before = cells.get(place)
        if before is None or _supersedes(cell, before):
            cells[place] = cell
    return Slice(deleted, _above(deleted, cells))


def lacking(has: Slice, whole: Slice, partition: PartitionKey, last: Clustering | None) -> list[Change]:
    """What a replica that has the one needs to have the other, as far as the row `last`; without it, to the end."""
    changes: list[Change] = []
    if has.deleted < whole.deleted:
        changes.append(Change(partition, None, Cell(whole.deleted, None)))
    for place, cell in whole.cells.items():
        if has.cells.get(place) != cell and (last is None or place <= last):
            changes.append(Change(partition, place, cell))
    return changes


def _above(deleted: int, cells: dict[Clustering, Cell]) -> dict[Clustering, Cell]:
    return {place: cell for place, cell in cells.items() if cell.timestamp > deleted}


def _supersedes(cell: Cell, before: Cell) -> bool:
    if cell.timestamp != before.timestamp:
        return cell.timestamp > before.timestamp
    if cell.value is before.value or before.value is None:
        return False
    return cell.value is None or repr(cell.value) > repr(before.value)
