"""A journal store that tells how long each write took. Reads and all that is promised are those of the store within."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from data_plane.journal.store import (
    EVER,
    CreateTimes,
    DeleteInstance,
    Done,
    DropBucket,
    InstanceKey,
    JournalStore,
    ListingPage,
    Mutation,
    Position,
    PutBlob,
    PutListing,
    PutMark,
    PutRow,
    PutWake,
    Row,
    Wake,
)
from stepwell.names import InstanceUid, TenantUid, WorkflowId

KINDS: Final[dict[type, str]] = {
    PutRow: "row",
    PutBlob: "blob",
    PutWake: "wake",
    DropBucket: "bucket",
    PutMark: "mark",
    PutListing: "listing",
    DeleteInstance: "deletion",
}
"""What each mutation is called in figures."""


class WriteObserver(Protocol):
    """Called on the event loop, in the path of every step: it returns at once and raises nothing."""

    def written(self, kind: str, seconds: float, *, unknown: bool) -> None:
        """A write was answered; `unknown` when the answer leaves open whether it took effect."""


class MeasuredJournalStore:
    """See `JournalStore` for what each method promises. `monotonic` gives seconds."""

    def __init__(self, store: JournalStore, observer: WriteObserver, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._observer = observer
        self._monotonic = monotonic

    def write(self, mutation: Mutation, done: Done) -> None:
        began_s = self._monotonic()

        def answered(error: Exception | None) -> None:
            seconds = self._monotonic() - began_s
            self._observer.written(KINDS[type(mutation)], seconds, unknown=error is not None)
            done(error)

        self._store.write(mutation, answered)

    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        return await self._store.read_journal(key, since=since, rows_max=rows_max)

    async def read_blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        return await self._store.read_blob(key, uid, id)

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        return await self._store.read_wakes(shard, first, last)

    async def read_marks(self, shard: int) -> dict[int, int]:
        return await self._store.read_marks(shard)

    async def list_instances(
        self,
        tenant: TenantUid,
        workflow: WorkflowId,
        *,
        limit: int,
        token: str = "",
        statuses: frozenset[str] = frozenset(),
        created: CreateTimes = EVER,
    ) -> ListingPage:
        return await self._store.list_instances(
            tenant, workflow, limit=limit, token=token, statuses=statuses, created=created
        )

    async def stored_bytes(self, tenant: TenantUid) -> int:
        return await self._store.stored_bytes(tenant)

    async def close(self) -> None:
        await self._store.close()
