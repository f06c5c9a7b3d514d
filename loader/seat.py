"""A place for one sandbox with one version's code, and the leases on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loader.guest import Guest
from stepwell.names import Digest, TenantUid


class Seat:
    """The loader's own: from the first wish for a sandbox until that sandbox is gone."""

    def __init__(
        self, tenant: TenantUid, digest: Digest, alone: bool, replays: bool, loading: asyncio.Future[Guest]
    ) -> None:
        self.tenant = tenant
        self.digest = digest
        self.alone = alone
        self.replays = replays
        self.loading = loading
        self.guest: Guest | None = None
        self.task: asyncio.Task[None] | None = None
        self.leases = 0
        self.gone = False

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits; nobody may."""
        self.loading.set_exception(error)
        self.loading.exception()


class Lease:
    """Keeps a sandbox from being evicted. It does not keep it from dying: see `Guest.death`."""

    def __init__(self, guest: Guest, seat: Seat, release: Callable[[Seat], None]) -> None:
        self.guest = guest
        self._seat = seat
        self._release: Callable[[Seat], None] | None = release

    def release(self) -> None:
        """The sandbox is not needed for this any more. Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release(self._seat)
