"""The journal store as a few lines of obvious code: the oracle that the adapters are held against.

A cell is the newest of what was written to its key; a removal shadows what is stamped at or below it, whichever arrived
first. Durable is what the `Cells` hold: several stores may be opened on the same ones, as after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_plane.journal.store import (
    EVER,
    CreateTimes,
    DeleteInstance,
    Done,
    DropBucket,
    InstanceKey,
    Listing,
    ListingPage,
    Mutation,
    Position,
    PutBlob,
    PutListing,
    PutMark,
    PutRow,
    PutWake,
    Row,
    Stamp,
    Wake,
)
from stepwell.names import InstanceUid, TenantUid, WorkflowId


@dataclass
class Cells:
    """What is on the disk: cells by kind and key, and what removed the cells of a partition."""

    written: dict[tuple[Hashable, ...], tuple[Stamp, Any]] = field(default_factory=dict)
    removed: dict[tuple[Hashable, ...], Stamp] = field(default_factory=dict)

    def put(self, key: tuple[Hashable, ...], stamp: Stamp, value: object) -> None:
        if key not in self.written or self.written[key][0] < stamp:
            self.written[key] = stamp, value

    def remove(self, partition: tuple[Hashable, ...], stamp: Stamp) -> None:
        self.removed[partition] = max(stamp, self.removed.get(partition, stamp))

    def alive(self, partition: tuple[Hashable, ...]) -> list[Any]:
        """The values of a partition: cells whose key starts with it."""
        size = len(partition)
        return [
            value
            for key, (stamp, value) in self.written.items()
            if key[:size] == partition
            and all(stamp > self.removed.get(key[:part], Stamp(-1, -1)) for part in range(1, len(key) + 1))
        ]


class OracleJournalStore:
    """Acknowledges in the next turn of the loop."""

    def __init__(self, cells: Cells | None = None) -> None:
        self.cells = cells or Cells()

    def write(self, mutation: Mutation, done: Done) -> None:
        self.apply(mutation)
        asyncio.get_running_loop().call_soon(done, None)

    def apply(self, mutation: Mutation) -> None:
        match mutation:
            case PutRow(key, row, stamp):
                self.cells.put(("row", key, row.position), stamp, row)
            case PutBlob(key, uid, id, data, stamp):
                self.cells.put(("blob", key, uid, id), stamp, data)
            case PutWake(shard, wake, stamp):
                self.cells.put(("wake", shard, wake.bucket, wake), stamp, wake)
            case DropBucket(shard, bucket, stamp):
                self.cells.remove(("wake", shard, bucket), stamp)
            case PutMark(shard, epoch, bucket, stamp):
                self.cells.put(("mark", shard, epoch), stamp, (epoch, bucket))
            case PutListing(listing, stamp):
                tenant, workflow, instance = listing.key
                own = (instance, listing.uid, listing.created_at)
                self.cells.put(("listing", tenant, workflow, own), stamp, listing)
            case DeleteInstance(key, uid, created_at, stamp):
                self.cells.remove(("blob", key, uid), stamp)
                self.cells.remove(("listing", key.tenant, key.workflow, (key.instance, uid, created_at)), stamp)
                self.cells.remove(("row", key), stamp)

    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        rows: list[Row] = self.cells.alive(("row", key))
        found = [row for row in sorted(rows, key=lambda row: row.position) if since is None or row.position >= since]
        return found[:rows_max]

    async def read_blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        for data in self.cells.alive(("blob", key, uid, id)):
            return bytes(data)
        raise KeyError(id)

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        wakes: list[Wake] = self.cells.alive(("wake", shard))
        return [wake for wake in wakes if first <= wake.bucket <= last]

    async def read_marks(self, shard: int) -> dict[int, int]:
        return dict(self.cells.alive(("mark", shard)))

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
        listings: list[Listing] = self.cells.alive(("listing", tenant, workflow))
        listings = [each for each in listings if not statuses or each.status in statuses]
        listings = [each for each in listings if created.first <= each.created_at <= created.last]
        listings.sort(key=_age, reverse=True)
        if token:
            try:
                _, created_at, instance, uid = token.split(" ")
                after = int(created_at), instance, uid
            except ValueError:
                raise ValueError("not a token of this store") from None
            listings = [each for each in listings if _age(each) < after]
        if len(listings) <= limit:
            return ListingPage(listings, "")
        page = listings[:limit]
        at, instance, uid = _age(page[-1])
        return ListingPage(page, f"oracle {at} {instance} {uid}")

    async def stored_bytes(self, tenant: TenantUid) -> int:
        return sum(listing.stored_bytes for listing in self.cells.alive(("listing", tenant)))

    async def close(self) -> None:
        await asyncio.sleep(0)


def _age(listing: Listing) -> tuple[int, str, str]:
    return listing.created_at, listing.key.instance, listing.uid
