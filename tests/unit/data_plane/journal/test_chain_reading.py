"""A partition that was read in pages is read again before it is taken for broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from data_plane.journal.chain import BrokenChainError
from data_plane.journal.chain_reading import read_chain
from data_plane.journal.store import Position, Row
from tests.contract.journal_worlds import key_of, row_of
from tests.contract.oracle_store import OracleJournalStore

ROWS = [
    row_of(1, 0, first=True),
    row_of(1, 1),
    row_of(2, 2, first=True, predecessor=Position(1, 1)),
]
TORN = [ROWS[0], ROWS[2]]
"""The first page was read before row 1 was written, the second one after."""


class PagingStore(OracleJournalStore):
    def __init__(self, *reads: Sequence[Row]) -> None:
        super().__init__()
        self._reads = list(reads)

    async def read_journal(self, *of: Any, **more: Any) -> Sequence[Row]:
        return self._reads.pop(0)


async def test_what_was_torn_between_pages_is_read_again() -> None:
    assert await read_chain(PagingStore(TORN, ROWS), key_of("one")) == ROWS


async def test_what_was_torn_twice_in_different_ways_is_read_again() -> None:
    assert await read_chain(PagingStore(TORN, [ROWS[2]], ROWS), key_of("one")) == ROWS


async def test_what_is_broken_in_another_way_each_time_is_not_read_for_ever() -> None:
    with pytest.raises(BrokenChainError):
        await read_chain(PagingStore(*[TORN, [ROWS[2]]] * 2, TORN), key_of("one"))


async def test_what_stays_broken_is() -> None:
    with pytest.raises(BrokenChainError):
        await read_chain(PagingStore(TORN, TORN), key_of("one"))
