"""An export, checked whole, becomes tenants and instances of a cluster whose data nodes are stopped.

Safe to interrupt at any point and to begin again. What an instance consists of is the same whoever writes it, so a
later run writes it again; what may have changed since, the control records, is written once (`claim`). Each run is an
owner of its own of the shards that it writes to, in an epoch above all that came before, the export's among them: so
its rows and wakes are where the next owner looks, and what an earlier run still sends comes too late to matter.

Nothing can be seen of an import before its tenants are there, and nothing is led to before its wakes are: so it can be
given up until the first of them is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import keys
from cluster.codec import RecordFormatError, decode
from cluster.records import Tenant
from cluster.store import ClusterStore
from cluster.tenant_uids import spread_of
from data_plane.assignment import shard_of
from data_plane.journal.store import (
    InstanceKey,
    JournalStore,
    PutBlob,
    PutListing,
    PutMark,
    PutRow,
    PutWake,
    Wake,
)
from data_plane.listing import listing_of
from data_plane.shard import Shard
from data_plane.wakes import BUCKET_MS
from loader.bundles.store import BundleStore
from stepwell.names import TenantUid
from stepwell_server.moving.bundles import import_bundles
from stepwell_server.moving.claim import ImportClaim, Record
from stepwell_server.moving.control import TOKENS, check, tenants
from stepwell_server.moving.entries import ControlHead
from stepwell_server.moving.folder import ExportFolder
from stepwell_server.moving.journals import BlobPart, RowPart, WholeInstance, journal_parts, state_of
from stepwell_server.moving.manifest import Counts
from stepwell_server.moving.reading_back import WakesWritten, read_back
from stepwell_server.moving.refusals import DamagedExportError, MoveRefusedError
from stepwell_server.moving.writes import Writes


@dataclass(frozen=True, slots=True)
class Cluster:
    """What an import writes to. `shard_count` is the cluster's, fixed when it was made."""

    store: ClusterStore
    journal: JournalStore
    bundles: BundleStore
    shard_count: int


@dataclass(frozen=True, slots=True)
class Import:
    """What came of it. `was_done` says that an earlier run had ended it, and nothing was written; `was_begun` that one
    had begun it."""

    checksum: str
    counts: Counts
    was_done: bool = False
    was_begun: bool = False


async def import_folder(folder: Path, cluster: Cluster, *, clock: Callable[[], int]) -> Import:
    """Have the cluster hold what the folder's export does; verified before the first write and after the last.

    `clock` gives ms since the epoch. Raises DamagedExportError and MoveRefusedError with nothing written; or, once it
    has begun to write, UnavailableError and MoveRefusedError: then no node claims a shard until a later run has ended
    it.
    """
    export = await asyncio.to_thread(ExportFolder, folder)
    await asyncio.to_thread(_checked, export)
    claim = ImportClaim(cluster.store, export.checksum)
    if await claim.is_done():
        return Import(export.checksum, export.manifest.counts, was_done=True)
    await _refuse_owners(claim)
    was_begun = await claim.take()
    if not claim.written:
        await _check_target(claim, cluster, export)
    await import_bundles(export, cluster.bundles)
    journals = _Journals(export, cluster, claim, clock)
    await journals.write()
    control = _Control(export, claim)
    await control.write(tokens=False)
    await journals.write_wakes()
    await read_back(export, cluster.store, cluster.journal, cluster.bundles, journals.wakes)
    await control.write(tokens=True)
    await claim.end(clock())
    return Import(export.checksum, export.manifest.counts, was_begun=was_begun)


def _checked(export: ExportFolder) -> None:
    """Read all of it, its bytes first, then every record. Raises DamagedExportError."""
    export.verify()
    tenants: set[TenantUid] = set()
    try:
        for key, value in _control_records(export):
            check(key, value)
            if keys.kind(key) == "tenant":
                uid = decode(Tenant, value, key).uid
                spread_of(uid)
                tenants.add(uid)
    except (RecordFormatError, ValueError) as error:
        raise DamagedExportError(f"the export can't be imported: {error}") from None
    for _ in export.entries("bundles"):
        """Whether they are whole bundles, their store says: by their digests."""
    for part in journal_parts(export):
        if part.key.tenant not in tenants:
            raise DamagedExportError(
                f"the export has an instance of a tenant with uid {part.key.tenant}, and no such tenant"
            )
        if isinstance(part, WholeInstance):
            state_of(part.rows)


def _control_records(export: ExportFolder) -> Iterator[Record]:
    for head, body in export.entries("control"):
        if not isinstance(head, ControlHead):
            raise DamagedExportError(f"the control records of the export have {head} among them")
        yield head.key, body


async def _refuse_owners(claim: ImportClaim) -> None:
    nodes = await claim.owners()
    if nodes:
        raise MoveRefusedError(
            f"nodes of this cluster own shards ({', '.join(nodes[:5])}{', …' if len(nodes) > 5 else ''}): stop all data"
            " nodes, then import again; a node that was killed is gone after its lease, some ten seconds"
        )


async def _check_target(claim: ImportClaim, cluster: Cluster, export: ExportFolder) -> None:
    """Nothing was written yet: let go of the cluster if this can't be imported into it."""
    try:
        await _refuse_owners(claim)
        ours = [decode(Tenant, value, key) for key, value in _control_records(export) if keys.kind(key) == "tenant"]
        ids, uids = {tenant.id for tenant in ours}, {tenant.uid for tenant in ours}
        async for theirs in tenants(cluster.store):
            if theirs.id in ids or theirs.uid in uids:
                raise MoveRefusedError(
                    f"the cluster has a tenant {theirs.id!r} (uid {theirs.uid}) already, and the export has one of that"
                    f" {'id' if theirs.id in ids else 'uid'}: two can't become one, and nothing was imported"
                )
    except MoveRefusedError:
        await claim.let_go()
        raise


class _Control:
    """Writes the control records, each once over all runs."""

    def __init__(self, export: ExportFolder, claim: ImportClaim) -> None:
        self._export = export
        self._claim = claim

    async def write(self, *, tokens: bool) -> None:
        """Those that are not written yet: all but the tokens, or the tokens, which come after."""
        done = self._claim.written
        await self._claim.write(
            record
            for number, record in enumerate(_control_records(self._export))
            if number >= done and (keys.kind(record[0]) in TOKENS) is tokens
        )


class _Journals:
    """Writes the instances, and what leads to them."""

    def __init__(
        self,
        export: ExportFolder,
        cluster: Cluster,
        claim: ImportClaim,
        clock: Callable[[], int],
    ) -> None:
        self.wakes = WakesWritten()
        self._export = export
        self._cluster = cluster
        self._claim = claim
        self._clock = clock
        self._writes = Writes(cluster.journal, asyncio.get_running_loop().call_later)
        self._shards: dict[int, tuple[Shard, int]] = {}
        """Each with its low mark."""

    async def write(self) -> None:
        """All but the wakes."""
        for part in journal_parts(self._export):
            shard, _ = await self._shard_of(part.key)
            match part:
                case BlobPart():
                    await self._writes.put(PutBlob(part.key, part.uid, part.id, part.data, shard.stamp()))
                case RowPart():
                    await self._writes.put(PutRow(part.key, part.row, shard.stamp()))
                case WholeInstance():
                    listing = listing_of(part.key, state_of(part.rows))
                    if listing is not None:
                        await self._writes.put(PutListing(listing, shard.stamp()))
        await self._writes.durable()

    async def write_wakes(self) -> None:
        """Whatever an instance's state asks for."""
        for part in journal_parts(self._export):
            if isinstance(part, WholeInstance) and (due := state_of(part.rows).next_due()) is not None:
                shard, mark = await self._shard_of(part.key)
                due = max(due, self._clock())
                wake = Wake(max(due // BUCKET_MS, mark), due, part.key)
                self.wakes.add(shard.number, wake)
                await self._writes.put(PutWake(shard.number, wake, shard.stamp()))
        await self._writes.durable()

    async def _shard_of(self, key: InstanceKey) -> tuple[Shard, int]:
        number = shard_of(key.tenant, key.instance, self._cluster.shard_count)
        return self._shards.get(number) or await self._take_over(number)

    async def _take_over(self, number: int) -> tuple[Shard, int]:
        """As an owner does it: in an epoch of its own, with a mark of its own where the one before left off."""
        marks = await self._cluster.journal.read_marks(number)
        newest = max(marks, default=0)
        epoch = await self._claim.claim_epoch(number, max(newest, self._export.manifest.epoch))
        mark = marks[newest] if marks else self._clock() // BUCKET_MS
        shard = Shard(number, epoch, lambda: True)
        await self._writes.put(PutMark(number, epoch, mark, shard.stamp()))
        await self._writes.durable()
        self._shards[number] = shard, mark
        return shard, mark
