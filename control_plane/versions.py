"""Versions: what a tenant has deployed, newest first."""

from __future__ import annotations

from cluster import keys
from cluster.codec import decode_value
from cluster.records import Version
from cluster.store import ClusterStore
from control_plane.pages import Page, stored_page
from rpc.paging import PAGE_BYTES_MAX
from stepwell.errors import ConflictError, NotFoundError
from stepwell.names import Digest, TenantUid


class Versions:
    """Reads over the cluster's store; see there for consistency. What a version is never changes."""

    def __init__(self, store: ClusterStore) -> None:
        self._store = store

    async def find(self, uid: TenantUid, digest: Digest) -> Version | None:
        """The version, or None."""
        stored = await self._store.get(keys.version(uid, digest))
        return None if stored is None else decode_value(Version, stored)

    async def get(self, uid: TenantUid, digest: Digest) -> Version:
        """Raises NotFoundError."""
        version = await self.find(uid, digest)
        if version is None:
            raise NotFoundError(f"the tenant has no version {digest}", version=digest)
        return version

    async def list(self, uid: TenantUid, size: int, position: str = "") -> Page[Version]:
        """Newest first. A page ends early rather than grow past PAGE_BYTES_MAX by more than one version."""
        prefix = keys.versions_by_age(uid)
        page = await stored_page(self._store, prefix, size, position)
        versions: list[Version] = []
        size_bytes = 0
        for entry in page.items:
            stored = await self._store.get(keys.version(uid, keys.digest_by_age(entry.key)))
            if stored is not None:
                versions.append(decode_value(Version, stored))
                size_bytes += len(stored.value)
            if size_bytes > PAGE_BYTES_MAX and entry is not page.items[-1]:
                return Page(tuple(versions), entry.key[len(prefix) :])
        return Page(tuple(versions), page.position)


def refuse_retiring(version: Version) -> None:
    """Raises ConflictError for a version that is about to go: nothing may come to rely on it."""
    if version.retiring:
        raise ConflictError(
            f"version {version.digest} is being retired: once that is over it can be deployed again; should it have"
            " been interrupted, `versions retire` ends it",
            version=version.digest,
        )
