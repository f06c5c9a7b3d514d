"""Which files a version has: paths, sizes and content hashes, by which two versions are told apart.

They are read from the bundle itself, which costs as much as the bundle is large: so what was read last is remembered, a
version being what it is for good, and a tenant reads one bundle at a time, so that no other waits for all that it asks.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from control_plane.pages import Page
from control_plane.turns import Turns
from loader.bundles.digest import FileEntry
from loader.bundles.folder import file_entries
from loader.bundles.store import BundleStore
from stepwell.names import Digest, TenantUid

FILES_REMEMBERED_MAX: Final = 20_000
"""Over all versions: as many as two of the largest have, which is what a diff asks for."""

READ_AT_ONCE_MAX: Final = 2
"""Bundles whose files are read at one time in this process, each another tenant's."""


class VersionFiles:
    """Of all tenants, in one control process. Whether there is such a version is for the caller to know."""

    def __init__(self, bundles: BundleStore) -> None:
        self._bundles = bundles
        self._reading = asyncio.Semaphore(READ_AT_ONCE_MAX)
        self._turns = Turns()
        self._remembered: OrderedDict[tuple[TenantUid, Digest], Sequence[FileEntry]] = OrderedDict()

    async def list(self, uid: TenantUid, digest: Digest, size: int, position: str = "") -> Page[FileEntry]:
        """By path. Raises NotFoundError without such a bundle, and what the store raises."""
        entries = await self._entries(uid, digest)
        start = bisect_right(entries, position, key=lambda entry: entry.path) if position else 0
        items = entries[start : start + size]
        return Page(tuple(items), items[-1].path if start + size < len(entries) else "")

    async def _entries(self, uid: TenantUid, digest: Digest) -> Sequence[FileEntry]:
        key = (uid, digest)
        async with self._turns.of(uid):
            known = self._remembered.get(key)
            if known is None:
                async with self._reading, self._bundles.pull(uid, digest) as folder:
                    entries = await asyncio.to_thread(file_entries, folder)
                known = sorted(entries, key=lambda entry: entry.path)
                self._remembered[key] = known
            self._remembered.move_to_end(key)
            while sum(map(len, self._remembered.values())) > FILES_REMEMBERED_MAX:
                self._remembered.popitem(last=False)
            return known
