"""A measured store does what the one within does, and tells how long each write took and what is unknown of it."""

from __future__ import annotations

from typing import get_args

from data_plane.journal.store import Mutation, PutMark, Stamp, WriteUnknownError
from data_plane.journal.store_measured import KINDS, MeasuredJournalStore
from tests.unit.data_plane.fakes import HeldStore, MemoryStore


class Told:
    def __init__(self) -> None:
        self.writes: list[tuple[str, float, bool]] = []

    def written(self, kind: str, seconds: float, *, unknown: bool) -> None:
        self.writes.append((kind, seconds, unknown))


def test_every_kind_of_mutation_has_a_name() -> None:
    assert set(KINDS) == set(get_args(Mutation))
    assert len(set(KINDS.values())) == len(KINDS)


def test_a_write_is_told_once_it_is_answered_with_the_time_that_took() -> None:
    now_s, told, held = 5.0, Told(), HeldStore()
    store = MeasuredJournalStore(held, told, lambda: now_s)  # type: ignore[arg-type]
    answers: list[Exception | None] = []
    for _ in range(2):
        store.write(PutMark(0, 1, 2, Stamp(1, 1)), answers.append)
    assert told.writes == []
    now_s = 5.25
    held.answer()
    now_s = 6.0
    unknown = WriteUnknownError("timed out")
    held.answer(unknown)
    assert told.writes == [("mark", 0.25, False), ("mark", 1.0, True)]
    assert answers == [None, unknown]


async def test_what_is_written_is_read_from_the_store_within() -> None:
    within = MemoryStore()
    store = MeasuredJournalStore(within, Told(), lambda: 0.0)
    store.write(PutMark(0, 1, 2, Stamp(1, 1)), lambda _: None)
    assert await store.read_marks(0) == await within.read_marks(0) == {1: 2}
