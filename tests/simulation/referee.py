"""Ownership by decree, in the place of leases: shards change hands every second or so, so that owners meet often.

It keeps what `data_plane.ownership` promises and nothing more: epochs only rise, and of two owners the earlier one is
told no, whenever it asks, before the later one begins. It may hear of that much later than the later one begins.
Leases are too slow to bring about what hangs on three owners in a row; what they do themselves is simulated elsewhere.
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data_plane.ownership import ShardHost
from data_plane.shard import Shard
from data_plane.wakes import EpochSupersededError, OwnershipLostError
from stepwell.errors import UnavailableError
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.world import World

TERM_S: Final = 1.5
"""How long a term lasts, on the average."""

HEARS_WITHIN_S: Final = 2.0
"""An owner hears of the end of its term so late at most; it finds out before if it asks."""

LAGS_FOR_S: Final = 0.5
"""Before its end, what an owner writes begins to lag: so that much of it lands under the next one."""

RELEASED: Final = 0.2
"""Of the terms: they end in good order."""

RELEASE_WITHIN_S: Final = 0.5
GAP_S: Final = 0.05
"""Between two terms, at most."""

LOOK_EVERY_S: Final = 0.25


@dataclass(eq=False)
class Term:
    """One owner of one shard."""

    number: int
    epoch: int
    machine: Machine
    process: Process
    host: ShardHost
    until_s: float
    over: bool = False


class Referee:
    """Says who owns what. `rule` for as long as the world turns."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._terms: dict[int, Term] = {}
        self._hosts: dict[Process, ShardHost] = {}

    def begin(self) -> None:
        for number in range(self._world.shard_count):
            self._world.loop.world.spawn(self._rule(number))

    def join(self, process: Process, host: ShardHost) -> None:
        self._hosts[process] = host

    def leave(self, process: Process) -> None:
        self._hosts.pop(process, None)

    def terms_of(self, process: Process) -> list[Term]:
        return [term for term in self._terms.values() if term.process is process and not term.over]

    def owner_of(self, number: int) -> str | None:
        term = self._terms.get(number)
        return None if term is None or self._is_over(term) else term.machine.name

    async def release(self, term: Term) -> None:
        """In good order; it is over when this returns."""
        await term.host.release(term.number, RELEASE_WITHIN_S)
        self._end(term)

    async def _rule(self, number: int) -> None:
        """One term after the other. The last one, once the world is quiet, has no end."""
        world, epoch = self._world, 0
        while True:
            machines = [machine for machine in world.machines.values() if machine.process in self._hosts]
            if not machines:
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            epoch += 1
            machine = world.random.choice(machines)
            process = machine.process
            lasts_s = float("inf") if world.quiet else 2 * TERM_S * world.random.random()
            term = Term(number, epoch, machine, process, self._hosts[process], world.loop.now_s + lasts_s)
            self._terms[number] = term
            process.spawn(self._serve(term))
            await self._ended(term)
            world.seen["shard changed hands"] += 1
            await asyncio.sleep(GAP_S * world.random.random())

    async def _ended(self, term: Term) -> None:
        """A process that dies tells nobody, so it is looked at."""
        while not self._is_over(term):  # noqa: ASYNC110
            await asyncio.sleep(min(LOOK_EVERY_S, max(0.0, term.until_s - self._world.loop.now_s)))

    def _is_over(self, term: Term) -> bool:
        return term.over or not term.process.alive or self._world.loop.now_s >= term.until_s

    async def _serve(self, term: Term) -> None:
        """Its process does this."""
        world, loop = self._world, self._world.loop
        term.machine.lag_s = 0.0
        term.host.drop(term.number)  # of a former term, which it has not heard the end of
        try:
            await term.host.serve(Shard(term.number, term.epoch, lambda: not self._is_over(term)))
        except (OwnershipLostError, EpochSupersededError, UnavailableError) as error:
            world.tell(f"{term.process.name} does not serve {term.number}: {error!r}")
            term.over = True
            return
        if world.random.random() < RELEASED:
            await asyncio.sleep(max(0.0, (term.until_s - loop.now_s) / 2))
            if not self._is_over(term):
                await self.release(term)
        else:
            await asyncio.sleep(max(0.0, term.until_s - loop.now_s - LAGS_FOR_S))
            if not world.quiet:
                term.machine.lag_s = world.random.random() * world.cassandra.faults.client_timeout_s
            late_s = HEARS_WITHIN_S * world.random.random()
            await asyncio.sleep(max(0.0, term.until_s - loop.now_s) + late_s)
            term.machine.lag_s = 0.0
            self._end(term)

    def _end(self, term: Term) -> None:
        term.over = True
        if self._terms[term.number] is term or self._terms[term.number].process is not term.process:
            term.host.drop(term.number)


class RefereedOwnership:
    """`Ownership` of what the referee gives to one process."""

    def __init__(self, referee: Referee, process: Process) -> None:
        self._referee = referee
        self._process = process

    async def start(self, host: ShardHost, tasks: TaskGroup) -> None:
        self._referee.join(self._process, host)

    async def stop(self, within_s: float) -> None:
        self._referee.leave(self._process)
        for term in self._referee.terms_of(self._process):
            await self._referee.release(term)

    def owner_of(self, number: int) -> str | None:
        return self._referee.owner_of(number)
