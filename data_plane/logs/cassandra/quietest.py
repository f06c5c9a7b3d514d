"""Which of a tenant's instances make room: those that have been quiet longest, and no more of them than have to."""

from __future__ import annotations

import heapq
from typing import NamedTuple


class Sized(NamedTuple):
    """An instance, what it has, and when it printed last, in ms."""

    newest_at: int
    instance: str
    bytes: int


class Quietest:
    """Of those that it is shown, in any order, it holds the quietest that have `needed_bytes` together, and no others:
    so that a look over all instances of a tenant takes no more memory than those that go."""

    def __init__(self, needed_bytes: int) -> None:
        self._needed_bytes = needed_bytes
        self._held: list[tuple[int, str, int]] = []
        """With what printed last first; hence minus its time."""
        self._held_bytes = 0

    def show(self, sized: Sized) -> None:
        if not sized.bytes:
            return
        heapq.heappush(self._held, (-sized.newest_at, sized.instance, sized.bytes))
        self._held_bytes += sized.bytes
        while self._held_bytes - self._held[0][2] >= self._needed_bytes:
            self._held_bytes -= heapq.heappop(self._held)[2]

    def found(self) -> list[Sized]:
        """The quietest first."""
        return sorted(Sized(-minus_at, instance, size) for minus_at, instance, size in self._held)
