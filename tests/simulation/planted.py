"""Faults that are put into the program on purpose, each one rule of the protocol broken: the simulation must notice.

Each is a change of a few lines, made while a block runs. `FAULTS` names them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

from cluster.directory import Directory
from data_plane import wakes
from data_plane.activating import Guests
from data_plane.calls import InstanceCalls
from data_plane.engine import fold
from data_plane.engine.records import EventReceived, Record, SleepStarted
from data_plane.journal.store import PutRow, Row, Stamp, Wake
from data_plane.lane import Lane
from data_plane.node import Node
from data_plane.ownership_leased import LeasedOwnership, Term
from data_plane.sending import Sending
from data_plane.shard import Shard
from data_plane.shard_server import ShardServer
from data_plane.wakes import ShardWakes
from tests.simulation.loop import PROCESS

Plant = Callable[[], Any]
"""Gives a context manager: within it, the fault is there."""

FAULTS: dict[str, Plant] = {}


def planted(name: str) -> Callable[[Callable[[], Iterator[None]]], Callable[[], Iterator[None]]]:
    """Name a fault."""

    def note(plant: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        FAULTS[name] = contextmanager(plant)
        return plant

    return note


def instead(owner: Any, name: str, new: Any) -> Any:
    return mock.patch.object(owner, name, new)


# ---------------------------------------------------------------- the journal and its fence
@planted("stamps from the clock")
def stamps_from_the_clock() -> Iterator[None]:
    def stamp(shard: Shard) -> Stamp:
        shard._counter += 1
        return Stamp(0, PROCESS.get().wall_ms() * 1_000 + shard._counter)

    with instead(Shard, "stamp", stamp):
        yield


@planted("acknowledged before it is appended")
def acknowledged_before_it_is_appended() -> Iterator[None]:
    async def flushed(server: ShardServer, resident: Any) -> None:
        resident.settle()

    with instead(ShardServer, "flushed", flushed):
        yield


@planted("a longer row when it is sent again")
def a_longer_row_when_it_is_sent_again() -> Iterator[None]:
    first = Sending.start

    def start(sending: Any) -> None:
        mutation = sending._mutation
        if isinstance(mutation, PutRow) and mutation.row.records and getattr(mutation, "stamp", None) in sent:
            lost = list(mutation.row.records)[:-1]
            row = Row(mutation.row.position, lost, mutation.row.first, mutation.row.predecessor)
            sending._mutation = PutRow(mutation.key, row, mutation.stamp)
        if isinstance(mutation, PutRow):
            sent.add(mutation.stamp)
        first(sending)

    sent: set[Stamp] = set()
    with instead(Sending, "start", start):
        yield


@planted("an activation begins before the lane is drained")
def an_activation_before_the_lane_is_drained() -> Iterator[None]:
    real = ShardServer.written

    async def activate(guests: Any, resident: Any) -> None:
        async def written(server: ShardServer, of: Any) -> None:
            if of is not resident:
                await real(server, of)

        with instead(ShardServer, "written", written):
            await begin(guests, resident)

    begin = Guests._activate
    with instead(Guests, "_activate", activate):
        yield


# ---------------------------------------------------------------- wakes and the mark
@planted("a wake that is forgotten")
def a_wake_that_is_forgotten() -> Iterator[None]:
    with instead(ShardServer, "wake_now", lambda server, resident, then: then()):
        yield


@planted("a wake after its record")
def a_wake_after_its_record() -> Iterator[None]:
    real = ShardServer.wake_now

    def wake_now(server: ShardServer, resident: Any, then: Callable[[], None]) -> None:
        then()
        server.later(1.0, partial(real, server, resident, lambda: None))

    with instead(ShardServer, "wake_now", wake_now):
        yield


@planted("a wake that is not due now")
def a_wake_that_is_not_due_now() -> Iterator[None]:
    real = ShardWakes.put

    def put(wakes: Any, key: Any, due: int, *of: Any, **more: Any) -> None:
        real(wakes, key, due or wakes._clock() + 3_600_000, *of, **more)

    with instead(ShardWakes, "put", put):
        yield


@planted("no wake of one's own at load")
def no_wake_of_ones_own_at_load() -> Iterator[None]:
    async def covered_by(server: ShardServer, key: Any, due: int) -> Wake:
        return Wake(max(due, server.clock()) // wakes.BUCKET_MS, due, key)

    with instead(ShardServer, "_covered_by", covered_by):
        yield


@planted("a mark that does not wait for what is known")
def a_mark_that_does_not_wait() -> Iterator[None]:
    def lowest(of: Any) -> int:
        return int(min(of._read_to + 1, max(of._clock() // wakes.BUCKET_MS, of._mark)))

    with instead(ShardWakes, "_lowest", lowest):
        yield


# ---------------------------------------------------------------- ownership
@planted("a shard is released and its flag stays")
def a_shard_released_and_its_flag_stays() -> Iterator[None]:
    async def release(ownership: Any, term: Term) -> None:
        await ownership._delete(term.number, term.revision)
        await asyncio.sleep(5)
        await ownership._host.release(term.number, 5.0)
        ownership._drop(term)

    with instead(LeasedOwnership, "_release", release):
        yield


@planted("a lease is believed in for longer than it lives")
def a_lease_believed_in_for_longer() -> Iterator[None]:
    with mock.patch("cluster.lease.CLOCK_ERROR", -1.0):
        yield


@planted("a dropped shard is served")
def a_dropped_shard_is_served() -> Iterator[None]:
    def drop(ownership: Any, term: Term) -> None:
        ownership._terms.pop(term.number, None)

    def serve(node: Any, shard: Shard) -> Any:
        node._servers.pop(shard.number, None)
        return real(node, shard)

    real = Node.serve
    with (
        instead(LeasedOwnership, "_owned", lambda ownership, term: True),
        instead(LeasedOwnership, "_drop", drop),
        instead(Node, "serve", serve),
    ):
        yield


# ---------------------------------------------------------------- the engine
@planted("a deadline that is computed anew on replay")
def a_deadline_computed_anew() -> Iterator[None]:
    real = fold.replay

    def replay(records: Any) -> Any:
        now = PROCESS.get().wall_ms()
        return real(_moved(record, now) for record in records)

    with instead(fold, "replay", replay):
        yield


def _moved(record: Record, now: int) -> Record:
    if isinstance(record, SleepStarted):
        return SleepStarted(record.at, record.key, record.due - 2_500 if now > record.at + 3_000 else record.due)
    return record


@planted("a buffered event that a crash drops")
def a_buffered_event_that_a_crash_drops() -> Iterator[None]:
    real = fold.replay

    def replay(records: Any) -> Any:
        return real(record for record in records if not isinstance(record, EventReceived))

    with instead(fold, "replay", replay):
        yield


@planted("a cancelled wait that keeps its event")
def a_cancelled_wait_that_keeps_its_event() -> Iterator[None]:
    with instead(fold, "_put_back", lambda queue, event: None):
        yield


@planted("a result that is kept in no record")
def a_result_that_is_kept_in_no_record() -> Iterator[None]:
    real = Lane.add

    def add(lane: Lane, actions: Any) -> None:
        real(lane, [each for each in actions if not _is_result(each)])

    with instead(Lane, "add", add):
        yield


def _is_result(action: Any) -> bool:
    return type(getattr(action, "record", None)).__name__ == "StepCompleted"


# ---------------------------------------------------------------- calls and routes
@planted("a route that is remembered for ever")
def a_route_remembered_for_ever() -> Iterator[None]:
    def remembered(directory: Any, cache: Any, key: Any) -> Any:
        entry = cache.get(key)
        return entry[0] if entry is not None else None

    async def follow(directory: Any) -> None:
        await asyncio.sleep(3_600)

    with instead(Directory, "_remembered", remembered), instead(Directory, "_follow", follow):
        yield


@planted("a repeated create that makes another instance")
def a_repeated_create() -> Iterator[None]:
    with instead(InstanceCalls, "_generated_id", lambda calls, tenant, workflow, request_id: calls._mint()):
        yield
