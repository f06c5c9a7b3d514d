"""The journal store's tables in Cassandra: which partitions and rows each mutation writes, in which order.

A row's timestamp is the mutation's stamp (USING TIMESTAMP), never a clock. A mutation is stages: the writes of a stage
go out together, those of the next once all of them were acknowledged, each at quorum by itself. So a blob, which is
several chunks, may be there in part, and a deletion may be half done.

Listings are in partitions by time, and a row of the tenant's says which of these there are: written first, kept for
ever, and the same each time.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, assert_never

from data_plane.journal.store import (
    DeleteInstance,
    DropBucket,
    InstanceKey,
    Mutation,
    PutBlob,
    PutListing,
    PutMark,
    PutRow,
    PutWake,
    Stamp,
)
from stepwell.names import InstanceUid, TenantUid, WorkflowId
from tests.simulation.cassandra_replica import Cell, Change, Clustering, PartitionKey, Span

CHUNK_BYTES: Final = 8 * 1024
"""Of a blob: so small that the smallest payload that becomes a blob is several."""

LISTING_BUCKET_MS: Final = 60_000
"""Of a listing's partition: so short that the instances of one run are in several."""

_CHUNKS_MAX: Final = 1 << 31

Stage = tuple[Change, ...]


class Chunk(NamedTuple):
    """A part of a blob. Each knows how many there are: one that is missing is missed."""

    chunks: int
    data: bytes


def stages(mutation: Mutation) -> tuple[Stage, ...]:
    """What the mutation writes."""
    match mutation:
        case PutRow(key, row, stamp):
            return ((_row(journal(key), row.position, stamp, row),),)
        case PutWake(shard, wake, stamp):
            return ((_row(wakes(shard, wake.bucket), (wake.due, *wake.key), stamp, wake),),)
        case PutBlob(key, uid, id, data, stamp):
            starts = range(0, max(1, len(data)), CHUNK_BYTES)
            chunks = [Chunk(len(starts), data[start : start + CHUNK_BYTES]) for start in starts]
            partition = blobs(key, uid)
            return (tuple(_row(partition, (id, number), stamp, chunk) for number, chunk in enumerate(chunks)),)
        case PutListing(listing, stamp):
            bucket = bucket_of(listing.created_at)
            place = (listing.created_at, listing.key.instance, listing.uid)
            return (
                (_row(listing_buckets(listing.key.tenant), (listing.key.workflow, bucket), stamp, bucket),),
                (_row(listings(listing.key.tenant, listing.key.workflow, bucket), place, stamp, listing),),
            )
        case PutMark(shard, epoch, bucket, stamp):
            return ((_row(marks(shard), (epoch,), stamp, bucket),),)
        case DropBucket(shard, bucket, stamp):
            return ((_deletion(wakes(shard, bucket), stamp),),)
        case DeleteInstance(key, uid, created_at, stamp):
            listed = listings(key.tenant, key.workflow, bucket_of(created_at))
            return (
                (_deletion(blobs(key, uid), stamp),),
                (_row(listed, (created_at, key.instance, uid), stamp, None),),
                (_deletion(journal(key), stamp),),
            )
        case _:
            assert_never(mutation)


def journal(key: InstanceKey) -> PartitionKey:
    return ("journal", *key)


def blob(key: InstanceKey, uid: InstanceUid, id: str) -> Span:
    """A blob's chunks. All blobs of an instance are one partition, since a deletion names none of them."""
    return Span(blobs(key, uid), (id,), (id, _CHUNKS_MAX))


def wakes(shard: int, bucket: int) -> PartitionKey:
    return ("wakes", shard, bucket)


def marks(shard: int) -> PartitionKey:
    return ("marks", shard)


def listings(tenant: TenantUid, workflow: WorkflowId, bucket: int) -> PartitionKey:
    return ("listings", tenant, workflow, bucket)


def listing_buckets(tenant: TenantUid) -> PartitionKey:
    return ("listing buckets", tenant)


def bucket_of(created_at: int) -> int:
    return created_at // LISTING_BUCKET_MS


def blobs(key: InstanceKey, uid: InstanceUid) -> PartitionKey:
    return ("blobs", *key, uid)


def _row(partition: PartitionKey, place: Clustering, stamp: Stamp, value: Any) -> Change:
    return Change(partition, place, Cell(stamp.as_one_number(), value))


def _deletion(partition: PartitionKey, stamp: Stamp) -> Change:
    return Change(partition, None, Cell(stamp.as_one_number(), None))
