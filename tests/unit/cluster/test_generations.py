"""A change is made on what was read for it, and others hear of it."""

from __future__ import annotations

import pytest

from cluster import keys
from cluster.generations import ATTEMPTS, BUCKETS, Change, bucket_of, change
from cluster.store import Compare, Put
from stepwell.errors import ConflictError
from stepwell.names import TenantUid
from tests.contract.memory_store import MemoryStore

UID = TenantUid("u1")
GENERATION = keys.generation(bucket_of(UID))


async def generation(store: MemoryStore) -> int:
    found = await store.get(GENERATION)
    return found.mod_revision if found else 0


async def test_a_change_moves_its_tenants_generation_in_the_same_transaction() -> None:
    store = MemoryStore()

    async def decide() -> Change[int]:
        return Change((Put("a", b""),), lambda revision: revision)

    answer = await change(store, UID, decide)
    written = await store.get("a")
    assert written is not None
    assert answer == written.mod_revision == await generation(store)


async def test_a_change_that_was_overtaken_is_decided_again() -> None:
    store = MemoryStore()
    seen: list[bytes] = []

    async def decide() -> Change[None]:
        found = await store.get("a")
        seen.append(found.value if found else b"")
        if len(seen) == 1:
            await store.txn((), (Put(GENERATION, b""), Put("a", b"theirs")))
        return Change((Put("a", seen[-1] + b" and ours"),), lambda _: None)

    await change(store, UID, decide)
    found = await store.get("a")
    assert found is not None
    assert (seen, found.value) == ([b"", b"theirs"], b"theirs and ours")


async def test_a_decision_to_do_nothing_writes_nothing() -> None:
    store = MemoryStore()

    async def decide() -> Change[str]:
        return Change((), lambda _: "as it was")

    assert await change(store, UID, decide) == "as it was"
    assert await store.revision() == 0


async def test_a_change_that_is_always_overtaken_gives_up() -> None:
    store = MemoryStore()
    decisions = 0

    async def decide() -> Change[None]:
        nonlocal decisions
        decisions += 1
        return Change((Put("a", b""),), lambda _: None, (Compare("b", 5),))

    with pytest.raises(ConflictError):
        await change(store, UID, decide)
    assert decisions == ATTEMPTS
    assert await store.get("a") is None


def test_tenants_spread_over_the_buckets() -> None:
    buckets = {bucket_of(TenantUid(f"u{n}")) for n in range(20_000)}
    assert len(buckets) > BUCKETS * 0.95
    assert min(buckets) >= 0
    assert max(buckets) < BUCKETS
