"""What is due is looked at, again when it could not be, and no more than once at a time."""

from __future__ import annotations

import pytest

from data_plane.following import LOOK_AGAIN_DELAY_S
from tests.unit.data_plane.house import on_virtual_time, serving, sleeping
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
            assert house.node._follower._failures == {}

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
