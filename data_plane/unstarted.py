"""What a shard's instances wait with: those that have something to do and that nobody runs yet, and since when.

It is what to look at when work stands still, whatever holds it up: the store, the sandboxes, or a tenant's own limits.
What its workflow says of how many run at once is no such thing: its author wants it to wait.
"""

from __future__ import annotations

from collections.abc import Callable

from data_plane.journal.store import InstanceKey


class Unstarted:
    """Times are ms since the epoch. In memory alone: a new owner starts with what wakes bring it."""

    def __init__(self) -> None:
        self._since: dict[InstanceKey, int] = {}

    def add(self, key: InstanceKey, since: int) -> None:
        """It is due since then; the earliest such time counts."""
        before = self._since.get(key)
        if before is None or since < before:
            self._since[key] = since

    def remove(self, key: InstanceKey) -> None:
        """It runs, or there was nothing to do. Idempotent."""
        self._since.pop(key, None)

    def oldest(self, by_its_own_wish: Callable[[InstanceKey], bool]) -> int | None:
        """Since when the one waits that waits longest, but for those whose workflow wants them to wait; looks at all of
        them."""
        return min((since for key, since in self._since.items() if not by_its_own_wish(key)), default=None)
