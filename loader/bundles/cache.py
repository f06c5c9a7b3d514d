"""Bundles on this machine that can be had again from elsewhere: within bounds, and never taken from under a reader."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loader.bundles.folder import FILES
from loader.bundles.manifest import Manifest
from loader.bundles.staging import StagedFiles
from loader.bundles.store import Bundle, changed
from loader.bundles.store_files import FileBundleStore
from stepwell.errors import InternalError, NotFoundError
from stepwell.names import Digest, TenantUid

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024 * 1024
"""Of a node's cache: some thousands of bundles as they are, and 128 as large as they may be. What is pulled at the
moment stays even so, and sandboxes may hold what was removed until they end."""

FILE_BYTES: Final = 4096
"""What a file takes beside its bytes, in blocks not filled and folders, about."""

Fetch = Callable[[StagedFiles], Awaitable[Manifest]]
"""Puts a bundle's files, and says its manifest."""

_Key = tuple[TenantUid, Digest]


@dataclass(slots=True)
class _Use:
    """Of one bundle, as long as somebody has it, fetches it, removes it, or waits to."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class BundleCache:
    """Of one folder that no other process uses. `open` one.

    Bundles that are pulled, or wait to be, stay; of the others those go first that were pulled longest ago, or, before
    this process, came first. `bytes_max` may be passed by what is pulled at one time, which the loader bounds.
    """

    def __init__(self, files: FileBundleStore, bytes_max: int, found: dict[_Key, int]) -> None:
        self._files = files
        self._bytes_max = bytes_max
        self._sizes = found
        """In the order in which they go."""
        self._uses: dict[_Key, _Use] = {}

    @classmethod
    async def open(cls, folder: Path, bytes_max: int) -> BundleCache:
        """With what the process before has left there in good order."""
        files = FileBundleStore(folder, durable=False)
        await asyncio.to_thread(files.recover)
        cache = cls(files, bytes_max, await asyncio.to_thread(_found, files))
        await cache._make_room()
        return cache

    @property
    def files(self) -> FileBundleStore:
        """Whose folder it is."""
        return self._files

    @property
    def size_bytes(self) -> int:
        """What is there now, as it counts against the bound."""
        return sum(self._sizes.values())

    @asynccontextmanager
    async def pull(self, tenant: TenantUid, digest: Digest, fetch: Fetch) -> AsyncGenerator[Path]:
        """The folder of the bundle's files, verified in this call, which stays until the block ends or `discard`.

        What is not there, or not as it should be, is fetched: by one of those who want it, while the others wait.
        Raises InternalError when what was fetched is another bundle, and what `fetch` raises.
        """
        key = (tenant, digest)
        with self._used(key) as use:
            async with use.turn:
                folder = await self._verified(*key) or await self._fetched(key, fetch)
                self._sizes[key] = self._sizes.pop(key)
            yield folder

    async def discard(self, tenant: TenantUid, digest: Digest) -> None:
        """Remove a bundle, in use or not. Idempotent."""
        key = (tenant, digest)
        with self._used(key) as use:
            await use.turn.acquire()
            await self._remove(key, use)

    async def _verified(self, tenant: TenantUid, digest: Digest) -> Path | None:
        try:
            async with self._files.pull(tenant, digest) as folder:
                return folder
        except (NotFoundError, InternalError):
            return None

    async def _fetched(self, key: _Key, fetch: Fetch) -> Path:
        """Its files are verified by being hashed as they are written."""
        tenant, digest = key

        def keep(folder: Path, bundle: Bundle) -> None:
            if bundle.digest != digest:
                raise changed(digest)
            self._files.settle(folder, self._files.tenant_folder(tenant), digest)

        staged = StagedFiles(self._files.stage)
        try:
            manifest = await fetch(staged)
            # Counted before it is there: whoever is cancelled meanwhile leaves nothing that doesn't count.
            self._sizes[key] = staged.size_bytes + FILE_BYTES * (staged.file_count + 1)
            await staged.finish(manifest, keep)
        finally:
            await staged.discard()
        await self._make_room()
        return self._files.bundle_folder(tenant, digest) / FILES

    async def _make_room(self) -> None:
        while self.size_bytes > self._bytes_max:
            key = next((key for key in self._sizes if key not in self._uses), None)
            if key is None:
                return
            with self._used(key) as use:
                await use.turn.acquire()  # at once: nobody else has it
                await self._remove(key, use)

    async def _remove(self, key: _Key, use: _Use) -> None:
        """Gives the turn back when it is done, also where whoever waits for it is cancelled: a thread goes on."""

        def done(removing: asyncio.Future[None]) -> None:
            if removing.exception() is None:
                self._sizes.pop(key, None)
            use.turn.release()
            self._leave(key, use)

        use.users += 1
        folder = self._files.bundle_folder(*key)
        removing = asyncio.get_running_loop().run_in_executor(None, self._files.discard, folder)
        removing.add_done_callback(done)
        await asyncio.shield(removing)

    @contextmanager
    def _used(self, key: _Key) -> Iterator[_Use]:
        use = self._uses.setdefault(key, _Use())
        use.users += 1
        try:
            yield use
        finally:
            self._leave(key, use)

    def _leave(self, key: _Key, use: _Use) -> None:
        use.users -= 1
        if not use.users:
            del self._uses[key]


def _found(files: FileBundleStore) -> dict[_Key, int]:
    """What is there, the oldest first. What is no bundle's folder is not ours, and left alone."""
    found: list[tuple[float, _Key, int]] = []
    for folder in files.folder.glob("*/*"):
        key = (TenantUid(folder.parent.name), Digest(folder.name))
        with suppress(ValueError):
            if files.bundle_folder(*key).is_dir():
                found.append((folder.stat().st_mtime, key, _size(folder)))
    return {key: size for _, key, size in sorted(found)}


def _size(folder: Path) -> int:
    return sum(
        os.lstat(os.path.join(base, name)).st_size + FILE_BYTES for base, _, files in os.walk(folder) for name in files
    )
