"""Nodes share the shards out among those that live, one term at a time, whatever becomes of their requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.lease import CLOCK_ERROR, TTL_S
from cluster.records import ShardOwner
from cluster.store import Compare, Delete, Operation, Put, TxnResult
from data_plane.ownership_leased import RELEASE_WITHIN_S, LeasedOwnership
from data_plane.shard import Shard
from data_plane.wakes import EpochSupersededError
from stepwell.errors import UnavailableError
from tests.contract.memory_store import MemoryStore
from tests.unit.data_plane.house import on_virtual_time
from tests.unit.data_plane.virtual_loop import until

SHARDS = 8


class Host:
    """`ShardHost` that notes what it is lent; `refusals` are raised first."""

    def __init__(self) -> None:
        self.shards: dict[int, Shard] = {}
        self.log: list[str] = []
        self.refusals: list[Exception] = []

    async def serve(self, shard: Shard) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        assert shard.owned()
        self.shards[shard.number] = shard
        self.log.append(f"serve {shard.number} in {shard.epoch}")

    async def release(self, number: int, within_s: float) -> None:
        assert within_s == RELEASE_WITHIN_S
        assert self.shards[number].owned(), "what runs must be able to end in good order"
        await asyncio.sleep(0.1)
        self.log.append(f"release {number}")

    def drop(self, number: int) -> None:
        shard = self.shards.pop(number, None)
        if shard is not None:
            assert not shard.owned()
            self.log.append(f"drop {number}")


class LateStore(MemoryStore):
    """Claims are answered as unknown while `late` is set, and applied when `land` is called; or at once, after all that
    came before, when `applies` is set too."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop().time)
        self.late = False
        self.applies = False
        self.is_deaf_to_leavers = False
        """Nobody's membership can be deleted."""
        self._waiting: list[tuple[Sequence[Compare], Sequence[Operation]]] = []

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        if self.is_deaf_to_leavers and Delete(keys.member("a")) in operations:
            raise UnavailableError("it timed out")
        is_claim = any(isinstance(each, Put) and each.key.startswith(keys.OWNERS) for each in operations)
        if not (self.late and is_claim):
            return await super().txn(compares, operations)
        if self.applies:
            await self.land()
            await super().txn(compares, operations)
        else:
            self._waiting.append((compares, operations))
        raise UnavailableError("it timed out")

    async def land(self) -> None:
        for compares, operations in self._waiting:
            await super().txn(compares, operations)
        self._waiting.clear()


class Member:
    def __init__(self, store: MemoryStore, name: str) -> None:
        attempts = count(1)
        self.host = Host()
        self.ownership = LeasedOwnership(
            store,
            node=name,
            address=f"{name}:1",
            shard_count=SHARDS,
            boottime=asyncio.get_running_loop().time,
            mint=lambda: f"{name}-{next(attempts)}",
        )

    @property
    def numbers(self) -> set[int]:
        return set(self.host.shards)


@asynccontextmanager
async def cluster(store: MemoryStore, *names: str) -> AsyncIterator[list[Member]]:
    """Members that die together at the end of the block."""
    async with asyncio.TaskGroup() as tasks:
        members = [Member(store, name) for name in names]
        for member in members:
            await member.ownership.start(member.host, tasks)
        expiring = tasks.create_task(expire(store))
        try:
            yield members
        finally:
            expiring.cancel()
            for member in members:
                for task in [*member.ownership._running, *member.ownership._busy.values()]:
                    task.cancel()


async def expire(store: MemoryStore) -> None:
    while True:
        await asyncio.sleep(0.5)
        store.end_leases()


def store_now() -> LateStore:
    return LateStore()


async def is_known_to_own_what_it_serves(member: Member, store: MemoryStore) -> None:
    for number, shard in member.host.shards.items():
        assert shard.owned()
        stored = await store.get(keys.shard_owner(number))
        assert stored is not None, "it is served, and nobody is known to own it"
        assert decode_value(ShardOwner, stored).epoch == shard.epoch


@on_virtual_time
async def test_a_node_alone_owns_every_shard() -> None:
    async with cluster(store_now(), "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        assert {shard.epoch for shard in a.host.shards.values()} == {1}
        await until(lambda: a.ownership.owner_of(3) == "a:1")


@on_virtual_time
async def test_a_node_that_joins_is_given_its_part_in_good_order() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        async with cluster(store, "b") as [b]:
            await until(lambda: a.numbers and b.numbers and len(a.numbers) + len(b.numbers) == SHARDS)
            assert not a.numbers & b.numbers
            assert {shard.epoch for shard in b.host.shards.values()} == {2}
            moved = sorted(b.numbers)
            assert sorted(each for each in a.host.log if "release" in each) == [f"release {n}" for n in moved]
            await until(lambda: a.ownership.owner_of(moved[0]) == "b:1")


@on_virtual_time
async def test_a_node_that_stops_hands_over_at_once() -> None:
    store = store_now()
    async with cluster(store, "a", "b") as [a, b]:
        await until(lambda: a.numbers and b.numbers and len(a.numbers) + len(b.numbers) == SHARDS)
        began = asyncio.get_running_loop().time()
        await a.ownership.stop(5.0)
        assert a.numbers == set()
        await until(lambda: len(b.numbers) == SHARDS)
        assert asyncio.get_running_loop().time() - began < 2.0


@on_virtual_time
async def test_a_node_that_can_not_say_that_it_stops_releases_in_good_order_all_the_same() -> None:
    store = store_now()
    store.is_deaf_to_leavers = True
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        await a.ownership.stop(5.0)
        assert sorted(each for each in a.host.log if "release" in each) == [f"release {n}" for n in range(SHARDS)]


@on_virtual_time
async def test_a_node_that_dies_is_succeeded_once_its_lease_ends() -> None:
    store = store_now()
    async with cluster(store, "b") as [b]:
        async with cluster(store, "a") as [a]:
            await until(lambda: a.numbers and b.numbers and len(a.numbers) + len(b.numbers) == SHARDS)
            died = asyncio.get_running_loop().time()
        await until(lambda: len(b.numbers) == SHARDS)
        assert TTL_S - 3 < asyncio.get_running_loop().time() - died < TTL_S + 3


@on_virtual_time
async def test_nothing_is_owned_for_longer_than_the_lease_surely_lives() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        shards = list(a.host.shards.values())
        loop = asyncio.get_running_loop()
        store.broken = True
        began = loop.time()
        await until(lambda: not any(shard.owned() for shard in shards))
        assert loop.time() - began <= TTL_S * (1 - CLOCK_ERROR)
        await until(lambda: a.numbers == set())
        store.broken = False
        await until(lambda: len(a.numbers) == SHARDS)
        assert not any(shard.owned() for shard in shards)
        assert all(shard.epoch == 2 for shard in a.host.shards.values())


@on_virtual_time
async def test_a_claim_without_an_answer_is_read_back() -> None:
    store = store_now()
    store.late = store.applies = True
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        assert {shard.epoch for shard in a.host.shards.values()} == {1}


@on_virtual_time
async def test_a_claim_that_is_applied_after_it_was_given_up_is_taken_back() -> None:
    store = store_now()
    store.late = True
    async with cluster(store, "a") as [a]:
        await asyncio.sleep(5)
        assert a.numbers == set()
        store.late = False
        await store.land()
        await until(lambda: len(a.numbers) == SHARDS)
        await is_known_to_own_what_it_serves(a, store)


@on_virtual_time
async def test_what_an_earlier_try_wrote_on_an_earlier_lease_is_not_served() -> None:
    """Nor is a try that is unknown taken for the one before it: that one's record goes when its lease does."""
    store = store_now()
    store.late = True
    async with cluster(store, "a") as [a]:
        await asyncio.sleep(2)
        a.ownership._lease._give_up()
        store.applies = True
        await until(lambda: len(a.numbers) == SHARDS)
        await asyncio.sleep(TTL_S + 2)
        await is_known_to_own_what_it_serves(a, store)


@on_virtual_time
async def test_another_starts_record_of_a_shard_is_never_served() -> None:
    store = store_now()
    lease = await store.grant_lease(TTL_S)
    await store.txn((), (Put(keys.shard_owner(2), encode(ShardOwner("a", 7, "stranger")), lease),))
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        assert a.host.shards[2].epoch == 1


@on_virtual_time
async def test_an_epoch_that_the_journal_knows_is_claimed_above() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        a.host.refusals = [EpochSupersededError(0, 41, 1)]
        await until(lambda: len(a.numbers) == SHARDS)
        assert sorted(shard.epoch for shard in a.host.shards.values()) == [1] * (SHARDS - 1) + [42]


@on_virtual_time
async def test_a_takeover_that_fails_is_tried_again_in_a_later_epoch() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        a.host.refusals = [OSError("the journal can't be read")]
        await until(lambda: len(a.numbers) == SHARDS)
        assert sorted(shard.epoch for shard in a.host.shards.values()) == [1] * (SHARDS - 1) + [2]


@on_virtual_time
async def test_nothing_is_claimed_on_a_lease_that_has_ended() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        a.ownership._lease._give_up()
        assert await a.ownership._claimed(0) is None


@on_virtual_time
async def test_how_long_the_lease_lasts_is_known_while_it_is_kept_alive_and_once_it_is_not() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        assert a.ownership.lease_left_s() == 0.0
        await until(lambda: a.numbers)
        for _ in range(3):
            await asyncio.sleep(5)
            assert TTL_S / 2 < a.ownership.lease_left_s() <= TTL_S
        a.ownership._running[0].cancel()
        await asyncio.sleep(TTL_S)
        assert a.ownership.lease_left_s() == 0.0


@on_virtual_time
async def test_nothing_is_claimed_while_an_import_is_under_way() -> None:
    store = store_now()
    await store.txn((), (Put(keys.IMPORT, b"begun"),))
    async with cluster(store, "a") as [a]:
        await asyncio.sleep(60)
        assert a.numbers == set()
        await store.txn((), (Delete(keys.IMPORT),))
        await until(lambda: len(a.numbers) == SHARDS)


@on_virtual_time
async def test_a_claim_that_did_not_hear_of_an_import_fails() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        await store.txn((), (Put(keys.IMPORT, b"begun"), Delete(keys.shard_owner(0))))
        assert await a.ownership._claimed(0) is None
        assert await store.get(keys.shard_owner(0)) is None


@on_virtual_time
async def test_what_is_owned_stays_owned_when_an_import_is_tried() -> None:
    store = store_now()
    async with cluster(store, "a") as [a]:
        await until(lambda: len(a.numbers) == SHARDS)
        await store.txn((), (Put(keys.IMPORT, b"begun"),))
        await asyncio.sleep(5)
        await store.txn((), (Delete(keys.IMPORT),))
        await asyncio.sleep(5)
        assert {shard.epoch for shard in a.host.shards.values()} == {1}
