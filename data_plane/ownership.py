"""The port to ownership: which shards this process owns, and who owns the others.

An owner lends a shard to the node as a `Shard`: an epoch that nobody else has or had, and whether it is owned now. On
one machine the data directory's lock decides (`ownership_solo`), in a cluster leases do (`ownership_leased`).
"""

from __future__ import annotations

from asyncio import TaskGroup
from typing import Protocol

from data_plane.shard import Shard


class ShardHost(Protocol):
    """Whoever serves what is owned: a node. At most one term of a shard is lent at a time."""

    async def serve(self, shard: Shard) -> None:
        """Take it over; it is served once this returns.

        Raises EpochSupersededError when the journal store knows of its epoch, or a later one; OwnershipLostError when
        it is lost meanwhile; what the journal store raises. It is not served then.
        """

    async def release(self, number: int, within_s: float) -> None:
        """Begin nothing more in it, end what runs in good order, and let go of it. Idempotent."""

    def drop(self, number: int) -> None:
        """It is owned no more: let go of it at once, nothing of it may be shown or done. Idempotent."""


class Ownership(Protocol):
    """From a shard's `serve` on until its `release` or `drop`, `Shard.owned` is asked before anything of it is shown or
    done. Once it says no it never says yes again; while it says yes, nobody else has a later epoch of the shard.
    """

    async def start(self, host: ShardHost, tasks: TaskGroup) -> None:
        """Have the node serve what this process owns, from here on until `stop`."""

    async def stop(self, within_s: float) -> None:
        """Release everything in good order, and own nothing from here on."""

    def owner_of(self, number: int) -> str | None:
        """The address of the node that owns the shard, as far as is known; None when nobody does. It may be stale."""
