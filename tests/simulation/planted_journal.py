"""Faults in the journal's rules, put in on purpose: what is durable, in which order, and whose rows count.

Each is one rule of `data_plane.lane`, `data_plane.shard_server` or `data_plane.journal.chain`, left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from data_plane import removals
from data_plane.activating import Guests
from data_plane.journal import chain_reading
from data_plane.journal.store import PutRow, Row, Stamp
from data_plane.lane import Lane
from data_plane.listings import Listings
from data_plane.resident import Resident
from data_plane.sending import Sending
from data_plane.shard import Shard
from data_plane.shard_server import ShardServer
from stepwell.engine.actions import Append
from stepwell.engine.events import CreateRequested
from stepwell.engine.records import Deleting
from tests.simulation.circumstances import FEUD
from tests.simulation.loop import PROCESS
from tests.simulation.planting import instead, planted


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


@planted("an activation begins before the lane is drained", first=22)
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


@planted("no check after the acknowledgement", FEUD)
def no_check_after_the_acknowledgement() -> Iterator[None]:
    def written(sending: Any, error: Exception | None) -> None:
        if error is None:
            sending._then()
        elif sending._shard.owned():
            sending._later(sending._delay_s, sending.start)
        else:
            sending._lost()

    with instead(Sending, "_written", written):
        yield


@planted("a chain without predecessors", FEUD, first=30)
def a_chain_without_predecessors() -> Iterator[None]:
    def chain(rows: Iterable[Row]) -> list[Row]:
        """Each epoch's rows, as far as the next one's begin."""
        by_position = {row.position: row for row in rows}
        starts: dict[int, int] = {}
        for (epoch, seq), row in by_position.items():
            if row.first:
                starts[epoch] = min(seq, starts.get(epoch, seq))
        order, found = sorted(starts), list[Row]()
        for index, epoch in enumerate(order):
            end = starts[order[index + 1]] if index + 1 < len(order) else None
            seq = starts[epoch]
            while (epoch, seq) in by_position and (end is None or seq < end):
                found.append(by_position[epoch, seq])  # type: ignore[index]
                seq += 1
        if found and found[-1].records and isinstance(found[-1].records[-1], Deleting):
            return found[-1:]
        return found

    with instead(chain_reading, "chain", chain):
        yield


@planted("a read that is shown before the activation record", FEUD, first=218)
def a_read_shown_before_the_activation_record() -> Iterator[None]:
    with instead(Lane, "mark", lambda lane, records=(): None):
        yield


@planted("a deletion without its record")
def a_deletion_without_its_record() -> Iterator[None]:
    real = Lane.add

    def add(lane: Lane, actions: Any) -> None:
        real(lane, [each for each in actions if not (type(each) is Append and isinstance(each.record, Deleting))])

    with instead(Lane, "add", add), instead(removals, "REMOVE_AGAIN_DELAY_S", 5.0):
        yield


@planted("two appends in flight", FEUD)
def two_appends_in_flight() -> Iterator[None]:
    def write_row(lane: Any) -> None:
        row, after = lane._row, lane._after
        lane._row, lane._after = None, []
        lane._in_flight = lane._first = False
        flying[lane] = flying.get(lane, 0) + 1

        def durable() -> None:
            flying[lane] -= 1
            lane._appended(row)
            for entry in after:
                if callable(entry):
                    entry()
                else:
                    lane._perform(entry)
            lane.flush()
            if not lane.busy:
                lane._idle()

        lane._write(PutRow(lane._key, row, lane._shard.stamp()), durable)
        if flying[lane] < 2:
            lane.flush()

    def flush(lane: Any) -> None:
        if flying.get(lane, 0) < 2:
            real(lane)

    real = Lane.flush
    flying: dict[Any, int] = {}
    busy = property(lambda lane: lane._in_flight or bool(lane._queue) or flying.get(lane, 0) > 0)
    with instead(Lane, "_write_row", write_row), instead(Lane, "flush", flush), instead(Lane, "busy", busy):
        yield


@planted("a create that is listed before it is durable")
def a_create_that_is_listed_before_it_is_durable() -> Iterator[None]:
    real = Resident.step

    def step(resident: Resident, event: Any) -> bool:
        due = real(resident, event)
        if isinstance(event, CreateRequested):
            resident.server._listings.keep(resident)
        return due

    with instead(Resident, "step", step):
        yield


@planted("a list that nobody waits for", first=292)
def a_list_that_nobody_waits_for() -> Iterator[None]:
    real = Listings.keep

    def keep(listings: Listings, resident: Resident) -> bool:
        real(listings, resident)
        return True

    with instead(Listings, "keep", keep):
        yield
