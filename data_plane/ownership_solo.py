"""Who owns the data on one machine: the process that holds the data directory's lock, for as long as it lives.

In a cluster, leases decide; here the kernel does. It lets go of the lock when the process ends, however it ends, and
never while it lives, so a shard that is owned once stays owned until the server stops.
"""

from __future__ import annotations

import fcntl
import os
from asyncio import TaskGroup
from pathlib import Path

from data_plane.ownership import ShardHost
from data_plane.shard import Shard

LOCK_FILE = "lock"
SHARD = 0
"""The embedded server has one shard: its instances have one owner in any case."""


class DataInUseError(Exception):
    """Another server has this data directory open."""


class DataLock:
    """Held until `release`, or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, directory: Path) -> DataLock:
        """Lock a directory that exists. Raises DataInUseError, naming the other process where it is known."""
        path = directory / LOCK_FILE
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).strip().decode("ascii", "replace")
            os.close(descriptor)
            who = f" by process {holder}" if holder.isdigit() else ""
            raise DataInUseError(
                f"{directory} is in use{who}: stop that server, or give this one another data directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    @property
    def held(self) -> bool:
        return self._descriptor >= 0

    def release(self) -> None:
        """Let another process in; doing so twice changes nothing. Everything below the directory is closed before."""
        if self.held:
            os.close(self._descriptor)
            self._descriptor = -1


class SoloOwner:
    """`Ownership` of the only shard, in the epoch of this opening of the journal."""

    def __init__(self, lock: DataLock, epoch: int) -> None:
        self._lock = lock
        self._released = False
        self._shard = Shard(SHARD, epoch, self._owned)
        self._host: ShardHost | None = None

    async def start(self, host: ShardHost, tasks: TaskGroup) -> None:
        self._host = host
        await host.serve(self._shard)

    async def stop(self, within_s: float) -> None:
        """What is in flight after that is not acted on. The lock stays."""
        if self._host is not None:
            await self._host.release(SHARD, within_s)
        self._released = True

    def owner_of(self, number: int) -> str | None:
        """Nobody else: whom this process does not serve, no process does."""
        return None

    def _owned(self) -> bool:
        return self._lock.held and not self._released
