"""Bundles as plain files: `<folder>/<tenant uid>/<digest>/{files/…,manifest.json}`.

An upload is staged on the same file system, synced, and renamed into place: a crash leaves a whole bundle or none. All
blocking work runs in threads, so that a large bundle does not hold up the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

from loader.bundles.digest import FileEntry, bundle_digest
from loader.bundles.manifest import Manifest, check_manifest
from loader.bundles.paths import PathSet
from loader.bundles.store import Bundle, Upload
from loader.limits import BUNDLE_BYTES_MAX, BUNDLE_FILES_MAX
from stepwell import names
from stepwell.errors import BundleRefusedError, InternalError, LimitExceededError, NotFoundError
from stepwell.names import Digest, TenantUid

_STAGING = ".staging"
_TENANT_UID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHUNK_BYTES = 1024 * 1024


class FileBundleStore:
    """`BundleStore` in a folder that no other server uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._staging = folder / _STAGING

    def recover(self) -> None:
        """Remove what interrupted uploads and deletions left. Call it once, before the first upload."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def upload(self, tenant: TenantUid) -> Upload:
        return FileUpload(self, self._tenant_folder(tenant))

    async def manifest(self, tenant: TenantUid, digest: Digest) -> Manifest:
        path = self._bundle_folder(tenant, digest) / "manifest.json"
        try:
            return Manifest.from_canonical(await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            raise NotFoundError(f"There is no version {digest}.", version=digest) from None

    async def pull(self, tenant: TenantUid, digest: Digest) -> Path:
        folder = self._bundle_folder(tenant, digest)
        found = await asyncio.to_thread(_stored_digest, folder)
        if found is None:
            raise NotFoundError(f"There is no version {digest}.", version=digest)
        if found != digest:
            raise InternalError(f"The stored files of version {digest} were changed; deploy it again.", version=digest)
        return folder / "files"

    async def delete(self, tenant: TenantUid, digest: Digest) -> None:
        await asyncio.to_thread(self.discard, self._bundle_folder(tenant, digest))

    def stage(self) -> Path:
        """A new folder on the store's own file system."""
        self._staging.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._staging))

    def settle(self, staged: Path, tenant_folder: Path, digest: Digest) -> bool:
        """Make a staged bundle, already synced, the stored one, unless the same is there in good order. Whether there
        was none before."""
        folder = tenant_folder / digest
        if _stored_digest(folder) == digest:
            shutil.rmtree(staged)
            return False
        tenant_folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        spoilt = folder.exists()
        if spoilt:
            folder.rename(Path(tempfile.mkdtemp(dir=self._staging)) / "spoilt")
        staged.chmod(0o755)
        staged.rename(folder)
        for changed in (tenant_folder, self._folder, self._folder.parent):
            _sync_folder(changed)
        return not spoilt

    def discard(self, folder: Path) -> None:
        """Take a bundle away at once, then its bytes; one that is not there is gone already."""
        target = self.stage()
        try:
            folder.rename(target / "deleted")
            _sync_folder(folder.parent)
        except FileNotFoundError:
            pass
        shutil.rmtree(target, ignore_errors=True)

    def _tenant_folder(self, tenant: TenantUid) -> Path:
        if not _TENANT_UID.fullmatch(tenant):
            raise ValueError(f"{tenant!r} can't be a tenant's uid")
        return self._folder / tenant

    def _bundle_folder(self, tenant: TenantUid, digest: Digest) -> Path:
        return self._tenant_folder(tenant) / names.digest(digest)


class FileUpload:
    """`Upload` into a staging folder.

    A call that is cancelled leaves its thread at work: `_turn` lets whoever abandons the upload wait for that, and
    `_abandoned` keeps what comes after it from beginning anew.
    """

    def __init__(self, store: FileBundleStore, tenant_folder: Path) -> None:
        self._store = store
        self._tenant_folder = tenant_folder
        self._folder: Path | None = None
        self._paths = PathSet()
        self._files: list[FileEntry] = []
        self._open: tuple[str, bool, BinaryIO] | None = None
        self._hash = hashlib.sha256()
        self._file_bytes = 0
        self._bytes = 0
        self._turn = threading.Lock()
        self._abandoned = False
        self._unanswered: Path | None = None
        """Where the bundle is kept that nobody has been told of: new, and its commit not answered."""

    async def open(self, path: str, executable: bool) -> None:
        if len(self._paths) >= BUNDLE_FILES_MAX:
            raise LimitExceededError(
                f"The bundle has over {BUNDLE_FILES_MAX:,} files: leave out what the workflows don't need.",
                limit="bundle_files_max", value=str(BUNDLE_FILES_MAX), seen=str(len(self._paths) + 1),
            )  # fmt: skip
        self._paths.add(path)
        await asyncio.to_thread(self._begin, path, executable)

    async def write(self, chunk: bytes) -> None:
        if self._open is None:
            raise BundleRefusedError("Bytes came before the first file of the bundle was named.")
        self._bytes += len(chunk)
        if self._bytes > BUNDLE_BYTES_MAX:
            raise LimitExceededError(
                f"The bundle is over {BUNDLE_BYTES_MAX:,} bytes: leave out what the workflows don't need.",
                limit="bundle_bytes_max", value=str(BUNDLE_BYTES_MAX), seen=str(self._bytes),
            )  # fmt: skip
        self._file_bytes += len(chunk)
        await asyncio.to_thread(self._add, self._open[2], chunk)

    async def commit(self, manifest: Manifest) -> Bundle:
        check_manifest(manifest)
        if not self._files and self._open is None:
            raise BundleRefusedError("The bundle has no file: deploy the folder that has the workflows' code.")
        bundle = await asyncio.to_thread(self._commit, manifest)
        self._unanswered = None
        return bundle

    async def abandon(self) -> None:
        await asyncio.to_thread(self._abandon)

    def _begin(self, path: str, executable: bool) -> None:
        with self._turn:
            if self._abandoned:
                return
            self._end()
            if self._folder is None:
                self._folder = self._store.stage()
            target = self._folder / "files" / path
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._open = (path, executable, target.open("xb"))
            self._hash = hashlib.sha256()
            self._file_bytes = 0

    def _add(self, file: BinaryIO, chunk: bytes) -> None:
        with self._turn:
            if not self._abandoned:
                self._hash.update(chunk)
                file.write(chunk)

    def _end(self) -> None:
        if self._open is None:
            return
        path, executable, file = self._open
        self._open = None
        entry = FileEntry(path, executable, self._file_bytes, self._hash.hexdigest())
        with file:
            os.fchmod(file.fileno(), entry.mode)
        self._files.append(entry)

    def _commit(self, manifest: Manifest) -> Bundle:
        with self._turn:
            self._end()
            assert self._folder is not None
            (self._folder / "manifest.json").write_bytes(manifest.canonical())
            _sync_tree(self._folder)
            digest = bundle_digest(self._files, manifest)
            if self._store.settle(self._folder, self._tenant_folder, digest):
                self._unanswered = self._tenant_folder / digest
            self._folder = None
            return Bundle(digest, manifest, len(self._files), self._bytes)

    def _abandon(self) -> None:
        with self._turn:
            self._abandoned = True
            if self._open is not None:
                self._open[2].close()
                self._open = None
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
            if self._unanswered is not None:
                self._store.discard(self._unanswered)
                self._unanswered = None


def _stored_digest(folder: Path) -> Digest | None:
    """The digest of what is in the folder now; None when there is no bundle."""
    try:
        manifest = Manifest.from_canonical((folder / "manifest.json").read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return Digest("")
    root = folder / "files"
    entries: list[FileEntry] = []
    for base, folders, files in os.walk(root):
        for name in files + [each for each in folders if os.path.islink(os.path.join(base, each))]:
            entries.append(_stored_file(Path(base, name), root))
    return bundle_digest(entries, manifest)


def _stored_file(path: Path, root: Path) -> FileEntry:
    if path.is_symlink() or not path.is_file():
        return FileEntry(path.relative_to(root).as_posix(), False, 0, "not a file")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(path.relative_to(root).as_posix(), bool(status.st_mode & 0o100), status.st_size, content)


def _sync_tree(folder: Path) -> None:
    for base, folders, files in os.walk(folder, topdown=False):
        for name in files:
            _sync(os.path.join(base, name), os.O_RDONLY)
        for name in folders:
            os.chmod(os.path.join(base, name), 0o755)
        _sync_folder(Path(base))


def _sync_folder(folder: Path) -> None:
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str | Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
