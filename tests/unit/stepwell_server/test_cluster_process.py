"""What the processes of a cluster agree on before they serve, and whom they pass calls on to."""

from __future__ import annotations

import pytest

from cluster import keys
from cluster.records import Member
from stepwell_server.cluster_process import agree_on_shards, any_of
from stepwell_server.process import StartError
from tests.contract.memory_store import MemoryStore


async def test_the_first_process_fixes_the_number_of_shards_and_others_must_have_the_same() -> None:
    store = MemoryStore(lambda: 0.0)
    await agree_on_shards(store, 64)
    await agree_on_shards(store, 64)
    with pytest.raises(StartError, match="shard_count is 128, and this cluster was made with 64"):
        await agree_on_shards(store, 128)
    stored = await store.get(keys.SHARD_COUNT)
    assert stored is not None
    assert stored.value == b"64"


def test_any_of_those_that_there_are_is_chosen() -> None:
    members: list[Member] = []
    chosen = any_of(lambda: members)
    assert chosen() is None
    members += [Member("a", "10.0.0.1:1"), Member("b", "10.0.0.2:1")]
    assert {chosen() for _ in range(100)} == {"10.0.0.1:1", "10.0.0.2:1"}
