"""The port to the check that a bundle passes before it becomes a version."""

from __future__ import annotations

from typing import Protocol

from stepwell.names import Digest, TenantUid


class BundleCheck(Protocol):
    """Imports a stored bundle in a fresh sandbox and looks for each of its entrypoints.

    It runs tenant code, so it is answered by a data node; the control plane runs none. It changes nothing, so it may be
    asked again; when it ends, in whatever way, nothing uses the bundle's files any more. A bundle that passed may still
    fail when it runs.
    """

    async def check(self, tenant: TenantUid, digest: Digest) -> None:
        """Returns when the bundle is good.

        Raises BundleRefusedError, its message naming file, line and cause, and SandboxUnavailableError when nobody
        could look: the same deploy may be tried again.
        """
