"""Reading back what an import wrote: everything, from the cluster's own stores, against the export."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from cluster import keys
from cluster.store import ClusterStore
from data_plane.journal.chain_reading import read_chain
from data_plane.journal.store import JournalStore, Wake
from loader.bundles.store import BundleStore
from stepwell_server.moving.control import TOKENS
from stepwell_server.moving.entries import BundleHead, ControlHead
from stepwell_server.moving.folder import ExportFolder
from stepwell_server.moving.journals import BlobPart, WholeInstance, journal_parts
from stepwell_server.moving.refusals import MoveRefusedError

READS_AT_ONCE: Final = 16
"""Of payloads, journals and buckets of wakes."""


class WakesWritten:
    """Which wakes must be found, by shard and bucket: a number each, since there may be a million."""

    def __init__(self) -> None:
        self._written: dict[tuple[int, int], set[int]] = {}

    def add(self, shard: int, wake: Wake) -> None:
        self._written.setdefault((shard, wake.bucket), set()).add(hash(wake))

    async def missing(self, journal: JournalStore) -> int:
        """How many of them the store does not have."""
        missing = 0

        async def look(shard: int, bucket: int, written: set[int]) -> None:
            nonlocal missing
            found = {hash(wake) for wake in await journal.read_wakes(shard, bucket, bucket)}
            missing += len(written - found)

        together = _Together()
        for (shard, bucket), written in self._written.items():
            await together.add(partial(look, shard, bucket, written))
        await together.done()
        return missing


class _Together:
    """Reads a few at a time: each takes a network's round."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], Awaitable[None]]] = []

    async def add(self, read: Callable[[], Awaitable[None]]) -> None:
        """Raises what one of them raises."""
        self._waiting.append(read)
        if len(self._waiting) >= READS_AT_ONCE:
            await self.done()

    async def done(self) -> None:
        waiting, self._waiting = self._waiting, []
        await asyncio.gather(*(read() for read in waiting))


async def read_back(
    export: ExportFolder, store: ClusterStore, journal: JournalStore, bundles: BundleStore, wakes: WakesWritten
) -> None:
    """Raises MoveRefusedError where the cluster does not hold what the export does. Tokens are not there yet."""
    for head, value in export.entries("control"):
        if isinstance(head, ControlHead) and keys.kind(head.key) not in TOKENS:
            await _control(store, head.key, value)
    for bundle, _ in export.entries("bundles"):
        if isinstance(bundle, BundleHead):
            async with bundles.pull(bundle.tenant, bundle.digest):
                pass
    together = _Together()
    for part in journal_parts(export):
        match part:
            case BlobPart():
                await together.add(partial(_blob, journal, part))
            case WholeInstance():
                await together.add(partial(_journal, journal, part))
    await together.done()
    missing = await wakes.missing(journal)
    _same(not missing, f"{missing} wakes")


async def _control(store: ClusterStore, key: str, value: bytes) -> None:
    """One that was changed since it was written is its tenant's, or the operator's, affair."""
    found = await store.get(key)
    written_once = found is not None and found.mod_revision == found.create_revision
    _same(found is not None and (found.value == value or not written_once), f"the control record {key!r}")


async def _blob(journal: JournalStore, part: BlobPart) -> None:
    try:
        found = await journal.read_blob(part.key, part.uid, part.id)
    except KeyError:
        found = None
    _same(found == part.data, f"the payload {part.id} of {part.key}")


async def _journal(journal: JournalStore, instance: WholeInstance) -> None:
    _same(await read_chain(journal, instance.key) == instance.rows, f"the journal of {instance.key}")


def _same(same: bool, what: str) -> None:
    if not same:
        raise MoveRefusedError(
            f"read back from the cluster, {what} is not what was exported: import again, and see whether its stores are"
            " well; no node serves until an import has ended"
        )
