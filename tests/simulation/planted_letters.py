"""Faults of events by id and of broadcasts that are put into the program on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from data_plane import broadcasts, views
from data_plane.instance_service import InstanceServicer
from stepwell.engine import fold, receiving
from stepwell.engine.instance import Instance
from stepwell.engine.records import EventReceived, Record
from stepwell.v1 import instances_pb2 as pb
from tests.simulation.planting import instead, planted


@planted("an event's id that a crash forgets", first=15)
def an_events_id_that_a_crash_forgets() -> Iterator[None]:
    real = fold.replay

    def replay(records: Iterable[Record]) -> Instance:
        return real(replace(each, event_id="") if isinstance(each, EventReceived) else each for each in records)

    with instead(fold, "replay", replay):
        yield


@planted("an event's id that is looked at alone", first=15)
def an_events_id_that_is_looked_at_alone() -> Iterator[None]:
    """And not what else the event says."""
    with instead(receiving, "_body", lambda event: event.event_type):
        yield


@planted("a dead event that is sent again as another each time", first=15)
def a_dead_event_that_is_sent_again_as_another() -> Iterator[None]:
    with instead(views, "resend_id", lambda instance, event: ""):
        yield


@planted("a broadcast to those who do not wait", first=15)
def a_broadcast_to_those_who_do_not_wait() -> Iterator[None]:
    with instead(receiving, "_is_awaited", lambda instance, event_type: True):
        yield


@planted("a broadcast without its id", first=15)
def a_broadcast_without_its_id() -> Iterator[None]:
    real = broadcasts.sent

    async def sent(request: pb.BroadcastEventRequest, *of: Any) -> pb.BroadcastEventResponse:
        without = pb.BroadcastEventRequest()
        without.CopyFrom(request)
        without.event_id = ""
        return await real(without, *of)

    with instead(broadcasts, "sent", sent):
        yield


@planted("a broadcast that ends with its first page", first=15)
def a_broadcast_that_ends_with_its_first_page() -> Iterator[None]:
    real = InstanceServicer.broadcast

    async def broadcast(*of: Any) -> pb.BroadcastEventResponse:
        answer = await real(*of)
        answer.next_page_token = ""
        return answer

    with instead(InstanceServicer, "broadcast", broadcast):
        yield


@planted("a broadcast that counts those whom it does not reach", first=15)
def a_broadcast_that_counts_those_whom_it_does_not_reach() -> Iterator[None]:
    real = broadcasts.sent

    async def sent(*of: Any) -> pb.BroadcastEventResponse:
        answer = await real(*of)
        answer.sent += answer.failed
        answer.failed = 0
        del answer.failures[:]
        return answer

    with instead(broadcasts, "sent", sent):
        yield
