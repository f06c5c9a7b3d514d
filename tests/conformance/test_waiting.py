"""Sleeps and waits for events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepwell.errors import WrongStateError
from stepwell.v1 import instances_pb2 as pb
from tests.conformance.calls import ONE_SERVER, Calls

pytestmark = ONE_SERVER


@pytest.mark.parametrize("duration", [300, "0.3 seconds"], ids=["number", "text"])
async def test_a_sleep_takes_milliseconds_or_words(calls: Calls, duration: Any) -> None:
    assert 290 <= await calls.output("waiting.sleep", duration=duration) < 5_000


@pytest.mark.parametrize("unit", ["second", "minutes", "hour", "days", "week", "months", "year"])
async def test_the_words_are_second_to_year_with_or_without_s(calls: Calls, unit: str) -> None:
    name = await calls.create("waiting.sleep", duration=f"1 {unit}")
    if unit != "second":
        await calls.until(name, pb.INSTANCE_STATUS_WAITING)
        await calls.instances.terminate(name)
    else:
        assert await calls.instances.result(name) >= 990


@pytest.mark.parametrize("when", ["aware", "number"])
async def test_sleep_until_takes_a_datetime_or_milliseconds_since_the_epoch(calls: Calls, when: str) -> None:
    assert 290 <= await calls.output("waiting.sleep_until", when=when) < 5_000


async def test_a_datetime_without_zone_is_utc(calls: Calls) -> None:
    assert 290 <= await calls.output("waiting.sleep_until", when="naive") < 5_000


async def test_sleep_until_a_time_that_has_passed_is_no_sleep(calls: Calls) -> None:
    assert await calls.output("waiting.sleep_until", when="past") < 5_000


async def test_a_sleep_that_is_not_awaited_does_not_happen(calls: Calls) -> None:
    name = await calls.create("waiting.not_awaited")
    assert await calls.instances.result(name) == "done"
    assert await calls.steps(name) == []


async def test_an_event_is_payload_type_and_timestamp(calls: Calls) -> None:
    name = await calls.create("waiting.wait")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "approval", {"by": "Ann"})
    assert await calls.instances.result(name) == [{"by": "Ann"}, "approval", True, {"by": "Ann"}]


async def test_events_that_come_before_their_wait_are_kept_in_order(calls: Calls) -> None:
    name = await calls.create("waiting.two", ms=200)
    await calls.instances.send_event(name, "order", 1)
    await calls.instances.send_event(name, "order", 2)
    assert await calls.instances.result(name) == [1, 2]


async def test_an_event_of_another_type_is_not_taken(calls: Calls) -> None:
    name = await calls.create("waiting.wait")
    await calls.instances.send_event(name, "refusal", 1)
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "approval", 2)
    assert (await calls.instances.result(name))[0] == 2


async def test_the_first_of_several_waits_goes_on(calls: Calls) -> None:
    name = await calls.create("waiting.either")
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "no")
    assert await calls.instances.result(name) == ["no"]


async def test_a_wait_that_times_out_raises_where_it_can_be_caught(calls: Calls) -> None:
    assert await calls.output("waiting.in_vain") == ["EventTimeoutError", True]


async def test_a_timeout_that_nobody_catches_ends_the_instance(calls: Calls) -> None:
    failure = await calls.failure("waiting.uncaught")
    assert (failure.status, failure.type) == ("errored", "EventTimeoutError")


async def test_a_wait_without_timeout_is_for_ever(calls: Calls) -> None:
    name = await calls.create("waiting.wait", timeout=None)
    await calls.until(name, pb.INSTANCE_STATUS_WAITING)
    await calls.instances.send_event(name, "approval", 1)
    assert (await calls.instances.result(name))[0] == 1


async def test_an_event_for_an_instance_that_has_ended_is_refused(calls: Calls) -> None:
    name = await calls.create("waiting.not_awaited")
    await calls.instances.result(name)
    with pytest.raises(WrongStateError):
        await calls.instances.send_event(name, "approval")


async def test_many_senders_lose_nothing(calls: Calls) -> None:
    name = await calls.create("waiting.two", ms=0)
    await asyncio.gather(*(calls.instances.send_event(name, "order", number) for number in range(2)))
    assert sorted(await calls.instances.result(name)) == [0, 1]
