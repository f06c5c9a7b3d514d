"""Whose mutations are committed next, when more wait than one commit takes: tenants take turns.

What fits into one commit goes into it as it came. Otherwise each tenant in turn adds a share, so that one that writes
without end makes commits full, and nobody else's wait longer than one commit. A tenant's own keep their order.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from data_plane.journal.sqlite.mutations import Bound
from data_plane.journal.store import Done

COMMIT_MUTATIONS_MAX: Final = 4096
"""In one transaction: bounds how long a commit can take, far above what one fsync's time lets in."""

COMMIT_BYTES_MAX: Final = 2 * 1024 * 1024
"""In one transaction, but for the last share: some 5 ms on a disk that writes 500 MB a second."""

SHARE_BYTES: Final = 64 * 1024
"""A tenant's in one turn, but for the last mutation."""

MUTATION_BYTES: Final = 64
"""What each mutation counts beside its data."""


Entry = tuple[Bound, Done]


class CommitTurns:
    """Used by the committing thread alone."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Entry]] = {}

    @property
    def waiting(self) -> bool:
        return bool(self._queues)

    def next(self, came: list[Entry], size: int) -> list[Entry]:
        """What to commit, of what came, with `size` bytes of data, and what waits; empty when there is nothing."""
        if not self._queues and len(came) <= COMMIT_MUTATIONS_MAX and size <= COMMIT_BYTES_MAX:
            return came
        self.wait(came)
        return self._take()

    def wait(self, entries: list[Entry]) -> None:
        """Have these wait, behind what waits already."""
        for entry in entries:
            tenant = entry[0][2]
            queue = self._queues.get(tenant)
            if queue is None:
                queue = self._queues[tenant] = deque()
            queue.append(entry)

    def _take(self) -> list[Entry]:
        batch: list[Entry] = []
        size = 0
        while self._queues and size < COMMIT_BYTES_MAX and len(batch) < COMMIT_MUTATIONS_MAX:
            tenant = next(iter(self._queues))
            queue = self._queues.pop(tenant)
            share = 0
            while queue and share < SHARE_BYTES:
                entry = queue.popleft()
                share += entry[0][3] + MUTATION_BYTES
                batch.append(entry)
            size += share
            if queue:
                self._queues[tenant] = queue
        return batch
