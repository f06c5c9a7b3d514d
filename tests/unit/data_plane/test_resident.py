"""An instance that was forgotten stays forgotten: what still comes for it wakes nothing."""

from __future__ import annotations

import asyncio

from loader import messages as m
from stepwell.engine.records import EventReceived, SleepFired
from tests.unit.data_plane.house import on_virtual_time, serving


@on_virtual_time
async def test_a_guests_late_word_does_not_make_a_forgotten_instance_write_again() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Sleep(1, "nap", 1, 10_000, None), m.Idle(1, 0))
        await house.asleep()
        guest.say(m.Closed(1))
        await house.calls.send_event(key, "approve", b'"yes"', "")
        await house.guest(2)
        await asyncio.sleep(1)
        kinds = [type(record) for record in house.records(key)]
        assert kinds.count(EventReceived) == 1
        assert kinds.count(SleepFired) == 1
        assert len(house.loader.leases) == 2
