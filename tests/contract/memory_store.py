"""The cluster store as a few lines of obvious code: the oracle that the adapters are held against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from cluster.store import (
    CompactedError,
    Compare,
    Event,
    KeyValue,
    Operation,
    Put,
    TxnResult,
    WatchBatch,
    check_range,
    check_txn,
)
from stepwell.errors import UnavailableError


class MemoryStore:
    """`ClusterStore` in this process's memory. `compact` forgets the past of watches; `broken` fails every call."""

    def __init__(self) -> None:
        self.broken = False
        self.reads = 0
        self._records: dict[str, KeyValue] = {}
        self._log: list[tuple[Event, ...]] = []
        self._compacted = 0
        self._changed = asyncio.Condition()

    async def get(self, key: str) -> KeyValue | None:
        self._check()
        return self._records.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int) -> tuple[KeyValue, ...]:
        self._check()
        check_range(limit)
        found = sorted(key for key in self._records if key.startswith(prefix) and key > after)
        return tuple(self._records[key] for key in found[:limit])

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        self._check()
        check_txn(compares, operations)
        for compare in compares:
            found = self._records.get(compare.key)
            if (found.mod_revision if found else 0) != compare.mod_revision:
                return TxnResult(False, len(self._log))
        revision = len(self._log) + 1
        events: list[Event] = []
        for operation in operations:
            old = self._records.pop(operation.key, None)
            if isinstance(operation, Put):
                created = old.create_revision if old else revision
                self._records[operation.key] = KeyValue(operation.key, operation.value, created, revision)
                events.append(Event(operation.key, operation.value, revision))
            elif old is not None:
                events.append(Event(operation.key, None, revision))
        if not events:
            return TxnResult(True, len(self._log))
        self._log.append(tuple(events))
        async with self._changed:
            self._changed.notify_all()
        return TxnResult(True, revision)

    async def revision(self) -> int:
        self._check()
        return len(self._log)

    async def watch(self, prefix: str, *, after: int) -> AsyncGenerator[WatchBatch, None]:
        told = after
        while True:
            self._check()
            if told < self._compacted:
                raise CompactedError(f"changes after {told} are forgotten")
            events = tuple(e for batch in self._log[told:] for e in batch if e.key.startswith(prefix))
            told = max(told, len(self._log))
            yield WatchBatch(told, events)
            async with self._changed:
                while not self.broken and len(self._log) == told:
                    await self._changed.wait()

    async def broken_now(self) -> None:
        """From here on every call fails, and watches end."""
        self.broken = True
        async with self._changed:
            self._changed.notify_all()

    def compact(self) -> None:
        """Watches that begin before the newest revision are refused."""
        self._compacted = len(self._log)

    def _check(self) -> None:
        self.reads += 1
        if self.broken:
            raise UnavailableError("the store can't be reached")
