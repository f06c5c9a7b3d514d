"""What every member of the modelled etcd agrees on: records, revisions, leases and their keys (etcd: the mvcc store).

There is one, since etcd is linearizable: whatever a client does takes effect here, at one moment. Each change is a
**revision** of all its keys at once, and a key has the revision that made it (create_revision) and the one that wrote
it last (mod_revision). **Compaction** forgets what happened up to a revision; what is there stays. Revisions count from
0 as the port has them, where etcd's own begin at 1.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence

from cluster.store import Compare, Delete, Event, KeyValue, LeaseLostError, Operation, Put, TxnResult


class EtcdState:
    """`published` is told of each revision's events once it is made."""

    def __init__(self, published: Callable[[tuple[Event, ...]], None]) -> None:
        self.revision = 0
        self.compacted = 0
        """Changes up to this revision are forgotten."""
        self._published = published
        self._records: dict[str, KeyValue] = {}
        self._keys: list[str] = []
        """Of the records, in order."""
        self._history: list[tuple[Event, ...]] = []
        """By revision, from the one after `compacted`."""
        self._keys_on: dict[int, set[str]] = {}
        """By lease; a lease that isn't here is gone."""

    def get(self, key: str) -> KeyValue | None:
        return self._records.get(key)

    def range(self, prefix: str, after: str, limit: int) -> tuple[KeyValue, ...]:
        keys = self._keys
        found: list[KeyValue] = []
        at = max(bisect_left(keys, prefix), bisect_right(keys, after))
        while at < len(keys) and len(found) < limit and keys[at].startswith(prefix):
            found.append(self._records[keys[at]])
            at += 1
        return tuple(found)

    def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        """See `ClusterStore.txn`. Leases are looked for once the compares hold, as etcd does."""
        records = self._records
        for compare in compares:
            found = records.get(compare.key)
            if (found.mod_revision if found is not None else 0) != compare.mod_revision:
                return TxnResult(False, self.revision)
        for operation in operations:
            if isinstance(operation, Put) and operation.lease and operation.lease not in self._keys_on:
                raise LeaseLostError(f"requested lease not found: {operation.lease}")
        self._write(operations)
        return TxnResult(True, self.revision)

    def compact(self, revision: int) -> None:
        """Forget what happened up to that revision."""
        del self._history[: max(0, revision - self.compacted)]
        self.compacted = max(self.compacted, revision)

    def changes(self, after: int, until: int, prefix: str) -> tuple[Event, ...]:
        """What happened to keys with the prefix in revisions past `after`, which are kept, and up to `until`."""
        revisions = self._history[after - self.compacted : until - self.compacted]
        return tuple(event for events in revisions for event in events if event.key.startswith(prefix))

    # ---------------------------------------------------------------- leases
    def grant(self, lease: int) -> None:
        self._keys_on[lease] = set()

    def revoke(self, lease: int) -> None:
        """It and its keys go, these in their order at one revision. Nothing happens when it is gone."""
        self._write([Delete(key) for key in sorted(self._keys_on.get(lease, ()))])
        self._keys_on.pop(lease, None)

    # ---------------------------------------------------------------- writes
    def _write(self, operations: Sequence[Operation]) -> None:
        revision = self.revision + 1
        events = tuple(event for each in operations if (event := self._apply(each, revision)) is not None)
        if events:
            self.revision = revision
            self._history.append(events)
            self._published(events)

    def _apply(self, operation: Operation, revision: int) -> Event | None:
        key = operation.key
        old = self._records.get(key)
        if old is not None and old.lease:
            self._keys_on[old.lease].discard(key)
        if isinstance(operation, Put):
            lease = operation.lease
            if lease:
                self._keys_on[lease].add(key)
            if old is None:
                insort(self._keys, key)
            created = revision if old is None else old.create_revision
            self._records[key] = KeyValue(key, operation.value, created, revision, lease)
            return Event(key, operation.value, revision)
        if old is None:
            return None
        del self._records[key]
        del self._keys[bisect_left(self._keys, key)]
        return Event(key, None, revision)
