"""A model of Cassandra that misbehaves as the real one may: three replicas, and the coordinator before them.

RF 3 in one datacenter, reads and writes at LOCAL_QUORUM, by the names that Cassandra's documentation has for it:
- a **write** goes to all replicas at once, a message each, which takes its time, may be lost, may come much later or
  twice. Two acknowledgements make it a success. Without them the client hears of a **write timeout**: applied, not
  applied or applied later, nobody knows. The coordinator's answer may itself be lost.
- a replica that is down gets its copy by **hinted handoff** once it is back, or never. With fewer than two of them up
  the coordinator refuses (**unavailable**).
- a **read** asks two replicas, at different moments, and merges what they say cell by cell. Where they differ,
  **blocking read repair** brings what was read to both before the answer goes out. So what one read has shown, every
  later read shows, and what was acknowledged at quorum, every read that begins later.
- each **page** and each partition is a read of its own: a result of several may be torn between them, but never within
  a row.

Time is the loop's, as whoever makes the cluster sees it; chance is the seeded random's: the same seed and the same
calls give the same run. What becomes of a write is decided when it is sent, so that it costs one timer: its answer's.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from functools import reduce
from random import Random
from typing import Any, Final, NamedTuple

from tests.simulation.cassandra_client import CassandraJournalStore
from tests.simulation.cassandra_faults import CALM, CassandraFaults, Fault
from tests.simulation.cassandra_replica import Change, Clustering, PartitionKey, Replica, Slice, Span, lacking, merged

REPLICAS: Final = 3
QUORUM: Final = 2


class Answer(NamedTuple):
    """What a write's client will hear, and when."""

    at: float
    acknowledged: bool


class Page(NamedTuple):
    """Rows that are not deleted, in order; whether there may be more of them."""

    rows: list[tuple[Clustering, Any]]
    more: bool


def _always() -> bool:
    return True


def _at_once() -> float:
    return 0.0


class Cassandra:
    """One cluster. `seen` counts the faults that happened; what goes wrong from now on is set by `faults`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, random: Random, seen: Counter[str], faults: CassandraFaults = CALM
    ) -> None:
        self.seen = seen
        self._loop = loop
        self._context = copy_context()
        self._clock_context = copy_context()
        self._random = random
        self._replicas = [Replica(seen) for _ in range(REPLICAS)]
        self._all_up_at = -math.inf
        self.faults = faults

    def client(
        self,
        alive: Callable[[], bool],
        connected: Callable[[], bool] = _always,
        lag_s: Callable[[], float] = _at_once,
    ) -> CassandraJournalStore:
        """The journal store of one process.

        Once `alive` is not true, the process is dead: nothing more is sent for it, nobody is called, and its reads do
        not return; what was sent already may still land. While `connected` is not true, it is cut off from the
        cluster: its messages go nowhere, no answer comes, and it gives up after a while. What it writes takes `lag_s`
        to its coordinator.
        """
        return CassandraJournalStore(self, self._loop, alive, connected, lag_s)

    @property
    def faults(self) -> CassandraFaults:
        return self._faults

    @faults.setter
    def faults(self, faults: CassandraFaults) -> None:
        """What was decided before stays: a late copy is still on its way, a replica that is down stays so."""
        self._faults = faults
        self._next_fall_at = self._after_some_time(self.now())

    def quiet(self) -> None:
        """From here on nothing fails: all replicas are up. What is late still comes."""
        self.faults = CALM
        for replica in self._replicas:
            replica.down_until = -math.inf

    # ---------------------------------------------------------------- time
    def now(self) -> float:
        return self._clock_context.run(self._loop.time)

    def at(self, when: float, call: Callable[..., None], *of: object) -> None:
        """Call it then, whichever process waits for what comes of it."""
        self._loop.call_at(when, call, *of, context=self._context)

    # ---------------------------------------------------------------- writes
    def write(self, change: Change, lag_s: float = 0.0) -> Answer:
        """Send the change to all replicas, once it has come to the coordinator."""
        faults, draw, seen = self._faults, self._random.random, self.seen
        sent = self.now()
        client_gives_up = Answer(sent + faults.client_timeout_s, False)
        fate = draw()
        if fate < faults.write_lost:
            seen[Fault.WRITE_LOST] += 1
            return client_gives_up
        now = sent + lag_s
        if not self._quorum_up(sent):
            seen[Fault.WRITE_UNAVAILABLE] += 1
            return Answer(now + self.hop(), False)
        late = fate < faults.write_lost + faults.write_late
        acks = [
            arrival + self.hop()
            for replica in self._replicas
            if (arrival := self._send(replica, change, sent, now, late=late)) is not None
        ]
        if late:
            return client_gives_up
        acks.sort()
        if len(acks) < QUORUM or acks[QUORUM - 1] > now + faults.coordinator_timeout_s:
            seen[Fault.WRITE_TIMEOUT] += 1
            return Answer(min(now + faults.coordinator_timeout_s + faults.hop_s[0], client_gives_up.at), False)
        at = acks[QUORUM - 1] + self.hop()
        if draw() < faults.answer_lost or at > client_gives_up.at:
            seen[Fault.ANSWER_LOST] += 1
            return client_gives_up
        return Answer(at, True)

    def _send(self, replica: Replica, change: Change, sent: float, now: float, *, late: bool) -> float | None:
        """Post a replica's copy; when it arrives, unless this is too late for an acknowledgement."""
        faults, draw = self._faults, self._random.random
        fate = draw()
        if replica.down_until > sent:
            if fate < faults.hint_lost:
                self.seen[Fault.COPY_LOST] += 1
            else:
                replica.post(sent, self._late(replica.down_until), change, Fault.COPY_LATE)
            return None
        if late:
            replica.post(sent, self._late(now), change, Fault.WRITE_LATE)
            return None
        if fate < faults.copy_lost:
            self.seen[Fault.COPY_LOST] += 1
            return None
        if fate < faults.copy_lost + faults.copy_late:
            replica.post(sent, self._late(now), change, Fault.COPY_LATE)
            return None
        arrival = now + self.hop()
        replica.post(sent, arrival, change)
        if draw() < faults.copy_twice:
            replica.post(sent, self._late(arrival), change, Fault.WRITE_TWICE)
        return arrival

    # ---------------------------------------------------------------- reads
    def has(self, partition: PartitionKey) -> bool:
        """Whether a row is there for those who ask all replicas."""
        now = self.now()
        whole = reduce(merged, (replica.read(now, Span(partition)) for replica in self._replicas))
        return any(cell.value is not None for cell in whole.cells.values())

    def read_page(self, span: Span, rows_max: int, answer: Callable[[Page | None], None]) -> None:
        """The span's first rows; `answer` is called once, later, with None when the read failed."""
        _PageRead(self, span, rows_max, answer).begin()

    # ---------------------------------------------------------------- chance
    def hop(self) -> float:
        """How long the next message takes one way."""
        faults, draw = self._faults, self._random.random
        low, high = faults.hop_s
        delay = low + (high - low) * draw()
        if draw() < faults.slow:
            delay += faults.slow_s * draw()
        return delay

    def read_fails(self) -> bool:
        return self._random.random() < self._faults.read_failed

    def up(self, now: float) -> list[Replica]:
        """The replicas that are not down, in an order by chance."""
        self._let_fall(now)
        first = int(self._random.random() * REPLICAS)
        replicas = self._replicas[first:] + self._replicas[:first]
        return [replica for replica in replicas if replica.down_until <= now]

    def _quorum_up(self, now: float) -> bool:
        self._let_fall(now)
        return now >= self._all_up_at or sum(replica.down_until <= now for replica in self._replicas) >= QUORUM

    def _let_fall(self, now: float) -> None:
        """A replica goes down when its time has come."""
        if now >= self._next_fall_at:
            self._next_fall_at = self._after_some_time(now)
            replica = self._replicas[int(self._random.random() * REPLICAS)]
            replica.down_until = max(replica.down_until, now + self._faults.down_s * self._random.random())
            self._all_up_at = max(self._all_up_at, replica.down_until)
            self.seen[Fault.REPLICA_DOWN] += 1

    def _late(self, since: float) -> float:
        return since + self._faults.client_timeout_s + self._faults.late_s * self._random.random() ** 2

    def _after_some_time(self, now: float) -> float:
        rate = self._faults.falls_a_second
        return now + self._random.expovariate(rate) if rate else math.inf


class _PageRead:
    """Each replica is asked at a moment of its own; what both know together is repaired and answered later still."""

    __slots__ = ("_answer", "_cluster", "_gives_up_at", "_rows_max", "_said", "_span")

    def __init__(self, cluster: Cassandra, span: Span, rows_max: int, answer: Callable[[Page | None], None]) -> None:
        self._cluster = cluster
        self._span = span
        self._rows_max = rows_max
        self._answer = answer
        self._gives_up_at = cluster.now() + cluster.faults.coordinator_timeout_s
        self._said: list[tuple[Replica, Slice]] = []

    def begin(self) -> None:
        cluster = self._cluster
        now = cluster.now()
        up = cluster.up(now)
        if len(up) < QUORUM:
            cluster.seen[Fault.READ_UNAVAILABLE] += 1
            cluster.at(now + cluster.hop(), self._answer, None)
            return
        for replica in up[:QUORUM]:
            cluster.at(now + cluster.hop(), self._ask, replica)

    def _ask(self, replica: Replica) -> None:
        self._said.append((replica, replica.read(self._cluster.now(), self._span)))
        if len(self._said) == QUORUM:
            self._merge()

    def _merge(self) -> None:
        cluster = self._cluster
        (_, one), (_, other) = self._said
        whole = merged(one, other)
        places = sorted(place for place, cell in whole.cells.items() if cell.value is not None)
        more, places = len(places) > self._rows_max, places[: self._rows_max]
        fails = cluster.read_fails()
        repaired_at = cluster.now()
        if one != other:
            last = places[-1] if more and places else None
            repaired_at = self._repair(whole, last, 1 if fails else QUORUM)
        at = repaired_at + cluster.hop()
        if fails or at > self._gives_up_at:
            cluster.seen[Fault.READ_FAILED if fails else Fault.READ_TIMEOUT] += 1
            cluster.at(max(self._gives_up_at, cluster.now()), self._answer, None)
            return
        page = Page([(place, whole.cells[place].value) for place in places], more)
        cluster.at(at, self._answer, page)

    def _repair(self, whole: Slice, last: Clustering | None, count: int) -> float:
        """Send the first `count` replicas what they lack of the rows that were read; when all of it has arrived."""
        cluster = self._cluster
        now = done_at = cluster.now()
        repaired = False
        for replica, has in self._said[:count]:
            changes = lacking(has, whole, self._span.partition, last)
            if changes:
                repaired = True
                arrival = now + cluster.hop()
                done_at = max(done_at, arrival)
                for change in changes:
                    replica.post(now, arrival, change)
        if repaired:
            cluster.seen[Fault.READ_REPAIR] += 1
        return done_at
