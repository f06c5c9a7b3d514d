"""The port behind which bundles are kept.

Keys are (tenant uid, digest): to know a digest grants nothing, and no tenant learns what another has uploaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from loader.bundles.manifest import Manifest
from stepwell.errors import InternalError, NotFoundError, UnavailableError
from stepwell.names import Digest, TenantUid

IsNamed = Callable[[Digest], Awaitable[bool]]
"""Whether a record that stays, such as a version's, names the bundle of that digest."""

KEEP_TRIES: Final = 5
"""How often a commit looks anew at what is kept, because that changed before its own bytes took the place."""


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

    async def commit(self, manifest: Manifest, is_named: IsNamed | None = None) -> Bundle:
        """Keep the bundle, once. When this answers, it survives the loss of the process and of power.

        `is_named` is asked after it was looked what is kept under the digest. Where it says yes, and without it, that
        is shared; where there is none, or its bytes are not what was uploaded, these take the place, for good. Where it
        says no, these take the place, and `abandon` takes them back. What takes the place does so in one step, and of
        nothing but what was seen before the question: when that has changed, all this is done again.

        Raises BundleRefusedError and LimitExceededError when the manifest can't be used, UnavailableError when it is
        unknown whether the bundle is kept or what is kept changed again and again, and what `is_named` raises.
        """

    async def abandon(self) -> None:
        """Forget the upload, and its bytes also where they are kept by now, unless they are for good. What others keep
        stays. Idempotent. Where the store is away, a later commit of the tenant removes the bytes."""


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

    async def delete(self, tenant: TenantUid, digest: Digest, is_named: IsNamed | None = None) -> None:
        """Forget a bundle; the caller knows that nothing needs it. Idempotent. Another node may give out what it has of
        it for a while; `manifest` tells of none.

        `is_named` is asked after it was looked what is kept; where it says yes that stays, and where it says no nothing
        goes but what was seen: a bundle that is deployed again meanwhile stays.
        """


def missing(digest: Digest) -> NotFoundError:
    """What a store raises that has no such bundle."""
    return NotFoundError(f"There is no version {digest}.", version=digest)


def changed(digest: Digest) -> InternalError:
    """What a store raises whose bytes are not what was uploaded."""
    return InternalError(f"The stored files of version {digest} were changed; deploy it again.", version=digest)


def contested(digest: Digest) -> UnavailableError:
    """What a commit raises that found another bundle kept `KEEP_TRIES` times."""
    return UnavailableError(f"others deploy the version {digest} again and again: deploy again in a moment")
