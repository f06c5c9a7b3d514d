"""Reads a partition and says which of its rows count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from data_plane.journal.chain import BrokenChainError, chain
from data_plane.journal.store import InstanceKey, JournalStore, Row

READS: Final = 5
"""Of a partition that looks broken in another way each time: somebody writes to it all the while."""


async def read_chain(store: JournalStore, key: InstanceKey) -> list[Row]:
    """The instance's journal, oldest row first.

    A large partition comes in pages, each read at its own moment: a later one may show what follows a row that an
    earlier one was too early for. So what seems to be broken is believed once it was read twice. Raises
    BrokenChainError, and what the store raises.
    """
    broken: Sequence[Row] | None = None
    for _ in range(READS - 1):
        rows = await store.read_journal(key)
        try:
            return chain(rows)
        except BrokenChainError:
            if rows == broken:
                raise
            broken = rows
    return chain(await store.read_journal(key))
