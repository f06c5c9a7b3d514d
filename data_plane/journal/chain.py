"""Which of a partition's rows are the instance's journal.

An owner that lost its shard may still have writes under way, so a partition can hold rows that nobody was told of.
The highest epoch's first row names the row that its writer had read as the newest; from there the way down is written
in the rows themselves, and whatever is not on it is dead. Pure: the same rows give the same chain in every process.
"""

from __future__ import annotations

from collections.abc import Iterable

from data_plane.journal.store import Position, Row
from stepwell.engine.records import Deleting


class BrokenChainError(Exception):
    """Rows that the chain needs are not there: the store lost what it acknowledged. Build nothing on the rest."""


def chain(rows: Iterable[Row]) -> list[Row]:
    """The rows that count, oldest first; empty where there is no instance.

    A chain that ends in Deleting is its last row alone: the rows below may be gone already. Raises BrokenChainError.
    """
    by_position = {row.position: row for row in rows}
    starts = _starts(by_position)
    if not starts:
        return []
    segments: list[list[Row]] = []
    epoch, end = max(starts), None
    while True:
        segment = _segment(by_position, starts, epoch, end)
        if not segments and segment[-1].records and isinstance(segment[-1].records[-1], Deleting):
            return segment[-1:]
        segments.append(segment)
        predecessor = segment[0].predecessor
        if predecessor is None:
            return [row for segment in reversed(segments) for row in segment]
        if predecessor.epoch >= epoch:
            raise BrokenChainError(f"epoch {epoch} names {predecessor} as its predecessor")
        epoch, end = predecessor


def tip(rows: Iterable[Row]) -> Position | None:
    """The position of the chain's newest row: what the next epoch's first row names as its predecessor."""
    live = chain(rows)
    return live[-1].position if live else None


def _starts(by_position: dict[Position, Row]) -> dict[int, int]:
    """Epoch → the seq of its lowest first row."""
    starts: dict[int, int] = {}
    for (epoch, seq), row in by_position.items():
        if row.first:
            starts[epoch] = min(seq, starts.get(epoch, seq))
    return starts


def _segment(by_position: dict[Position, Row], starts: dict[int, int], epoch: int, end: int | None) -> list[Row]:
    """An epoch's rows from its first up to `end`, which must be there; without an end, up to the first gap."""
    if epoch not in starts:
        raise BrokenChainError(f"the chain names epoch {epoch}, whose first row is missing")
    segment: list[Row] = []
    seq = starts[epoch]
    while (end is None or seq <= end) and (row := by_position.get(Position(epoch, seq))) is not None:
        segment.append(row)
        seq += 1
    if end is not None and seq <= end:
        raise BrokenChainError(f"row {seq} of epoch {epoch} is missing, below its accepted end {end}")
    return segment
