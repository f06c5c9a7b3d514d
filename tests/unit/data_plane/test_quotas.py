"""What a tenant may have and do on a node: refused before it has any effect, and counted as it comes and goes."""

from __future__ import annotations

import asyncio

import pytest

from data_plane.node import NodeSettings
from data_plane.quotas import TenantLimits
from loader import messages as m
from stepwell.engine.records import Paused
from stepwell.errors import LimitExceededError, RateLimitedError
from stepwell.names import TenantUid
from tests.unit.data_plane.fakes import MemoryStore
from tests.unit.data_plane.house import House, on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

OTHER = TenantUid("tenant-2")


@on_virtual_time
async def test_creates_over_the_rate_are_refused_and_welcome_a_moment_later() -> None:
    async with serving(tenant_limits=TenantLimits(creates_a_second_max=2)) as house:
        await house.create("one")
        await house.create("two")
        with pytest.raises(RateLimitedError) as refused:
            await house.create("three")
        assert refused.value.metadata == {"limit": "creates_a_second_max", "value": "2", "seen": "3"}
        await house.create("one", tenant=OTHER)
        await asyncio.sleep(0.5)
        await house.create("three")


@on_virtual_time
async def test_a_create_is_refused_when_too_many_wait_for_their_turn_and_leaves_nothing() -> None:
    async with serving(tenant_limits=TenantLimits(activations_max=1, queued_max=2)) as house:
        for name in ("one", "two", "three"):
            await house.create(name)
        with pytest.raises(LimitExceededError) as refused:
            await house.create("four")
        assert refused.value.metadata == {"limit": "queued_max", "value": "2", "seen": "3"}
        assert [key.instance for key in house.store.rows] == ["one", "two", "three"]


@on_virtual_time
async def test_a_repeated_create_is_answered_although_no_other_would_be() -> None:
    async with serving(tenant_limits=TenantLimits(activations_max=1, queued_max=1)) as house:
        await house.create("one", request_id="r-1")
        await house.create("two", request_id="r-2")
        assert await house.create("two", request_id="r-2") == await house.create("two", request_id="r-2")


@on_virtual_time
async def test_tenants_take_turns_when_all_places_are_taken() -> None:
    async with serving(settings=NodeSettings(activations_max=1)) as house:
        for number in range(5):
            await house.create(f"flood-{number}")
        await house.create("alone", tenant=OTHER)
        for number in (1, 2, 3):
            guest = await house.guest(number)
            guest.say(m.Returned(1), m.Closed(1), payload=b"null")
        await until(lambda: len(house.loader.leases) > 3)
        tenants = [key.tenant for key, rows in house.store.rows.items() if len(rows) > 1]
        assert OTHER in tenants, "it waited behind one instance of the other's, and not behind five"


@on_virtual_time
async def test_a_tenant_that_has_stored_too_much_is_paused_until_it_deletes() -> None:
    async with serving(tenant_limits=TenantLimits(stored_bytes_max=2_000)) as house:
        old = await house.create("old")
        first = await house.guest(1)
        first.say(m.Returned(1), m.Closed(1), payload=b'"' + b"x" * 1_000 + b'"')
        await house.asleep()
        key = await house.create("new")
        guest = await house.guest(2)
        guest.say(m.Result(1, "fetch", 1, 1, 5), payload=b'"' + b"y" * 1_000 + b'"')
        await until(lambda: guest.told("stop"))
        paused = house.records(key)[-1]
        assert isinstance(paused, Paused)
        assert paused.failure is not None
        assert paused.failure.type == "LimitExceededError"
        assert "may 2,000: delete instances that have ended, then resume" in paused.failure.message
        guest.say(m.Closed(1))
        await _refused(house)
        await house.calls.delete(old, "")
        await house.calls.resume(key, "")
        third = await house.guest(3)
        third.say(m.Returned(1), m.Closed(1), payload=b"null")
        await until(lambda: "complete" in [put.listing.status for put in house.store.listings.values()])


@on_virtual_time
async def test_what_was_stored_before_a_restart_counts() -> None:
    store, limits = MemoryStore(), TenantLimits(stored_bytes_max=1_000)
    async with serving(store, tenant_limits=limits) as house:
        await house.create("old")
        guest = await house.guest(1)
        guest.say(m.Returned(1), m.Closed(1), payload=b'"' + b"x" * 1_000 + b'"')
        await house.asleep()
    async with serving(store, 2, tenant_limits=limits) as house:
        await _refused(house)
        await house.create("other", tenant=OTHER)


async def _refused(house: House) -> None:
    with pytest.raises(LimitExceededError) as refused:
        await house.create("more")
    assert refused.value.metadata["limit"] == "stored_bytes_max"
