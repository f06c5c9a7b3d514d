"""A change is made on what was read for it, and others hear of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster import keys
from cluster.generations import ATTEMPTS, BUCKETS, Change, bucket_of, change
from cluster.store import Compare, Operation, Put, TxnResult
from stepwell.errors import ConflictError, UnavailableError
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


class SlowStore(MemoryStore):
    """Its first transaction is still on its way when its caller gives it up; `arrive` has it arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.on_its_way: tuple[Sequence[Compare], Sequence[Operation]] | None = None
        self.is_slow = True

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        if self.is_slow:
            self.is_slow, self.on_its_way = False, (compares, operations)
            raise UnavailableError("no answer")
        return await super().txn(compares, operations)

    async def arrive(self) -> TxnResult:
        assert self.on_its_way is not None
        return await super().txn(*self.on_its_way)


async def test_what_is_so_already_is_not_undone_by_an_earlier_change_that_arrives_later() -> None:
    store = SlowStore()

    async def resume() -> Change[None]:
        return Change((Put("state", b"resumed"),), lambda _: None)

    async def pause() -> Change[str]:
        assert await store.get("state") is None, "it is paused"
        return Change((), lambda _: "paused")

    with pytest.raises(UnavailableError):
        await change(store, UID, resume)
    assert await change(store, UID, pause) == "paused"
    assert not (await store.arrive()).succeeded
    assert await store.get("state") is None


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
