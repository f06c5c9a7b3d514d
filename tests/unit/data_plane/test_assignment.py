"""Shards are shared out alike in every process, evenly, and move no more than they must."""

from __future__ import annotations

from collections import Counter

import pytest

from cluster.tenant_uids import SPREADS, spread_of, tenant_uid
from data_plane.assignment import SHARD_COUNT, assigned, shard_of
from stepwell.names import InstanceId, TenantUid

NODES = [f"node-{number}" for number in range(5)]
SHARD_OF_ONE = 809
OWNERS_OF_TWELVE = "aaaaccbcbabc"


def test_the_figures_are_the_same_in_every_release() -> None:
    assert shard_of(TenantUid("t1"), InstanceId("one"), 1_024) == SHARD_OF_ONE
    assert assigned(["a", "b", "c"], 12) == list(OWNERS_OF_TWELVE)


def test_the_order_in_which_nodes_are_known_does_not_matter() -> None:
    assert assigned(NODES, 64) == assigned(list(reversed(NODES)), 64)


def test_nodes_share_evenly() -> None:
    counts = Counter(assigned(NODES, SHARD_COUNT))
    assert set(counts) == set(NODES)
    assert max(counts.values()) < 1.25 * SHARD_COUNT / len(NODES)


def test_a_node_that_goes_moves_only_what_was_its_own() -> None:
    before, after = assigned(NODES, SHARD_COUNT), assigned(NODES[1:], SHARD_COUNT)
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {NODES[0]}
    assert NODES[0] not in after


def test_without_nodes_nobody_is_to_own_anything() -> None:
    assert assigned([], 3) == [None, None, None]


@pytest.mark.parametrize("spread", [1, 2, 16])
def test_a_tenants_instances_lie_in_as_many_shards_as_its_spread(spread: int) -> None:
    uid = tenant_uid(b"acme", spread)
    shards = {shard_of(uid, InstanceId(f"i-{number}"), SHARD_COUNT) for number in range(500)}
    assert len(shards) == spread


@pytest.mark.parametrize("spread", SPREADS)
def test_a_uid_says_its_spread(spread: int) -> None:
    assert spread_of(tenant_uid(b"acme", spread)) == spread


@pytest.mark.parametrize("text", ["a1-", "a1-3", "a1-x", "a1-2048", "a1-0", "a1-2-2", "a1--2", "a1-" + "9" * 5_000])
def test_what_is_no_tenants_uid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="can't be a tenant's uid"):
        spread_of(TenantUid(text))
