"""What an export does: everything of an installation that moves, read in order and written into a folder.

The same data gives the same files, byte for byte, so an export that was interrupted is simply begun anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import keys
from cluster.codec import decode_value
from cluster.records import Tenant, Version
from cluster.store import ClusterStore
from data_plane.journal.chain import BrokenChainError
from data_plane.journal.chain_reading import read_chain
from data_plane.journal.codec import RowCodec
from data_plane.journal.store import InstanceKey, Row, StoredFormatError
from loader.bundles.manifest import Manifest
from loader.bundles.store import BundleStore
from stepwell.engine.instance import Phase
from stepwell.errors import InternalError, NotFoundError
from stepwell.names import Digest, TenantId, TenantUid
from stepwell_server.moving.control import moving_records
from stepwell_server.moving.entries import (
    PART_BYTES,
    BlobHead,
    BundleHead,
    ControlHead,
    EndHead,
    FileHead,
    InstanceHead,
    PartHead,
    RowHead,
)
from stepwell_server.moving.folder import FILE_BYTES, ExportWriter
from stepwell_server.moving.journals import WholeJournal, blobs_of, instance_keys, is_deleted, state_of
from stepwell_server.moving.manifest import Counts
from stepwell_server.moving.refusals import MoveRefusedError


@dataclass(frozen=True, slots=True)
class Source:
    """A stopped installation. Nobody writes to it meanwhile."""

    control: ClusterStore
    journal: WholeJournal
    bundles: BundleStore


@dataclass(frozen=True, slots=True)
class Exported:
    """`checksum` is the manifest's SHA-256: it names the export."""

    checksum: str
    counts: Counts


async def export(source: Source, folder: Path, *, file_bytes: int = FILE_BYTES) -> Exported:
    """Write everything that moves into the folder, which is an export once this returns and not before.

    Raises MoveRefusedError when something can't be moved whole: nothing is left out silently.
    """
    with ExportWriter(folder, file_bytes=file_bytes) as writer:
        return await _Export(source, writer).run()


class _Export:
    def __init__(self, source: Source, writer: ExportWriter) -> None:
        self._source = source
        self._writer = writer
        self._codec = RowCodec()
        self._counts = Counts()
        self._tenants: dict[TenantUid, TenantId] = {}
        self._versions: list[tuple[TenantUid, Digest]] = []
        self._retiring: set[tuple[TenantUid, Digest]] = set()
        self._epoch = 0

    async def run(self) -> Exported:
        await self._control()
        for uid, digest in self._versions:
            await self._bundle(uid, digest)
        async for key in instance_keys(self._source.journal):
            await self._instance(key)
        return Exported(self._writer.seal(self._epoch, self._counts), self._counts)

    async def _control(self) -> None:
        kinds: Counter[str] = Counter()
        async for found in moving_records(self._source.control):
            kind = keys.kind(found.key)
            kinds[kind] += 1
            if kind == "tenant":
                tenant = decode_value(Tenant, found)
                self._tenants[tenant.uid] = tenant.id
            elif kind == "version":
                version = decode_value(Version, found)
                self._versions.append((version.tenant_uid, version.digest))
                if version.retiring:
                    self._retiring.add((version.tenant_uid, version.digest))
            self._writer.add("control", ControlHead(found.key), found.value)
        counts = self._counts
        counts.tenants, counts.versions = kinds["tenant"], kinds["version"]
        counts.routes, counts.tokens = kinds["route"], kinds["token"]

    async def _bundle(self, uid: TenantUid, digest: Digest) -> None:
        try:
            manifest = await self._source.bundles.manifest(uid, digest)
            async with self._source.bundles.pull(uid, digest) as folder:
                await self._files(uid, digest, manifest, folder)
        except (NotFoundError, InternalError) as error:
            again = "retire it" if (uid, digest) in self._retiring else "deploy them"
            raise MoveRefusedError(
                f"the files of version {digest} of tenant {self._tenants.get(uid, uid)!r} can't be read:"
                f" {error.message} Start `stepwell dev` again, {again} again, and stop it"
            ) from None
        self._counts.bundles += 1

    async def _files(self, uid: TenantUid, digest: Digest, manifest: Manifest, folder: Path) -> None:
        add = self._writer.add
        add("bundles", BundleHead(uid, digest), manifest.canonical())
        for path in await asyncio.to_thread(_files, folder):
            executable = bool(path.stat().st_mode & 0o100)
            add("bundles", FileHead(path.relative_to(folder).as_posix(), executable))
            for part in _parts(path):
                add("bundles", PartHead(), part)
        add("bundles", EndHead())

    async def _instance(self, key: InstanceKey) -> None:
        named = f"the instance {key.instance!r} of workflow {key.workflow!r}"
        if key.tenant not in self._tenants:
            raise MoveRefusedError(f"{named} belongs to a tenant with uid {key.tenant}, which control.db does not know")
        named += f" of tenant {self._tenants[key.tenant]!r}"
        try:
            rows = await read_chain(self._source.journal, key)
        except (BrokenChainError, StoredFormatError) as error:
            raise MoveRefusedError(
                f"{named} can't be read, and without it the export would not be whole: {error}"
            ) from None
        if is_deleted(rows):
            self._counts.deleted += 1
        elif rows:
            await self._live(key, rows, named)

    async def _live(self, key: InstanceKey, rows: list[Row], named: str) -> None:
        add, counts = self._writer.add, self._counts
        add("journals", InstanceHead(*key))
        for uid, blob in blobs_of(rows):
            try:
                data = await self._source.journal.read_blob(key, uid, blob.id)
            except KeyError:
                raise MoveRefusedError(f"{named} lacks its payload {blob.id}: journal.db has lost it") from None
            add("journals", BlobHead(uid, blob.id), data)
            counts.blobs += 1
        for row in rows:
            add("journals", RowHead(*row.position), self._codec.encode(row))
        add("journals", EndHead())
        counts.instances += 1
        counts.rows += len(rows)
        counts.unfinished += state_of(rows).phase is not Phase.FINISHED
        self._epoch = max(self._epoch, rows[-1].position.epoch)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part
