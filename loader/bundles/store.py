"""The port behind which bundles are kept.

Keys are (tenant uid, digest): to know a digest grants nothing, and no tenant learns what another has uploaded.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loader.bundles.manifest import Manifest
from stepwell.errors import InternalError, NotFoundError
from stepwell.names import Digest, TenantUid


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that is durable."""

    digest: Digest
    manifest: Manifest
    file_count: int
    size_bytes: int


class Upload(Protocol):
    """One bundle on its way in, used by one task. Nothing of it can be seen before `commit` has answered.

    After any error, `abandon` is all that may be called. An upload that is neither committed nor abandoned is forgotten
    when the store is opened again.
    """

    async def open(self, path: str, executable: bool) -> None:
        """Begin the next file; the one before is complete.

        Raises BundleRefusedError (the path, or the file is there already) and LimitExceededError (too many files).
        """

    async def write(self, chunk: bytes) -> None:
        """Add bytes to the open file. Raises LimitExceededError (too many bytes), BundleRefusedError (no open file)."""

    async def commit(self, manifest: Manifest) -> Bundle:
        """Keep the bundle. Once this answers, it survives the loss of the process and of power.

        Idempotent: the same content is the same digest, kept once; where the stored bytes are not what was uploaded,
        these take their place. Raises BundleRefusedError and LimitExceededError when the manifest can't be used,
        UnavailableError when it is unknown whether the bundle is kept.
        """

    async def abandon(self) -> None:
        """Forget the upload, and what a `commit` has kept that was cancelled or raised. Idempotent, and without effect
        once `commit` has answered. Where the store is away, a later commit of the tenant removes the bytes."""


class BundleStore(Protocol):
    """Bundles by tenant and digest, immutable. A bundle is seen whole or not at all.

    Every call but `upload` may raise UnavailableError.
    """

    def upload(self, tenant: TenantUid) -> Upload:
        """Begin an upload."""

    async def manifest(self, tenant: TenantUid, digest: Digest) -> Manifest:
        """The manifest of a bundle. Raises NotFoundError."""

    def pull(self, tenant: TenantUid, digest: Digest) -> AbstractAsyncContextManager[Path]:
        """A local folder with exactly the bundle's files, each verified in this call; the caller only reads it.

        It stays until the block ends, or until `delete`. Raises NotFoundError; InternalError when the stored bytes are
        not what was uploaded.
        """

    async def delete(self, tenant: TenantUid, digest: Digest) -> None:
        """Forget a bundle; the caller knows that nothing needs it. Idempotent. Another node may give out what it has of
        it for a while; `manifest` tells of none."""


def missing(digest: Digest) -> NotFoundError:
    """What a store raises that has no such bundle."""
    return NotFoundError(f"There is no version {digest}.", version=digest)


def changed(digest: Digest) -> InternalError:
    """What a store raises whose bytes are not what was uploaded."""
    return InternalError(f"The stored files of version {digest} were changed; deploy it again.", version=digest)
