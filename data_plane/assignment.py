"""Which shard an instance is in, and which of the nodes that live should own which shard. Pure: the same everywhere.

A shard goes to the node with the greatest weight for it (rendezvous hashing), so that a node that comes or goes moves
only what becomes, or was, its own. The hash is BLAKE2b with 64 bits, whatever the process or its release.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from cluster.tenant_uids import spread_of
from stepwell.names import InstanceId, TenantUid

SHARD_COUNT: Final = 1_024
"""Of a cluster, unless it was made with another one; it never changes."""

NODES_REMEMBERED: Final = 512
"""Nodes whose weights are kept: a node weighs each shard once."""


def shard_of(tenant: TenantUid, instance: InstanceId, shard_count: int) -> int:
    """The tenant's uid says over how many shards its instances lie."""
    return (_hash(tenant) + _hash(instance) % spread_of(tenant)) % shard_count


def together(tenant: TenantUid, one: InstanceId, other: InstanceId) -> bool:
    """Whether two of its instances are in one shard, however many shards there are."""
    return (_hash(one) - _hash(other)) % spread_of(tenant) == 0


def shards_of(tenant: TenantUid, shard_count: int) -> frozenset[int]:
    """All shards that instances of the tenant can be in."""
    return frozenset((_hash(tenant) + each) % shard_count for each in range(spread_of(tenant)))


def assigned(nodes: Collection[str], shard_count: int) -> list[str | None]:
    """Of each shard, the node that should own it; None where there is no node at all."""
    if not nodes:
        return [None] * shard_count
    by_node = [(node, _weights(node, shard_count)) for node in sorted(nodes)]
    return [max(by_node, key=lambda each: (each[1][number], each[0]))[0] for number in range(shard_count)]


@lru_cache(NODES_REMEMBERED)
def _weights(node: str, shard_count: int) -> list[int]:
    return [_hash(f"{node} {number}") for number in range(shard_count)]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
