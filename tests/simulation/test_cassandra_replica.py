"""What a replica of the modelled Cassandra keeps of what arrives, in whichever order, and how two of them merge."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import pytest

from tests.contract.journal_worlds import row_of
from tests.simulation.cassandra_faults import Fault
from tests.simulation.cassandra_replica import Cell, Change, Clustering, Replica, Slice, Span, lacking, merged

PARTITION = ("p",)
ROW: Clustering = (1, 1)


def put(timestamp: int, value: object, place: Clustering = ROW) -> Change:
    return Change(PARTITION, place, Cell(timestamp, value))


def row_deletion(timestamp: int, place: Clustering = ROW) -> Change:
    return Change(PARTITION, place, Cell(timestamp, None))


def partition_deletion(timestamp: int) -> Change:
    return Change(PARTITION, None, Cell(timestamp, None))


def live(slice: Slice) -> dict[Clustering, Any]:
    return {place: cell.value for place, cell in slice.cells.items() if cell.value is not None}


def replica_of(*changes: Change) -> Replica:
    replica = Replica(Counter())
    for change in changes:
        replica.post(0.0, 0.0, change)
    return replica


def slice_of(*changes: Change) -> Slice:
    return replica_of(*changes).read(0.0, Span(PARTITION))


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ((put(1, "old"), put(2, "new")), "new"),
        ((put(1, "old"), put(3, "new"), row_deletion(2)), "new"),
        ((put(1, "old"), row_deletion(2)), None),
        ((put(2, "data"), row_deletion(2)), None),
        ((put(2, row_of(1, 1)), row_deletion(2)), None),
        ((put(2, "data"), put(2, "more data")), "more data"),
        ((put(2, "data"), partition_deletion(2)), None),
        ((put(2, "data"), partition_deletion(1)), "data"),
        ((put(2, "old"), partition_deletion(3), put(4, "new"), partition_deletion(1)), "new"),
        ((row_deletion(5), put(3, "data"), partition_deletion(4)), None),
    ],
)
def test_the_newest_is_kept_whichever_came_first(changes: tuple[Change, ...], value: str | None) -> None:
    expected = {} if value is None else {ROW: value}
    for order in permutations(changes):
        assert live(slice_of(*order)) == expected
        for split in range(len(order) + 1):
            assert live(merged(slice_of(*order[:split]), slice_of(*order[split:]))) == expected


def test_the_same_change_again_has_no_effect() -> None:
    seen: Counter[str] = Counter()
    replica = Replica(seen)
    replica.post(0.0, 0.0, put(1, "data"))
    replica.post(0.0, 0.0, put(1, "data"), Fault.COPY_LATE)
    assert live(replica.read(0.0, Span(PARTITION))) == {ROW: "data"}
    assert seen == {Fault.COPY_LATE: 1, Fault.WITHOUT_EFFECT: 1}


def test_a_change_is_there_from_its_arrival_on_and_its_fault_counts_then() -> None:
    seen: Counter[str] = Counter()
    replica = Replica(seen)
    replica.post(1.0, 3.0, put(2, "late"), Fault.WRITE_LATE)
    replica.post(1.0, 2.0, put(1, "early"))
    assert live(replica.read(1.9, Span(PARTITION))) == {}
    assert live(replica.read(2.0, Span(PARTITION))) == {ROW: "early"}
    assert not seen
    assert live(replica.read(3.0, Span(PARTITION))) == {ROW: "late"}
    assert seen == {Fault.WRITE_LATE: 1}


def test_what_was_read_does_not_change_afterwards() -> None:
    replica = replica_of(put(1, "before"))
    before = replica.read(0.0, Span(PARTITION))
    replica.post(0.0, 0.0, put(2, "after"))
    replica.post(0.0, 0.0, put(2, "another", (2, 0)))
    assert live(before) == {ROW: "before"}


def test_a_span_begins_with_its_start_and_ends_before_its_end() -> None:
    replica = replica_of(*(put(1, f"{epoch}.{seq}", (epoch, seq)) for epoch in (1, 2) for seq in (0, 1, 10)))
    span = Span(PARTITION, (1, 1), (2, 1))
    assert sorted(live(replica.read(0.0, span)).values()) == ["1.1", "1.10", "2.0"]
    assert sorted(live(replica.read(0.0, span.after((1, 1)))).values()) == ["1.10", "2.0"]


def test_with_what_it_lacks_a_replica_has_what_both_know_as_far_as_was_read() -> None:
    one = (put(1, "a", (1,)), put(9, "c", (3,)), row_deletion(7, (2,)))
    other = (put(6, "b", (1,)), put(5, "gone", (2,)), partition_deletion(3), put(8, "d", (4,)))
    whole = merged(slice_of(*one), slice_of(*other))
    assert live(whole) == {(1,): "b", (3,): "c", (4,): "d"}
    for has in (one, other):
        assert slice_of(*has, *lacking(slice_of(*has), whole, PARTITION, None)) == whole
    assert lacking(slice_of(*other), whole, PARTITION, (2,)) == [row_deletion(7, (2,))]
    assert lacking(whole, whole, PARTITION, None) == []
