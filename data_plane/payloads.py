"""Payloads between guests, callers and the journal: small ones inline, large ones as blobs.

Inline up to 16 KiB, and only while its instance holds under 8 MiB inline: so partitions stay small, and so does what an
instance that runs holds in its owner's memory (docs/adr/0009). What steps fail with counts too, and is cut where
there is no room: a failure has no other place.
"""

from __future__ import annotations

from typing import Final

from data_plane.journal.store import InstanceKey, JournalStore
from data_plane.shard import Shard
from stepwell.engine.instance import Instance
from stepwell.engine.records import BlobRef, Failure, Payload
from stepwell.names import InstanceUid

INLINE_BYTES_MAX: Final = 16 * 1024
INLINE_TOTAL_BYTES_MAX: Final = 8 * 1024 * 1024

FAILURE_LENGTH_MAX: Final = 256
"""Characters of a failed attempt's message, in an instance that is full."""


def mint(data: bytes, instance: Instance, shard: Shard) -> Payload:
    """The payload as a record holds it; a blob, under an id never used before, is to be written before that record."""
    if len(data) <= INLINE_BYTES_MAX and instance.inline_bytes + len(data) < INLINE_TOTAL_BYTES_MAX:
        return data
    return apart(data, shard)


def apart(data: bytes, shard: Shard) -> BlobRef:
    """The payload as a blob, however small, under an id never used before."""
    stamp = shard.stamp()
    return BlobRef(f"{stamp.epoch:x}-{stamp.counter:x}", len(data))


def fitted(failure: Failure, instance: Instance) -> Failure:
    """The failure as a step's record holds it: whole, or the beginning of its message, once its instance is full."""
    if instance.inline_bytes + failure.size_bytes < INLINE_TOTAL_BYTES_MAX or failure.size_bytes <= FAILURE_LENGTH_MAX:
        return failure
    cut = failure.message[:FAILURE_LENGTH_MAX]
    return Failure(failure.module, failure.type, cut if cut == failure.message else f"{cut}…")


async def fetch(payload: Payload, key: InstanceKey, uid: InstanceUid, store: JournalStore) -> bytes:
    """The payload's bytes. Raises KeyError for a blob whose instance was deleted."""
    if isinstance(payload, BlobRef):
        return await store.read_blob(key, uid, payload.id)
    return payload
