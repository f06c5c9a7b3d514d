"""A cancel as a caller meets it: answered once durable, told to the guest, shown, and over when its grace is."""

from __future__ import annotations

import pytest

from loader import messages as m
from stepwell.engine.records import CancelRequested
from stepwell.errors import NotFoundError, WrongStateError
from tests.unit.data_plane.house import on_virtual_time, serving
from tests.unit.data_plane.virtual_loop import until

LET_OUT = m.GuestError("asyncio.exceptions", "CancelledError", "the instance was cancelled: enough")


@on_virtual_time
async def test_the_guest_is_told_and_what_it_lets_out_terminates() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Wait(1, "paid", 1, "paid", None))
        seen = await house.calls.cancel(key, "enough", "")
        assert seen.instance.cancelling is not None
        await until(lambda: guest.told("completion"))
        (_, act, kind, name, count, _, outcome, detail) = guest.told("completion")[0]
        assert (act, kind, name, count, outcome, detail) == (1, "cancel", "", 1, "cancelled", "enough")
        guest.say(m.Cancel(1, "waitForEvent", "paid", 1), m.Raised(1, LET_OUT), m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "terminated"
        with pytest.raises(WrongStateError):
            await house.calls.cancel(key, "enough", "")


@on_virtual_time
async def test_one_that_hibernates_is_woken_to_hear_it() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Wait(1, "paid", 1, "paid", None), m.Idle(1, 0))
        await until(lambda: guest.told("stop"))
        guest.say(m.Closed(1))
        await house.asleep()
        await house.calls.cancel(key, "", "c")
        await house.calls.cancel(key, "", "c")
        again = await house.guest(2)
        await until(lambda: again.told("completion"))
        assert again.told("start")[0][4:] == [1, [["waitForEvent", "paid", 1]]]
        assert again.told("completion")[0][6] == "cancelled"
        records = house.records(key)
        assert sum(isinstance(each, CancelRequested) for each in records) == 1


@on_virtual_time
async def test_a_guest_that_does_not_end_is_stopped_when_the_grace_is_over() -> None:
    async with serving() as house:
        key = await house.create()
        guest = await house.guest(1)
        guest.say(m.Wait(1, "paid", 1, "paid", None))
        await house.calls.cancel(key, "", "")
        await until(lambda: guest.told("stop"))
        guest.say(m.Closed(1))
        await house.asleep()
        assert await house.status(key) == "terminated"


@on_virtual_time
async def test_what_is_not_there_can_not_be_cancelled() -> None:
    async with serving() as house:
        key = (await house.create())._replace(instance="nobody")  # type: ignore[arg-type]
        with pytest.raises(NotFoundError):
            await house.calls.cancel(key, "", "")
