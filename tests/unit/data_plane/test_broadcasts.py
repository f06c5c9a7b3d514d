"""An event to all instances that wait for it: each decides by itself, so many at once, and all are counted."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from google.protobuf.empty_pb2 import Empty

from data_plane import broadcasts
from data_plane.broadcasts import AT_ONCE_MAX, FAILURES_MAX
from loader import messages as m
from stepwell.errors import LimitExceededError, NotFoundError, NotWaitingError, WrongStateError
from stepwell.v1 import instances_pb2 as pb
from tests.unit.data_plane.house import on_virtual_time, serving

CONTEXT = cast(Any, None)
REQUEST = pb.BroadcastEventRequest(type="go", payload=b"1", event_id="broadcast-1")
ERRORS = {
    "waits": None,
    "ended": WrongStateError("it has ended"),
    "does not wait": NotWaitingError("it does not wait"),
    "is gone": NotFoundError("it is gone"),
    "is full": LimitExceededError("it is full", limit="records_max"),
}


async def broadcast(*to: str) -> pb.BroadcastEventResponse:
    async def send(request: pb.SendEventRequest, context: object) -> Empty:
        assert request.only_if_waiting
        if error := ERRORS[request.name]:
            raise error
        return Empty()

    return await broadcasts.sent(REQUEST, to, CONTEXT, send)


async def test_each_instance_is_counted_by_what_it_answers() -> None:
    response = await broadcast(*ERRORS, "waits")
    assert (response.sent, response.skipped, response.failed) == (2, 3, 1)
    (failure,) = response.failures
    assert (failure.name, failure.error.reason) == ("is full", "LIMIT_EXCEEDED")
    assert failure.error.metadata["limit"] == "records_max"
    assert await broadcast() == pb.BroadcastEventResponse()


async def test_only_so_many_failures_are_told_and_all_are_counted() -> None:
    response = await broadcast(*["is full"] * (FAILURES_MAX + 7))
    assert (response.failed, len(response.failures)) == (FAILURES_MAX + 7, FAILURES_MAX)


async def test_only_so_many_are_sent_to_at_once() -> None:
    waiting, most = 0, 0

    async def send(request: pb.SendEventRequest, context: object) -> Empty:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0)
        waiting -= 1
        return Empty()

    response = await broadcasts.sent(REQUEST, [str(number) for number in range(100)], CONTEXT, send)
    assert (response.sent, most) == (100, AT_ONCE_MAX)


async def test_a_fault_of_ours_is_no_outcome() -> None:
    async def send(request: pb.SendEventRequest, context: object) -> Empty:
        raise RuntimeError("a fault")

    with pytest.raises(ExceptionGroup):
        await broadcasts.sent(REQUEST, ["a", "b"], CONTEXT, send)


@on_virtual_time
async def test_an_owner_decides_at_once_who_waits_and_repeats_are_the_same_event() -> None:
    async with serving() as house:
        keys = []
        for number, event_type in enumerate(("go", "other"), 1):
            keys.append(await house.create(event_type))
            guest = await house.guest(number)
            guest.say(m.Wait(1, "approval", 1, event_type, None), m.Idle(1, 0))
            guest.say(m.Closed(1))
        await house.asleep()
        with pytest.raises(NotWaitingError):
            await house.calls.send_event(keys[1], "go", b"1", "", "broadcast-1", only_if_waiting=True)
        for _ in range(2):
            await house.calls.send_event(keys[0], "go", b"1", "", "broadcast-1", only_if_waiting=True)
        counts = [(await house.calls.get(key)).instance.events_received for key in keys]
        assert counts == [1, 0]
