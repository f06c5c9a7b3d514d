"""The cluster store as a few lines of obvious code: the oracle that the adapters are held against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from cluster.store import (
    CompactedError,
    Compare,
    Delete,
    Event,
    KeyValue,
    LeaseLostError,
    Operation,
    Put,
    TxnResult,
    WatchBatch,
    check_range,
    check_txn,
)
from stepwell.errors import UnavailableError


class MemoryStore:
    """`LeaseStore` in this process's memory. `compact` forgets the past of watches; `broken` fails every call.

    Leases end by the clock that it is given, in seconds, when `end_leases` is called.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.broken = False
        self.reads = 0
        self._clock = clock
        self._records: dict[str, KeyValue] = {}
        self._log: list[tuple[Event, ...]] = []
        self._compacted = 0
        self._leases: dict[int, tuple[int, float]] = {}
        """How long each lives, and until when."""
        self._leases_granted = 0
        self._changed = asyncio.Event()

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
        for operation in operations:
            if isinstance(operation, Put) and operation.lease and operation.lease not in self._leases:
                raise LeaseLostError(f"there is no lease {operation.lease}")
        self._write(operations)
        return TxnResult(True, len(self._log))

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
            while not self.broken and len(self._log) == told:
                await self._changed.wait()

    async def grant_lease(self, ttl_s: int) -> int:
        self._check()
        self._leases_granted += 1
        self._leases[self._leases_granted] = ttl_s, self._clock() + ttl_s
        return self._leases_granted

    async def keep_alive(self, lease: int) -> None:
        self._check()
        if lease not in self._leases:
            raise LeaseLostError(f"there is no lease {lease}")
        ttl_s, _ = self._leases[lease]
        self._leases[lease] = ttl_s, self._clock() + ttl_s

    async def revoke_lease(self, lease: int) -> None:
        self._check()
        self._end(lease)

    def end_leases(self) -> None:
        """Those whose time is over by now, in the order in which it was."""
        ended = sorted((until_s, lease) for lease, (_, until_s) in self._leases.items() if until_s <= self._clock())
        for _, lease in ended:
            self._end(lease)

    async def broken_now(self) -> None:
        """From here on every call fails, and watches end."""
        self.broken = True
        self._tell()

    def compact(self) -> None:
        """Watches that begin before the newest revision are refused."""
        self._compacted = len(self._log)

    def _write(self, operations: Sequence[Operation]) -> None:
        revision = len(self._log) + 1
        events: list[Event] = []
        for operation in operations:
            old = self._records.pop(operation.key, None)
            if isinstance(operation, Put):
                written = KeyValue(operation.key, operation.value, revision, revision, operation.lease)
                self._records[operation.key] = replace(written, create_revision=old.create_revision) if old else written
                events.append(Event(operation.key, operation.value, revision))
            elif old is not None:
                events.append(Event(operation.key, None, revision))
        if events:
            self._log.append(tuple(events))
            self._tell()

    def _end(self, lease: int) -> None:
        if self._leases.pop(lease, None) is not None:
            self._write([Delete(key) for key, found in sorted(self._records.items()) if found.lease == lease])

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _check(self) -> None:
        self.reads += 1
        if self.broken:
            raise UnavailableError("the store can't be reached")
