"""What is due is looked at, again when it could not be, and no more than once at a time."""

from __future__ import annotations

import pytest

from data_plane.following import LOOK_AGAIN_DELAY_S
from data_plane.loads import LOADS_PER_TENANT_MAX, QUEUED_PER_TENANT_MAX
from data_plane.quotas import TenantLimits
from stepwell.names import TenantUid
from tests.unit.data_plane.house import TENANT, on_virtual_time, serving, sleeping
from tests.unit.data_plane.virtual_loop import until


@pytest.mark.parametrize("failures", [1, 3])
def test_a_journal_that_could_not_be_read_is_read_again_soon(failures: int) -> None:
    @on_virtual_time
    async def test() -> None:
        async with serving() as house:
            await house.create()
            sleeping(await house.guest(1), 90_000)
            due = house.node.clock() + 90_000
            await house.asleep()
            house.store.reads_fail_next = failures
            await house.guest(2)
            late_s = (house.node.clock() - due) / 1000
            assert late_s < sum(LOOK_AGAIN_DELAY_S[:failures]) + 1
            assert house.server._follower._failures == {}

    test()


@on_virtual_time
async def test_a_journal_that_stays_unreadable_is_tried_by_one_and_not_in_a_loop() -> None:
    async with serving() as house:
        await house.create()
        sleeping(await house.guest(1), 90_000)
        await house.asleep()
        began = house.node.clock()
        house.store.reads_fail_next = 10_000
        await until(lambda: house.node.clock() > began + 3_600_000, within_s=7_200)
        tried = 10_000 - house.store.reads_fail_next
        assert 50 < tried < 70, "once a minute, after the first"
        house.store.reads_fail_next = 0
        await house.guest(2)


@on_virtual_time
async def test_one_tenants_herd_of_sleepers_neither_fills_memory_nor_holds_up_another_tenant() -> None:
    other = TenantUid("tenant-2")
    limits = TenantLimits(activations_max=10, creates_a_second_max=10_000)
    async with serving(tenant_limits=limits) as house:
        awake = 0

        async def put_to_sleep(number: int, tenant: TenantUid, due_ms: int) -> None:
            nonlocal awake
            await house.create(f"i-{number}", tenant=tenant)
            awake += 1
            sleeping(await house.guest(awake), due_ms)

        due = house.node.clock() + 90_000
        for number in range(300):
            await put_to_sleep(number, TENANT, due - house.node.clock())
        await put_to_sleep(300, other, due + 1 - house.node.clock())
        await house.asleep()
        most = 0

        def late() -> bool:
            nonlocal most
            most = max(most, house.node.resident_count)
            return len(house.loader.leases) > awake + 10

        await until(late)
        began = [key.tenant for key, rows in house.store.rows.items() if len(rows) > 3]
        assert other in began, "it did not wait for the three hundred"
        assert most <= 2 * (10 + QUEUED_PER_TENANT_MAX + LOADS_PER_TENANT_MAX)
