"""What every cluster store with leases does alike: each adapter, the model that stands for etcd, and the oracle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.store import Compare, Delete, Event, LeaseLostError, LeaseStore, Operation, Put, TxnResult
from cluster.store_sqlite import open_sqlite_store
from tests.contract.lease_stores import LeaseWorld, ModelledEtcdWorld, OracleWorld, etcd_world

NO_LEASE = 7
"""An id that no store has granted."""


@pytest.fixture(params=["memory", "modelled etcd", "etcd"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[LeaseWorld]:
    if request.param == "etcd":
        async with etcd_world(request.getfixturevalue("etcd")) as world:
            yield world
    else:
        yield OracleWorld() if request.param == "memory" else ModelledEtcdWorld()


@pytest.fixture
def store(world: LeaseWorld) -> LeaseStore:
    return world.store


async def keys(store: LeaseStore) -> list[str]:
    return [found.key for found in await store.range("", limit=99)]


async def told(store: LeaseStore, after: int, until: int) -> list[Event]:
    """What a watch on everything tells."""
    events: list[Event] = []
    watch = store.watch("", after=after)
    async for batch in watch:
        events += batch.events
        if batch.revision >= until:
            break
    await watch.aclose()
    return events


async def put(store: LeaseStore, *operations: Operation) -> int:
    result = await store.txn((), operations)
    assert result.succeeded
    return result.revision


async def test_a_record_tells_its_lease(store: LeaseStore) -> None:
    lease = await store.grant_lease(9)
    await put(store, Put("a", b"", lease), Put("b", b""))
    assert [found.lease for found in await store.range("", limit=9)] == [lease, 0]
    found = await store.get("a")
    assert found is not None
    assert found.lease == lease


async def test_leases_have_ids_of_their_own(store: LeaseStore) -> None:
    assert len({await store.grant_lease(9) for _ in range(9)} - {0}) == 9


async def test_a_granted_lease_is_no_revision(store: LeaseStore) -> None:
    lease = await store.grant_lease(9)
    await store.keep_alive(lease)
    assert await store.revision() == 0


async def test_keys_go_at_one_revision_when_their_lease_ends(world: LeaseWorld) -> None:
    store = world.store
    lease = await store.grant_lease(2)
    revision = await put(store, Put("b", b"", lease), Put("c", b""), Put("a", b"", lease))
    await world.pass_time(1)
    assert await keys(store) == ["a", "b", "c"]
    await world.pass_time(3)
    assert await keys(store) == ["c"]
    assert await store.revision() == revision + 1
    assert await told(store, revision, revision + 1) == [
        Event("a", None, revision + 1),
        Event("b", None, revision + 1),
    ]


async def test_a_waiting_watch_is_told_of_a_leases_end(world: LeaseWorld) -> None:
    store = world.store
    lease = await store.grant_lease(2)
    revision = await put(store, Put("a", b"", lease))
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(told(store, revision, revision + 1))
        await asyncio.sleep(0)
        await world.pass_time(4)
    assert watching.result() == [Event("a", None, revision + 1)]


async def test_a_lease_that_is_kept_alive_lives_for_its_whole_time_again(world: LeaseWorld) -> None:
    store = world.store
    lease = await store.grant_lease(3)
    await put(store, Put("a", b"", lease))
    for _ in range(2):
        await world.pass_time(2)
        await store.keep_alive(lease)
    await world.pass_time(2)
    assert await keys(store) == ["a"]
    await world.pass_time(3)
    assert await keys(store) == []


async def test_a_lease_that_has_ended_can_not_be_kept_alive(world: LeaseWorld) -> None:
    lease = await world.store.grant_lease(2)
    await world.pass_time(4)
    for lost in (lease, NO_LEASE):
        with pytest.raises(LeaseLostError):
            await world.store.keep_alive(lost)


async def test_other_leases_live_on(world: LeaseWorld) -> None:
    store = world.store
    short, long = await store.grant_lease(2), await store.grant_lease(30)
    await put(store, Put("a", b"", short), Put("b", b"", long))
    await world.pass_time(4)
    assert await keys(store) == ["b"]
    await store.keep_alive(long)


async def test_the_end_of_a_lease_without_keys_is_no_revision(world: LeaseWorld) -> None:
    await world.store.grant_lease(2)
    await world.pass_time(4)
    assert await world.store.revision() == 0


async def test_a_revoked_leases_keys_go_at_one_revision(store: LeaseStore) -> None:
    lease = await store.grant_lease(9)
    revision = await put(store, Put("a", b"", lease), Put("b", b"", lease), Put("c", b""))
    await store.revoke_lease(lease)
    assert await keys(store) == ["c"]
    assert await store.revision() == revision + 1
    with pytest.raises(LeaseLostError):
        await store.keep_alive(lease)


async def test_revoking_a_lease_that_is_gone_changes_nothing(store: LeaseStore) -> None:
    lease = await store.grant_lease(9)
    await put(store, Put("a", b"", lease))
    await store.revoke_lease(lease)
    revision = await put(store, Put("a", b""))
    await store.revoke_lease(lease)
    await store.revoke_lease(NO_LEASE)
    assert (await keys(store), await store.revision()) == (["a"], revision)


async def test_a_put_on_a_lease_that_is_gone_writes_nothing(store: LeaseStore) -> None:
    lease = await store.grant_lease(9)
    revision = await put(store, Put("a", b""))
    await store.revoke_lease(lease)
    for lost in (lease, NO_LEASE):
        with pytest.raises(LeaseLostError):
            await store.txn((), (Delete("a"), Put("b", b""), Put("c", b"", lost)))
    assert (await keys(store), await store.revision()) == (["a"], revision)


async def test_compares_that_fail_are_told_before_a_lease_that_is_gone(store: LeaseStore) -> None:
    revision = await put(store, Put("a", b""))
    assert await store.txn((Compare("a", 0),), (Put("b", b"", NO_LEASE),)) == TxnResult(False, revision)


async def test_a_put_without_a_lease_makes_the_record_stay(store: LeaseStore) -> None:
    lease = await store.grant_lease(9)
    created = await put(store, Put("a", b"1", lease))
    await put(store, Put("a", b"2"))
    await store.revoke_lease(lease)
    found = await store.get("a")
    assert found is not None
    assert (found.value, found.create_revision, found.lease) == (b"2", created, 0)


async def test_a_put_on_another_lease_moves_the_record_there(store: LeaseStore) -> None:
    first, second = await store.grant_lease(9), await store.grant_lease(9)
    await put(store, Put("a", b"", first))
    await put(store, Put("a", b"", second))
    await store.revoke_lease(first)
    assert await keys(store) == ["a"]
    await store.revoke_lease(second)
    assert await keys(store) == []


async def test_a_deleted_record_that_is_written_again_has_nothing_to_do_with_the_old_lease(store: LeaseStore) -> None:
    lease = await store.grant_lease(9)
    await put(store, Put("a", b"", lease))
    await put(store, Delete("a"))
    revision = await put(store, Put("a", b""))
    await store.revoke_lease(lease)
    assert (await keys(store), await store.revision()) == (["a"], revision)


async def outcome(store: LeaseStore, deleted: str, leases: dict[str, int]) -> TxnResult | None:
    """Of a transaction that deletes a key and puts others on leases; None when a lease is lost."""
    try:
        return await store.txn((), [Delete(deleted), *(Put(key, b"", lease) for key, lease in leases.items())])
    except LeaseLostError:
        return None


@pytest.mark.parametrize("seed", range(8))
async def test_random_operations_end_as_in_the_oracle(store: LeaseStore, seed: int) -> None:
    dice, oracle = random.Random(seed), OracleWorld().store
    ids = {0: 0}
    """By the oracle's leases, the store's."""
    seen: set[str] = set()
    for _ in range(150):
        kind = dice.choices(("grant", "revoke", "txn"), (1, 1, 8))[0]
        if kind == "grant":
            ids[await oracle.grant_lease(99)] = await store.grant_lease(99)
        elif kind == "revoke":
            revoked = dice.choice(list(ids)[-4:])
            await oracle.revoke_lease(revoked)
            await store.revoke_lease(ids[revoked])
        else:
            deleted, *written = dice.sample("abcdef", dice.randint(1, 4))
            leases = {key: dice.choice([0, *list(ids)[-4:]]) for key in written}
            expected = await outcome(oracle, deleted, leases)
            assert await outcome(store, deleted, {key: ids[lease] for key, lease in leases.items()}) == expected
            seen.add("lease lost" if expected is None else "written")
        assert await store.revision() == await oracle.revision()
        bound = [(found.key, found.mod_revision, ids[found.lease]) for found in await oracle.range("", limit=99)]
        assert [(found.key, found.mod_revision, found.lease) for found in await store.range("", limit=99)] == bound
    assert seen == {"lease lost", "written"}
    last = await oracle.revision()
    assert await told(store, 0, last) == await told(oracle, 0, last)


async def test_a_store_without_leases_refuses_to_put_on_one(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "control.db", on_fatal=print) as without:
        with pytest.raises(ValueError, match="no leases"):
            await without.txn((), (Put("a", b""), Put("b", b"", NO_LEASE)))
        assert await without.revision() == 0
