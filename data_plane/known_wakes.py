"""The wakes that a shard's owner has in memory: found by instance, by bucket and by due time.

They are those of the buckets that were read, some half a minute ahead of now, and of what is behind but not done with.
Pure: no clock, no store; every call but the bulk ones costs O(log n).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator

from data_plane.journal.store import InstanceKey, Wake


class KnownWakes:
    def __init__(self) -> None:
        self._by_key: dict[InstanceKey, tuple[Wake, ...]] = {}
        self._by_bucket: dict[int, dict[InstanceKey, None]] = {}
        """In the order in which they became known: the same in every process."""
        self._own: set[Wake] = set()
        self._heap: list[tuple[int, int, Wake]] = []
        self._pushed = 0

    def __len__(self) -> int:
        """Instances with a wake in memory."""
        return len(self._by_key)

    def add(self, wake: Wake, *, own: bool = False) -> None:
        """One that is known already may still become this owner's `own`."""
        if own:
            self._own.add(wake)
        known = self._by_key.get(wake.key, ())
        if wake not in known:
            self._by_key[wake.key] = (*known, wake)
            self._by_bucket.setdefault(wake.bucket, {})[wake.key] = None
            self._pushed += 1
            heapq.heappush(self._heap, (wake.due, self._pushed, wake))

    def keep(self, key: InstanceKey, kept: Collection[Wake]) -> None:
        """Forget the instance's wakes but those."""
        known = self._by_key.get(key)
        if known is None:
            return
        left = tuple(wake for wake in known if wake in kept)
        self._own.difference_update(wake for wake in known if wake not in left)
        for bucket in {wake.bucket for wake in known} - {wake.bucket for wake in left}:
            keys = self._by_bucket[bucket]
            keys.pop(key, None)
            if not keys:
                del self._by_bucket[bucket]
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]

    def of(self, key: InstanceKey) -> tuple[Wake, ...]:
        return self._by_key.get(key, ())

    def own(self, key: InstanceKey) -> Iterator[Wake]:
        """The instance's wakes that this owner wrote."""
        return (wake for wake in self.of(key) if wake in self._own)

    def take_due(self, now: int, limit: int | None = None) -> list[InstanceKey]:
        """The instances of wakes that are due and were not taken before; they stay known."""
        taken: dict[InstanceKey, None] = {}
        while self._heap and self._heap[0][0] <= now and len(taken) != limit:
            _, _, wake = heapq.heappop(self._heap)
            if wake in self.of(wake.key):
                taken[wake.key] = None
        return list(taken)

    def next_due(self) -> int | None:
        """The earliest due time that was not taken."""
        while self._heap and self._heap[0][2] not in self.of(self._heap[0][2].key):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def lowest_bucket(self) -> int | None:
        return min(self._by_bucket, default=None)

    def below(self, bucket: int) -> Iterator[InstanceKey]:
        """Instances with a wake in a lower bucket, lowest first, as it is now; one may come more than once."""
        for each in sorted(low for low in self._by_bucket if low < bucket):
            yield from list(self._by_bucket.get(each, ()))
