"""Bundles as plain files: `<folder>/<tenant uid>/<digest>/{files/…,manifest.json}`.

An upload is staged on the same file system, synced, and renamed into place: a crash leaves a whole bundle or none.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from loader.bundles.folder import FILES, MANIFEST, stored_digest, sync_folder, sync_tree
from loader.bundles.manifest import Manifest
from loader.bundles.staging import StagedFiles
from loader.bundles.store import KEEP_TRIES, Bundle, IsNamed, Upload, changed, contested, missing
from stepwell import names
from stepwell.names import Digest, TenantUid

_STAGING = ".staging"
_TENANT_UID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FileBundleStore:
    """`BundleStore` in a folder that no other server uses.

    One that is not `durable` syncs nothing: for what can be had again.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder
        self._staging = folder / _STAGING
        self._durable = durable

    def recover(self) -> None:
        """Remove what interrupted uploads and deletions left. Call it once, before the first upload."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def upload(self, tenant: TenantUid) -> Upload:
        return FileUpload(self, self.tenant_folder(tenant))

    async def manifest(self, tenant: TenantUid, digest: Digest) -> Manifest:
        path = self.bundle_folder(tenant, digest) / MANIFEST
        try:
            return Manifest.from_canonical(await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            raise missing(digest) from None

    @asynccontextmanager
    async def pull(self, tenant: TenantUid, digest: Digest) -> AsyncGenerator[Path]:
        folder = self.bundle_folder(tenant, digest)
        found = await asyncio.to_thread(stored_digest, folder)
        if found is None:
            raise missing(digest)
        if found != digest:
            raise changed(digest)
        yield folder / FILES

    async def delete(self, tenant: TenantUid, digest: Digest, is_named: IsNamed | None = None) -> None:
        folder = self.bundle_folder(tenant, digest)
        seen = await asyncio.to_thread(_identity, folder)
        if is_named is not None and await is_named(digest):
            return
        if is_named is None or await asyncio.to_thread(_identity, folder) == seen:
            await asyncio.to_thread(self.discard, folder)

    def tenant_folder(self, tenant: TenantUid) -> Path:
        """Raises ValueError for what is no tenant's uid."""
        if not _TENANT_UID.fullmatch(tenant):
            raise ValueError(f"{tenant!r} can't be a tenant's uid")
        return self.folder / tenant

    def bundle_folder(self, tenant: TenantUid, digest: Digest) -> Path:
        """Where the bundle is, or would be. Raises ValueError for what is no uid or no digest."""
        return self.tenant_folder(tenant) / names.digest(digest)

    def stage(self) -> Path:
        """A new folder on the store's own file system."""
        self._staging.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._staging))

    def settle(self, staged: Path, tenant_folder: Path, digest: Digest, share: bool = True) -> None:
        """Make a staged bundle the stored one; where it may be shared, unless the same is there in good order."""
        folder = tenant_folder / digest
        if share and stored_digest(folder) == digest:
            shutil.rmtree(staged)
            return
        if self._durable:
            sync_tree(staged)
        tenant_folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if folder.exists():
            replaced = self.stage()
            folder.rename(replaced / "replaced")
            staged.rename(folder)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            staged.rename(folder)
        if self._durable:
            for changed_folder in (tenant_folder, self.folder, self.folder.parent):
                sync_folder(changed_folder)

    def discard(self, folder: Path) -> None:
        """Take a bundle away at once, then its bytes; one that is not there is gone already."""
        target = self.stage()
        try:
            folder.rename(target / "deleted")
            if self._durable:
                sync_folder(folder.parent)
        except FileNotFoundError:
            pass
        shutil.rmtree(target, ignore_errors=True)


class FileUpload:
    """`Upload` into a staging folder."""

    def __init__(self, store: FileBundleStore, tenant_folder: Path) -> None:
        self._store = store
        self._tenant_folder = tenant_folder
        self._files = StagedFiles(store.stage)
        self._kept: tuple[Path, _Identity] | None = None
        """Where its bytes are kept, or about to be, that can be taken back."""

    async def open(self, path: str, executable: bool) -> None:
        await self._files.put([(path, executable)])

    async def write(self, chunk: bytes) -> None:
        await self._files.put([chunk])

    async def commit(self, manifest: Manifest, is_named: IsNamed | None = None) -> Bundle:
        digest = (await self._files.finish(manifest)).digest
        for _ in range(KEEP_TRIES):
            seen = await asyncio.to_thread(_identity, self._tenant_folder / digest)
            named = is_named is None or await is_named(digest)
            try:
                return await self._files.finish(manifest, partial(self._keep, seen, named))
            except _ChangedError:
                pass
        raise contested(digest)

    async def abandon(self) -> None:
        await self._files.discard(self._forget)

    def _keep(self, seen: _Identity | None, named: bool, staged: Path, bundle: Bundle) -> None:
        folder = self._tenant_folder / bundle.digest
        if _identity(folder) != seen:
            raise _ChangedError
        mine = _identity(staged)
        if not named and mine is not None:
            self._kept = folder, mine
        self._store.settle(staged, self._tenant_folder, bundle.digest, share=named)

    def _forget(self) -> None:
        if self._kept is not None:
            folder, mine = self._kept
            if _identity(folder) == mine:
                self._store.discard(folder)
            self._kept = None


class _ChangedError(Exception):
    """Another bundle is kept than was seen."""


_Identity = tuple[int, int]


def _identity(folder: Path) -> _Identity | None:
    """Tells a bundle's folder from every other one, also from one that takes its place; None when there is none.

    It stays when the folder is renamed. The number alone might be given again once the folder is gone.
    """
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
