"""Who is pinned to a version: in memory from the moment that it is decided, in lists from when it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from data_plane import pinned
from data_plane.assignment import shard_of, shards_of
from data_plane.journal.store import InstanceKey, PutRow, Row
from data_plane.peer_service import PeerServicer
from data_plane.pinned import in_memory, listed
from loader import messages as m
from loader.bundles.runtime import GuestRuntime
from rpc.internal.v1 import peers_pb2 as pb
from stepwell.engine.records import Created
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import FLOW, SHARD, TENANT, House, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until

OLD, NEW = Digest("sha256-1"), Digest("sha256-2")


async def counts(house: House, digest: Digest) -> tuple[int, int]:
    """In memory, and in the list."""
    return in_memory(house.node, TENANT, digest).unended, await listed(house.store, TENANT, digest, [FLOW])


@on_virtual_time
async def test_an_instance_counts_until_it_has_ended() -> None:
    async with serving() as house:
        key = await house.create()
        assert await counts(house, OLD) == (1, 1)
        assert await counts(house, NEW) == (0, 0)
        assert in_memory(house.node, TenantUid("tenant-2"), OLD).unended == 0
        assert await listed(house.store, TENANT, OLD, [WorkflowId("other")]) == 0
        guest = await house.guest(1)
        guest.say(m.Returned(1), payload=b"null")
        await house.asleep()
        assert await house.status(key) == "complete"
        assert await counts(house, OLD) == (0, 0)


@on_virtual_time
async def test_one_that_sleeps_or_is_paused_counts() -> None:
    async with serving() as house:
        await house.create("one")
        sleeping(await house.guest(1), 86_400_000)
        await house.asleep()
        assert await counts(house, OLD) == (0, 1)
        await house.calls.pause(InstanceKey(TENANT, FLOW, InstanceId("one")), "")
        assert (await counts(house, OLD))[1] == 1


@on_virtual_time
async def test_one_that_is_being_created_counts_before_anything_of_it_is_durable() -> None:
    async with serving() as house:
        house.store.holds = lambda mutation: True
        creating = asyncio.ensure_future(house.create())
        await until(lambda: len(house.store.held) > 0)
        assert await counts(house, OLD) == (1, 0)
        house.store.let_go()
        await creating
        assert await counts(house, OLD) == (1, 1)


@on_virtual_time
async def test_lists_are_read_page_by_page() -> None:
    before, pinned.LISTED_AT_ONCE = pinned.LISTED_AT_ONCE, 2  # type: ignore[misc]
    try:
        async with serving() as house:
            for number in range(5):
                house.routes.digest = NEW if number == 2 else OLD
                await house.create(f"i{number}")
            assert await listed(house.store, TENANT, OLD, [FLOW, WorkflowId("other")]) == 4
            assert await listed(house.store, TENANT, NEW, [FLOW]) == 1
    finally:
        pinned.LISTED_AT_ONCE = before  # type: ignore[misc]


class SlowToRead(MemoryStore):
    """A journal takes five seconds to read."""

    async def read_journal(self, key: InstanceKey, **more: Any) -> Sequence[Row]:
        await asyncio.sleep(5)
        return await super().read_journal(key, **more)


@on_virtual_time
async def test_a_create_that_was_long_on_its_way_goes_by_what_the_route_is_now() -> None:
    """Who retires a version waits for as long as creates may go by what they heard before, and no longer."""
    async with serving(SlowToRead()) as house:
        creating = asyncio.ensure_future(house.create())
        await asyncio.sleep(2)
        house.routes.digest = NEW
        key = await creating
        assert (await house.calls.get(key)).instance.digest == NEW


@on_virtual_time
async def test_two_slow_creates_of_one_id_make_one_instance() -> None:
    async with serving(SlowToRead()) as house:
        results = await asyncio.gather(house.create(), house.create(), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["AlreadyExistsError", "InstanceKey"]
        rows = [each for each in house.store.log if isinstance(each, PutRow)]
        assert sum(isinstance(record, Created) for each in rows for record in each.row.records) == 1


@on_virtual_time
async def test_a_node_says_for_which_of_the_tenants_shards_its_count_is_true() -> None:
    async def check(tenant: TenantUid, digest: Digest) -> None:
        raise NotImplementedError

    async def runtime() -> GuestRuntime:
        raise NotImplementedError

    async with serving() as house:
        await house.create()
        alone = PeerServicer(house.node, house.calls.bindings, check, runtime, 1)
        asked = pb.CountInMemoryRequest(tenant=TENANT, digest=OLD)
        answer = await alone.CountInMemory(asked, None)
        assert ([*answer.tenants_shards], [*answer.served_shards], answer.count) == ([SHARD], [SHARD], 1)
        house.owned = False
        assert [*(await alone.CountInMemory(asked, None)).served_shards] == []
        asked_for_list = pb.CountListedRequest(tenant=TENANT, digest=OLD, workflows=[FLOW])
        assert (await alone.CountListed(asked_for_list, None)).count == 1


def test_a_tenants_shards_are_those_of_all_ids() -> None:
    for uid in (TenantUid("ab"), TenantUid("ab-4"), TenantUid("ab-1024")):
        shards = shards_of(uid, 64)
        assert {shard_of(uid, InstanceId(f"i{number}"), 64) for number in range(2_000)} == shards
