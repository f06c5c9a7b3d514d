"""What every cluster store does alike: each adapter, and the oracle they are held against."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.store import (
    RANGE_LIMIT_MAX,
    TXN_BYTES_MAX,
    TXN_OPERATIONS_MAX,
    ClusterStore,
    Compare,
    Delete,
    Event,
    Operation,
    Put,
    TxnResult,
)
from cluster.store_sqlite import open_sqlite_store
from tests.contract.lease_stores import ModelledEtcdWorld, etcd_world
from tests.contract.memory_store import MemoryStore


def _never_fatal(error: BaseException) -> None:
    raise AssertionError(error)


@pytest.fixture(params=["sqlite", "memory", "modelled etcd", "etcd"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ClusterStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "modelled etcd":
        yield ModelledEtcdWorld().store
        return
    if request.param == "etcd":
        async with etcd_world(request.getfixturevalue("etcd")) as world:
            yield world.store
        return
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=_never_fatal) as opened:
        yield opened


async def put(store: ClusterStore, key: str, value: bytes = b"v") -> int:
    result = await store.txn((), (Put(key, value),))
    assert result.succeeded
    return result.revision


async def test_a_written_record_is_read_back_with_its_revisions(store: ClusterStore) -> None:
    first = await put(store, "a", b"1")
    second = await put(store, "a", b"2")
    found = await store.get("a")
    assert found is not None
    assert (found.value, found.create_revision, found.mod_revision) == (b"2", first, second)
    assert second == first + 1 == await store.revision()


async def test_an_absent_record_is_none(store: ClusterStore) -> None:
    assert await store.get("a") is None


async def test_a_new_store_is_at_revision_zero(store: ClusterStore) -> None:
    assert await store.revision() == 0


async def test_a_transaction_writes_all_its_records_at_one_revision(store: ClusterStore) -> None:
    result = await store.txn((), (Put("a", b""), Put("b", b"")))
    found = await store.range("", limit=9)
    assert [(each.key, each.mod_revision) for each in found] == [("a", result.revision), ("b", result.revision)]


async def test_a_failed_compare_writes_nothing(store: ClusterStore) -> None:
    revision = await put(store, "a", b"1")
    for stale in (0, revision + 1):
        result = await store.txn((Compare("a", stale),), (Put("a", b"2"), Put("b", b"2")))
        assert result == TxnResult(False, revision)
    found = await store.get("a")
    assert found is not None
    assert found.value == b"1"
    assert await store.get("b") is None


async def test_a_compare_with_zero_holds_while_the_key_is_absent(store: ClusterStore) -> None:
    assert (await store.txn((Compare("a", 0),), (Put("a", b""),))).succeeded
    assert not (await store.txn((Compare("a", 0),), (Put("a", b""),))).succeeded
    await store.txn((), (Delete("a"),))
    assert (await store.txn((Compare("a", 0),), (Put("a", b""),))).succeeded


async def test_of_two_writers_with_the_same_compare_one_wins(store: ClusterStore) -> None:
    revision = await put(store, "a")
    results = await asyncio.gather(
        *(store.txn((Compare("a", revision),), (Put("a", bytes([n])),)) for n in range(8)),
    )
    assert sum(result.succeeded for result in results) == 1


async def test_deleting_what_is_absent_changes_nothing(store: ClusterStore) -> None:
    revision = await put(store, "a")
    assert await store.txn((), (Delete("b"),)) == TxnResult(True, revision)
    assert await store.revision() == revision


async def test_a_record_that_is_written_again_after_deletion_is_a_new_one(store: ClusterStore) -> None:
    await put(store, "a")
    await store.txn((), (Delete("a"),))
    revision = await put(store, "a")
    found = await store.get("a")
    assert found is not None
    assert found.create_revision == revision


async def test_a_range_is_ordered_and_holds_its_prefix_alone(store: ClusterStore) -> None:
    for key in ("b/2", "a/9", "b/10", "b", "b0", "b/", "c"):
        await put(store, key)
    assert [each.key for each in await store.range("b/", limit=9)] == ["b/", "b/10", "b/2"]


async def test_a_prefix_that_ends_in_the_last_character_is_a_prefix_still(store: ClusterStore) -> None:
    for key in ("a~", "a~1", "a\x7f", "a\U0010ffff", "a\U0010ffff1", "b"):
        await put(store, key)
    assert [each.key for each in await store.range("a~", limit=9)] == ["a~", "a~1"]
    assert [each.key for each in await store.range("a\U0010ffff", limit=9)] == ["a\U0010ffff", "a\U0010ffff1"]


async def test_a_range_goes_on_after_a_key_and_stops_at_its_limit(store: ClusterStore) -> None:
    for n in range(5):
        await put(store, f"a/{n}")
    assert [each.key for each in await store.range("a/", after="a/1", limit=2)] == ["a/2", "a/3"]
    assert await store.range("a/", after="a/4", limit=2) == ()


async def test_underscores_and_percent_signs_mean_themselves(store: ClusterStore) -> None:
    for key in ("a_1", "ab1", "a%1"):
        await put(store, key)
    assert [each.key for each in await store.range("a_", limit=9)] == ["a_1"]
    assert [each.key for each in await store.range("a%", limit=9)] == ["a%1"]


@pytest.mark.parametrize(
    "operations",
    [
        (Put("a", b""), Delete("a")),
        (Put("", b""),),
        (Put("a" * 513, b""),),
        (Put("a", b"x" * TXN_BYTES_MAX),),
        tuple(Put(str(n), b"") for n in range(TXN_OPERATIONS_MAX + 1)),
    ],
    ids=["key twice", "empty key", "long key", "too many bytes", "too many operations"],
)
async def test_a_transaction_over_its_limits_is_refused(store: ClusterStore, operations: tuple[Operation, ...]) -> None:
    with pytest.raises(ValueError, match=r"a transaction|a key"):
        await store.txn((), operations)
    assert await store.revision() == 0


@pytest.mark.parametrize("limit", [0, -1, RANGE_LIMIT_MAX + 1])
async def test_a_range_without_a_sensible_limit_is_refused(store: ClusterStore, limit: int) -> None:
    with pytest.raises(ValueError, match="a range"):
        await store.range("", limit=limit)


async def collected(store: ClusterStore, prefix: str, after: int, until: int) -> list[Event]:
    """What a watch tells, up to that revision."""
    events: list[Event] = []
    watch = store.watch(prefix, after=after)
    try:
        async for batch in watch:
            events += batch.events
            if batch.revision >= until:
                break
    finally:
        await watch.aclose()
    return events


async def test_a_watch_tells_changes_in_order_once_each(store: ClusterStore) -> None:
    async with asyncio.TaskGroup() as group:
        told = group.create_task(collected(store, "a/", 0, 4))
        await put(store, "a/1", b"1")
        await put(store, "b/1", b"1")
        await store.txn((), (Put("a/2", b"2"), Delete("a/1")))
        await put(store, "a/1", b"3")
    assert told.result() == [
        Event("a/1", b"1", 1),
        Event("a/2", b"2", 3),
        Event("a/1", None, 3),
        Event("a/1", b"3", 4),
    ]


async def test_a_watch_may_begin_in_the_past(store: ClusterStore) -> None:
    for n in range(5):
        await put(store, f"a/{n}")
    assert [event.key for event in await collected(store, "a/", 2, 5)] == ["a/2", "a/3", "a/4"]


async def test_a_failed_transaction_is_not_told(store: ClusterStore) -> None:
    await put(store, "a")
    await store.txn((Compare("a", 9),), (Put("b", b""),))
    await put(store, "c")
    assert [event.key for event in await collected(store, "", 0, 2)] == ["a", "c"]


async def test_a_quiet_watch_gives_a_sign_of_life_at_once(store: ClusterStore) -> None:
    await put(store, "b")
    watch = store.watch("a", after=1)
    batch = await anext(watch)
    await watch.aclose()
    assert (batch.revision, batch.events) == (1, ())


@pytest.mark.parametrize("seed", range(8))
async def test_random_operations_end_as_in_the_oracle(store: ClusterStore, seed: int) -> None:
    dice, oracle = random.Random(seed), MemoryStore()
    seen: set[str] = set()
    for _ in range(120):
        keys = dice.sample("abcdef", dice.randint(1, 3))
        operations = [Put(k, bytes([dice.randrange(256)])) if dice.random() < 0.6 else Delete(k) for k in keys]
        compares: list[Compare] = []
        for key in dice.sample("abcdef", dice.randint(0, 2)):
            found = await oracle.get(key)
            actual = found.mod_revision if found else 0
            compares.append(Compare(key, actual if dice.random() < 0.8 else actual + 1))
        expected = await oracle.txn(compares, operations)
        assert await store.txn(compares, operations) == expected
        seen.add(f"succeeded={expected.succeeded}")
        prefix, after = dice.choice(["", "c"]), dice.choice(["", "b", "d"])
        limit = dice.randint(1, 4)
        assert await store.range(prefix, after=after, limit=limit) == await oracle.range(
            prefix, after=after, limit=limit
        )
    assert seen == {"succeeded=True", "succeeded=False"}
    last = await oracle.revision()
    assert await collected(store, "", 0, last) == await collected(oracle, "", 0, last)
