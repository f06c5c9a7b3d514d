"""The bundle store in Cassandra: what is decided there about a bundle, and this node's folder as its cache.

An upload is staged here, as anywhere. Its bytes are written to Cassandra under an id that is minted for it, whose row
is there before them. Then one decision makes that row the bundle's, if what is there is still what was seen, a bundle
or none, and the upload was not given up; what was there is an ended upload then. A deletion is that decision the other
way round. So a node may die between any two writes: what it leaves is a
row of kind `upload`, which a later commit of the tenant finds. Clocks say when an upload looks dead, and nothing else:
to give up one that lives costs its deploy, and no bundle its bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from cassandra.query import PreparedStatement

from cluster.cassandra.session import CassandraSession
from loader.bundles.cache import CACHE_BYTES_MAX, BundleCache
from loader.bundles.cassandra.chunks import PART_BYTES, Chunks, parts_of
from loader.bundles.cassandra.tables import Statements
from loader.bundles.folder import FILES
from loader.bundles.manifest import Manifest
from loader.bundles.staging import StagedFiles
from loader.bundles.store import KEEP_TRIES, Bundle, IsNamed, Upload, changed, contested, missing
from loader.bundles.stream import DamagedStreamError, Packing, Unpacking
from stepwell.errors import InternalError, NotFoundError, UnavailableError
from stepwell.names import Digest, TenantUid

_log = logging.getLogger(__name__)

DEAD_AFTER_MS: Final = 3_600_000
"""After so long an upload is taken for dead: to write the largest takes seconds."""

SWEPT_AT_ONCE: Final = 32
"""Uploads of a tenant that one commit looks at: far more than live at a time, and than one failed deploy leaves."""


class Kept(NamedTuple):
    """A bundle's row."""

    upload: str
    manifest: bytes
    parts: int


class CassandraBundleStore:
    """See `BundleStore` for what each method promises. The session is somebody else's, and stays open."""

    def __init__(
        self,
        session: CassandraSession,
        statements: Statements,
        cache: BundleCache,
        *,
        mint: Callable[[], str],
        clock_ms: Callable[[], int],
    ) -> None:
        self._session = session
        self._statements = statements
        self._cache = cache
        self._chunks = Chunks(session, statements)
        self._mint = mint
        self._clock_ms = clock_ms

    @classmethod
    async def open(
        cls,
        session: CassandraSession,
        folder: Path,
        *,
        mint: Callable[[], str],
        clock_ms: Callable[[], int],
        cache_bytes_max: int = CACHE_BYTES_MAX,
    ) -> CassandraBundleStore:
        """`folder` is this process's alone, and may go. `mint` gives ids that are never given twice.

        Raises UnavailableError, also where the schema is not there.
        """
        statements = await Statements.prepare(session)
        return cls(session, statements, await BundleCache.open(folder, cache_bytes_max), mint=mint, clock_ms=clock_ms)

    def upload(self, tenant: TenantUid) -> Upload:
        self._cache.files.tenant_folder(tenant)
        return CassandraUpload(self, StagedFiles(self._cache.files.stage), tenant, self._mint())

    async def manifest(self, tenant: TenantUid, digest: Digest) -> Manifest:
        return _manifest(await self._kept(self._statements.bundle, tenant, digest), digest)

    def pull(self, tenant: TenantUid, digest: Digest) -> AbstractAsyncContextManager[Path]:
        return self._cache.pull(tenant, digest, partial(self._fetch, tenant, digest))

    async def delete(self, tenant: TenantUid, digest: Digest, is_named: IsNamed | None = None) -> None:
        kept = await self.decided(tenant, digest)
        if is_named is not None and await is_named(digest):
            return
        if kept is not None:
            await self._remove(tenant, digest, kept.upload, kept.parts)
        await self._cache.discard(tenant, digest)

    # ---------------------------------------------------------------- for uploads
    async def decided(self, tenant: TenantUid, digest: Digest) -> Kept | None:
        """The bundle's row, by all that was decided until now."""
        rows = await self._session.rows(self._statements.decided_bundle, (tenant, digest), 1)
        return Kept(*rows[0]) if rows else None

    async def is_intact(self, tenant: TenantUid, digest: Digest) -> bool:
        """Whether all that is stored of it is as it was uploaded: read whole."""
        staged = StagedFiles(self._cache.files.stage)
        try:
            manifest = await self._fetch(tenant, digest, staged)
            return (await staged.finish(manifest)).digest == digest
        except (InternalError, NotFoundError):
            return False
        finally:
            await staged.discard()

    async def begin(self, tenant: TenantUid, digest: Digest, upload: str, parts: int) -> None:
        """Make the row without which no byte of an upload is written."""
        await self._session.decided(self._statements.begin, (tenant, upload, digest, parts, self._clock_ms()))

    async def write(self, tenant: TenantUid, upload: str, packing: Packing) -> None:
        await self._chunks.write(tenant, upload, packing)

    async def keep(self, tenant: TenantUid, upload: str, bundle: Bundle, parts: int, seen: Kept | None) -> bool:
        """Make the upload's bytes the bundle's, unless another one than `seen` is there. Raises UnavailableError when
        the upload was given up."""
        manifest = bundle.manifest.canonical()
        if seen is None:
            new = (tenant, bundle.digest, upload, manifest, parts, tenant, upload)
            done = await self._session.decided(self._statements.keep, new)
        else:
            swap = (upload, manifest, parts, tenant, bundle.digest, seen.upload, tenant, upload)
            old = (tenant, seen.upload, bundle.digest, seen.parts)
            done = await self._session.decided(self._statements.replace, (*swap, *old))
        if not done:
            kept = await self.decided(tenant, bundle.digest)
            found = None if kept is None else kept.upload
            if found == (None if seen is None else seen.upload):
                raise UnavailableError("The upload was given up: it took very long; deploy again.")
            if found != upload:
                return False
        if seen is not None:
            await self._clear(tenant, bundle.digest, seen.upload, seen.parts)
        return True

    async def undo(self, tenant: TenantUid, digest: Digest, upload: str, parts: int, for_good: bool) -> None:
        """Forget an upload of that digest, whatever became of it; but for one that is kept, and was to be for good."""
        if await self._session.decided(self._statements.end, (tenant, upload)):
            await self._clear(tenant, digest, upload, parts)
        elif not for_good:
            await self._remove(tenant, digest, upload, parts)

    async def sweep(self, tenant: TenantUid) -> None:
        """Remove the bytes of uploads that have ended, or are dead."""
        for upload, digest, parts, begun_at, ended in await self._session.rows(
            self._statements.uploads, (tenant, SWEPT_AT_ONCE), SWEPT_AT_ONCE
        ):
            dead = begun_at < self._clock_ms() - DEAD_AFTER_MS
            if ended or (dead and await self._session.decided(self._statements.end, (tenant, upload))):
                await self._clear(tenant, digest, upload, parts)

    # ---------------------------------------------------------------- rows and bytes
    async def _kept(self, statement: PreparedStatement, tenant: TenantUid, digest: Digest) -> Kept:
        rows = await self._session.rows(statement, (tenant, digest), 1)
        if not rows:
            raise missing(digest)
        return Kept(*rows[0])

    async def _remove(self, tenant: TenantUid, digest: Digest, upload: str, parts: int) -> None:
        """Take the bundle away if its bytes are this upload's, then those."""
        await self._session.decided(self._statements.delete, (tenant, digest, upload, tenant, upload, digest, parts))
        await self._clear(tenant, digest, upload, parts)

    async def _clear(self, tenant: TenantUid, digest: Digest, upload: str, parts: int) -> None:
        """Remove the bytes of an upload that has ended, and last its row.

        A bundle has them all the same, where the row was made late: by a statement that was sent twice.
        """
        kept = await self.decided(tenant, digest)
        if kept is None or kept.upload != upload:
            await self._chunks.delete(tenant, upload, parts)
        await self._session.decided(self._statements.forget, (tenant, upload))

    async def _fetch(self, tenant: TenantUid, digest: Digest, staged: StagedFiles) -> Manifest:
        """Raises NotFoundError, InternalError."""
        kept = await self._kept(self._statements.bundle, tenant, digest)
        manifest = _manifest(kept, digest)
        unpacking = Unpacking(digest, manifest)
        try:
            async with aclosing(self._chunks.read(tenant, kept.upload, kept.parts)) as parts:
                async for part in parts:
                    await staged.put(unpacking.take(part))
            unpacking.end()
        except DamagedStreamError as error:
            if (await self._kept(self._statements.decided_bundle, tenant, digest)).upload != kept.upload:
                raise UnavailableError(f"The version {digest} is being deployed again; try again later.") from None
            _log.error("the bytes of %s %s, upload %s, are damaged: %s", tenant, digest, kept.upload, error)
            raise changed(digest) from error
        return manifest


def _manifest(kept: Kept, digest: Digest) -> Manifest:
    try:
        return Manifest.from_canonical(kept.manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise changed(digest) from error


class CassandraUpload:
    """`Upload`, staged in the cache's folder until it is written to Cassandra."""

    def __init__(self, store: CassandraBundleStore, files: StagedFiles, tenant: TenantUid, id: str) -> None:
        self._store = store
        self._files = files
        self._tenant = tenant
        self._id = id
        self._begun: tuple[Digest, int] | None = None
        """Its digest and parts, while there may be something of it in Cassandra that can be forgotten."""
        self._for_good = False
        """Whether it stays once it is kept."""

    async def open(self, path: str, executable: bool) -> None:
        await self._files.put([(path, executable)])

    async def write(self, chunk: bytes) -> None:
        await self._files.put([chunk])

    async def commit(self, manifest: Manifest, is_named: IsNamed | None = None) -> Bundle:
        bundle = await self._files.finish(manifest)
        store, tenant = self._store, self._tenant
        await store.sweep(tenant)
        for _ in range(KEEP_TRIES):
            seen = await store.decided(tenant, bundle.digest)
            self._for_good = is_named is None or await is_named(bundle.digest)
            if self._for_good and seen is not None and await store.is_intact(tenant, bundle.digest):
                await self._undo()
            elif not await store.keep(tenant, self._id, bundle, await self._written(bundle), seen):
                continue
            elif self._for_good:
                self._begun = None
            await self._files.discard()
            return bundle
        raise contested(bundle.digest)

    async def _written(self, bundle: Bundle) -> int:
        """How many parts its bytes have, which are in Cassandra then."""
        if self._begun is None:
            packing = Packing(self._files.folder / FILES, self._files.files, PART_BYTES)
            self._begun = (bundle.digest, parts_of(packing.size_bytes))
            await self._store.begin(self._tenant, bundle.digest, self._id, self._begun[1])
            await self._store.write(self._tenant, self._id, packing)
        return self._begun[1]

    async def abandon(self) -> None:
        await self._files.discard()
        try:
            await self._undo()
        except UnavailableError as error:
            _log.warning("the upload %s of %s stays for now: %s", self._id, self._tenant, error)

    async def _undo(self) -> None:
        if self._begun is not None:
            digest, parts = self._begun
            await self._store.undo(self._tenant, digest, self._id, parts, self._for_good)
            self._begun = None
