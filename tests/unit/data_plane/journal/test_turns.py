"""Whose mutations are committed next."""

from __future__ import annotations

from data_plane.journal.sqlite.mutations import Statement
from data_plane.journal.sqlite.turns import COMMIT_BYTES_MAX, COMMIT_MUTATIONS_MAX, SHARE_BYTES, CommitTurns, Entry


def entry(tenant: str, number: int, size: int = 100) -> Entry:
    return (Statement.PUT_ROW, (number,), tenant, size), lambda error: None


def taken(turns: CommitTurns, came: list[Entry]) -> list[Entry]:
    return turns.next(came, sum(bound[3] for bound, _ in came))


def numbers(batch: list[Entry], tenant: str) -> list[int]:
    return [bound[1][0] for bound, _ in batch if bound[2] == tenant]


def test_what_fits_is_committed_together_as_it_came() -> None:
    turns, came = CommitTurns(), [entry("a", 1), entry("b", 2), entry("a", 3)]
    assert taken(turns, came) == came
    assert not turns.waiting


def test_a_flood_fills_commits_and_holds_up_nobody_else() -> None:
    turns = CommitTurns()
    flood = [entry("flood", number, COMMIT_BYTES_MAX // 4) for number in range(40)]
    first = taken(turns, [*flood, entry("honest", 1)])
    assert numbers(first, "honest") == [1], "it came last and was not kept waiting"
    second = taken(turns, [entry("honest", 2)])
    assert numbers(second, "honest") == [2]
    assert len(first) + len(second) < 12
    told = numbers(first, "flood") + numbers(second, "flood")
    while turns.waiting:
        told += numbers(taken(turns, []), "flood")
    assert told == list(range(40)), "its own order is kept, and all of it comes"


def test_tenants_that_flood_alike_get_alike() -> None:
    turns = CommitTurns()
    came = [entry(tenant, number, SHARE_BYTES) for tenant in ("a", "b", "c") for number in range(50)]
    batch = taken(turns, came)
    counts = [len(numbers(batch, tenant)) for tenant in ("a", "b", "c")]
    assert max(counts) - min(counts) <= 1


def test_small_mutations_are_bounded_by_their_number() -> None:
    turns = CommitTurns()
    batch = taken(turns, [entry("a", number, 0) for number in range(3 * COMMIT_MUTATIONS_MAX)])
    assert len(batch) < COMMIT_MUTATIONS_MAX + SHARE_BYTES // 64 + 1
    assert turns.waiting
