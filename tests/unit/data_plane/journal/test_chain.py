"""The cases that the fence lives by, each the rows that a partition holds and what of them counts."""

from __future__ import annotations

from random import Random

import pytest

from data_plane.journal.chain import BrokenChainError, chain, tip
from data_plane.journal.store import Position, Row
from stepwell.engine.records import Completed, Deleting, Record
from stepwell.names import InstanceUid


def row(epoch: int, seq: int, *records: Record) -> Row:
    return Row(Position(epoch, seq), records or (Completed(seq, b""),))


def first(epoch: int, seq: int, predecessor: tuple[int, int] | None, *records: Record) -> Row:
    return Row(Position(epoch, seq), records, True, Position(*predecessor) if predecessor else None)


def deleting(epoch: int, seq: int) -> Row:
    return row(epoch, seq, Deleting(1, InstanceUid("u"), 1, ""))


def counts(*rows: Row) -> list[tuple[int, int]]:
    shuffled = list(rows)
    Random(0).shuffle(shuffled)
    return [each.position for each in chain(shuffled)]


def test_no_rows_are_no_instance() -> None:
    assert chain([]) == []
    assert tip([]) is None


def test_one_owners_rows_are_the_journal() -> None:
    assert counts(first(1, 0, None), row(1, 1), row(1, 2)) == [(1, 0), (1, 1), (1, 2)]


def test_a_new_owner_continues_what_it_read() -> None:
    rows = [first(1, 0, None), row(1, 1), first(2, 2, (1, 1)), row(2, 3)]
    assert counts(*rows) == [(1, 0), (1, 1), (2, 2), (2, 3)]
    assert tip(rows) == (2, 3)


def test_a_stale_owners_late_write_is_dead() -> None:
    assert counts(first(1, 0, None), row(1, 1), row(1, 2), first(2, 2, (1, 1))) == [(1, 0), (1, 1), (2, 2)]


def test_a_write_that_landed_before_the_takeover_read_counts() -> None:
    assert counts(first(1, 0, None), row(1, 1), row(1, 2), first(2, 3, (1, 2)))[2] == (1, 2)


def test_an_epoch_that_no_later_owner_had_read_is_dead_with_all_its_rows() -> None:
    rows = [first(1, 0, None), first(2, 1, (1, 0)), row(2, 2), first(3, 1, (1, 0)), row(3, 2)]
    assert counts(*rows) == [(1, 0), (3, 1), (3, 2)]


def test_an_owner_may_have_read_epochs_below_the_one_before_it() -> None:
    rows = [first(1, 0, None), first(2, 1, (1, 0)), row(2, 2), first(7, 3, (2, 2)), first(9, 4, (7, 3))]
    assert counts(*rows) == [(1, 0), (2, 1), (2, 2), (7, 3), (9, 4)]


def test_a_first_row_without_predecessor_starts_anew() -> None:
    """A stale create of an older epoch that landed late."""
    assert counts(first(1, 0, None), row(1, 1), first(2, 0, None)) == [(2, 0)]


def test_rows_of_an_epoch_whose_first_row_never_landed_are_dead() -> None:
    assert counts(first(1, 0, None), row(2, 2), row(2, 3)) == [(1, 0)]
    assert counts(row(2, 2)) == []


def test_the_newest_epoch_ends_where_a_row_is_missing() -> None:
    assert counts(first(1, 0, None), row(1, 2)) == [(1, 0)]


def test_a_chain_that_ends_in_deleting_is_that_row_alone_whatever_is_missing_below() -> None:
    rows = [first(2, 2, (1, 1)), deleting(2, 3)]
    assert counts(*rows) == [(2, 3)]
    assert tip(rows) == (2, 3)


def test_deleting_on_a_dead_row_deletes_nothing() -> None:
    assert counts(first(1, 0, None), deleting(1, 1), first(2, 1, (1, 0))) == [(1, 0), (2, 1)]


def test_a_re_marked_deletion_is_still_a_deletion() -> None:
    again = first(3, 4, (2, 3), Deleting(1, InstanceUid("u"), 1, ""))
    assert counts(again) == [(3, 4)]


def test_a_first_row_without_records_does_not_stand_for_the_deletion_below_it() -> None:
    """So whoever takes over a deletion writes Deleting again, in its first row: the rows below may go at any time."""
    rows = [first(1, 0, None), deleting(1, 1), first(2, 2, (1, 1))]
    assert counts(*rows) == [(1, 0), (1, 1), (2, 2)]
    with pytest.raises(BrokenChainError):
        chain(rows[-1:])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([first(2, 2, (1, 1))], "epoch 1"),
        ([first(1, 0, None), first(2, 2, (1, 1))], "row 1 of epoch 1"),
        ([first(2, 2, (2, 1))], "names"),
        ([first(2, 2, (3, 1)), row(3, 1)], "names"),
    ],
)
def test_a_chain_with_a_hole_is_refused(rows: list[Row], says: str) -> None:
    with pytest.raises(BrokenChainError, match=says):
        chain(rows)
