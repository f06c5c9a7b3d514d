"""A model of etcd that misbehaves as the real one may: its members, its leader, and what becomes of requests.

By the names that etcd's documentation has for it:
- one **linearizable** state (`etcd_state`): a request takes effect at one moment between its sending and its answer.
  There are no serializable (stale) reads, since our client never asks for them.
- a client that waits longer than its **deadline** gives up. What it asked for was done, was not, or is done later: a
  proposal may be committed after its client has gone.
- during a **leader election** a request fails, or waits at its member until there is a leader: for longer than its
  client does, maybe. Leases are extended (`etcd_leases`).
- a member that is **partitioned** from the leader does the same to its clients, and its watches stall (`etcd_watches`).
  It is never the leader: that would be an election.

Time is the loop's, and chance is the seeded random's: the same seed and the same calls give the same run. A calm
request costs two timers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

from cluster.store import Event, LeaseLostError, TxnResult
from tests.simulation.etcd_client import EtcdStore, Kind, Request
from tests.simulation.etcd_faults import CALM, LATE_S, NO_LEADER_S, EtcdFaults, Fault
from tests.simulation.etcd_leases import ExpiredError, Lessor
from tests.simulation.etcd_state import EtcdState
from tests.simulation.etcd_time import EtcdTime, Loop, Timer
from tests.simulation.etcd_watches import Watches

MEMBERS: Final = 3

MOVES: Final = 0.25
"""How likely it is that a client tries another member after a request has failed."""


def _always() -> bool:
    return True


class Etcd:
    """One cluster. `seen` counts the faults that happened; what goes wrong from now on is set by `faults`."""

    def __init__(self, loop: Loop, random: Random, seen: Counter[str], faults: EtcdFaults = CALM) -> None:
        self.seen = seen
        self.time = EtcdTime(loop)
        self._random = random
        self.state = EtcdState(self._published)
        self.lessor = Lessor(self.time, random, seen, self.state)
        self.watches = Watches()
        self._election: Timer | None = None
        """When it ends; there is a leader while there is none."""
        self._partition: Timer | None = None
        self._cut_off = MEMBERS
        """The member that is; none has this number."""
        self._waiting: list[Request[Any]] = []
        """For their member to hear of a leader."""
        self._clients = 0
        self._planned: dict[Fault, Timer] = {}
        self.faults = faults

    def client(self, alive: Callable[[], bool], connected: Callable[[], bool] = _always) -> EtcdStore:
        """The cluster store of one process.

        Once `alive` is not true, the process is dead: nothing more is sent for it, and its calls do not return; what
        was sent already may still be done. While `connected` is not true, it is cut off from the cluster: its messages
        go nowhere, no answer comes, and its watches stall.
        """
        self._clients += 1
        return EtcdStore(self, alive, connected, self._clients % MEMBERS)

    @property
    def faults(self) -> EtcdFaults:
        return self._faults

    @faults.setter
    def faults(self, faults: EtcdFaults) -> None:
        """What has begun goes on: an election, a partition, a proposal that is late."""
        self._faults = faults
        for timer in self._planned.values():
            timer.cancel()
        self._plan(Fault.LEADER_CHANGE, faults.leader_changes_a_second, self.change_leader)
        self._plan(Fault.MEMBER_CUT_OFF, faults.cut_offs_a_second, self._cut_off_some_member)
        self._plan(Fault.COMPACTION, faults.compactions_a_second, self._compact_some)

    def quiet(self) -> None:
        """From here on nothing fails, and every member hears of the leader. What is late still comes."""
        self.faults = CALM
        if self._election is not None:
            self._election.cancel()
            self._elected()
        if self._partition is not None:
            self._partition.cancel()
            self._reconnected()

    # ---------------------------------------------------------------- what goes wrong
    def change_leader(self) -> None:
        """There is none for a while, then there is a new one."""
        if self._election is None:
            self.seen[Fault.LEADER_CHANGE] += 1
            self.lessor.demote()
            low, high = NO_LEADER_S
            self._election = self.time.at(self.time.now() + low + (high - low) * self._random.random(), self._elected)

    def cut_off(self, member: int, seconds: float) -> None:
        """It does not hear of the leader for so long. One at a time: without two members there is no leader."""
        if self._partition is None:
            self.seen[Fault.MEMBER_CUT_OFF] += 1
            self._cut_off = member
            self._partition = self.time.at(self.time.now() + seconds, self._reconnected)

    def compact(self, revision: int) -> None:
        """Forget what happened up to that revision."""
        self.seen[Fault.COMPACTION] += 1
        self.state.compact(revision)

    def _plan(self, fault: Fault, a_second: float, begin: Callable[[], None]) -> None:
        def happen() -> None:
            begin()
            self._plan(fault, a_second, begin)

        if a_second:
            self._planned[fault] = self.time.at(self.time.now() + self._random.expovariate(a_second), happen)

    def _cut_off_some_member(self) -> None:
        draw = self._random.random
        self.cut_off(int(draw() * MEMBERS), self._faults.cut_off_s * draw())

    def _compact_some(self) -> None:
        """Half the time all there is, otherwise some of it."""
        state, draw = self.state, self._random.random
        self.compact(state.revision - int((state.revision - state.compacted) * max(0.0, 2 * draw() - 1)))

    def _elected(self) -> None:
        self._election = None
        self.lessor.promote()
        self._resume()

    def _reconnected(self) -> None:
        self._partition = None
        self._cut_off = MEMBERS
        self._resume()

    def _resume(self) -> None:
        """Some members hear of the leader again: what waited there goes on."""
        self.watches.resume()
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if self.time.now() > request.gives_up_at + LATE_S:
                self.seen[Fault.REQUEST_LOST] += 1
            else:
                self.time.at(self.time.now() + self.hop(), self._arrive, request)

    # ---------------------------------------------------------------- requests
    def send(self, request: Request[Any]) -> None:
        """Put it on its way. Whether it gets there, when, and whether its client hears of it is drawn here."""
        faults, fate = self._faults, self._random.random()
        arrives_at = self.time.now() + self.hop()
        if fate < faults.lost or not request.store.connected():
            self.seen[Fault.REQUEST_LOST] += 1
            self.time.at(request.gives_up_at, request.give_up)
            return
        fate -= faults.lost
        if fate < faults.refused:
            self._refuse(request)
            return
        fate -= faults.refused
        if request.kind is not Kind.READ:
            if fate < faults.answer_lost:
                request.answer_is_lost = True
            elif fate - faults.answer_lost < faults.late:
                arrives_at = request.gives_up_at + LATE_S * self._random.random()
                self.time.at(request.gives_up_at, request.give_up)
        self.time.at(arrives_at, self._arrive, request)

    def _arrive(self, request: Request[Any]) -> None:
        """At its member, which passes it on to the leader."""
        if self.hears_leader(request.member):
            self._handle(request)
        elif self._random.random() < 0.5:
            self._refuse(request)
        else:
            self._waiting.append(request)
            self.seen[Fault.REQUEST_WAITED] += 1
            self.time.at(request.gives_up_at, request.give_up)

    def _handle(self, request: Request[Any]) -> None:
        """The leader does it, here and now."""
        result, error = None, None
        try:
            result = request.handle()
        except ExpiredError as expired:
            self.time.at(expired.until, self._arrive, request)
            self.time.at(request.gives_up_at, request.give_up)
            return
        except LeaseLostError as lost:
            error = lost
        if self.time.now() > request.gives_up_at:
            self._count_late(request.kind, result)
            return
        answered_at = self.time.now() + self.hop()
        if request.answer_is_lost or answered_at > request.gives_up_at:
            self.seen[Fault.ANSWER_LOST] += 1
            self.time.at(request.gives_up_at, request.give_up)
        else:
            if error is not None:
                self.seen[Fault.LEASE_LOST] += 1
            self.time.at(answered_at, request.answer, result, error)

    def _count_late(self, kind: Kind, result: object) -> None:
        if kind is Kind.LEASE:
            self.seen[Fault.LEASE_REQUEST_LATE] += 1
        elif kind is Kind.TXN:
            effect = isinstance(result, TxnResult) and result.succeeded
            self.seen[Fault.TXN_LATE if effect else Fault.TXN_LATE_WITHOUT_EFFECT] += 1

    def _refuse(self, request: Request[Any]) -> None:
        self.seen[Fault.REFUSED] += 1
        self.time.at(self.time.now() + self.hop(), request.give_up)

    # ---------------------------------------------------------------- chance
    def hop(self) -> float:
        """How long the next message takes one way."""
        return self._short(self._faults.hop_s)

    def watch_hop(self) -> float:
        """How late the next thing is that a watch tells."""
        return self._short(self._faults.watch_hop_s)

    def watch_breaks(self) -> bool:
        return self._random.random() < self._faults.watch_broken

    def member_to_try_after(self, member: int) -> int:
        """Where a client goes whose request failed at that member."""
        return (member + 1) % MEMBERS if self._random.random() < MOVES else member

    def hears_leader(self, member: int) -> bool:
        return self._election is None and member != self._cut_off

    def _short(self, bounds: tuple[float, float]) -> float:
        low, high = bounds
        return low + (high - low) * self._random.random() ** 3

    def _published(self, events: tuple[Event, ...]) -> None:
        self.watches.published(events)
