"""Faults of schedules that are put into the program on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

from cluster.codec import decode_value
from cluster.records import Schedules
from data_plane import ticking
from data_plane.ticking import Ticker
from data_plane.ticks import tick_id
from stepwell.names import InstanceId
from tests.simulation.planting import instead, planted


@planted("a time that is marked before its instance")
def a_time_that_is_marked_before() -> Iterator[None]:
    async def tick(ticker: Any, name: Any, active: Any, ticking: Any, at_ms: int, done: Any, marked: Any) -> None:
        await ticker._mark(name, active, ticking, at_ms, done, marked)
        await ticker._create(name, ticking, at_ms)

    with instead(Ticker, "_tick", tick):
        yield


@planted("an instance whose id is not its time's")
def an_instance_whose_id_is_not_its_times() -> Iterator[None]:
    def any_id(*of: Any) -> InstanceId:
        return InstanceId(f"{tick_id(*of)}-{uuid4().hex[:8]}")

    with instead(ticking, "tick_id", any_id):
        yield


@planted("a pause that is not looked at")
def a_pause_that_is_not_looked_at() -> Iterator[None]:
    def decoded(kind: Any, stored: Any) -> Any:
        found = decode_value(kind, stored)
        if kind is not Schedules:
            return found
        return replace(found, workflows=tuple(each._replace(paused=False) for each in found.workflows))

    with instead(ticking, "decode_value", decoded):
        yield


@planted("a shard that comes and is not looked through")
def a_shard_that_comes_and_is_not_looked_through() -> Iterator[None]:
    async def nothing(ticker: Any) -> None:
        await asyncio.sleep(0)

    with instead(Ticker, "_scan_once", nothing):
        yield
