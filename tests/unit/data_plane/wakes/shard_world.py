"""A random walk over `ShardWakes`: one shard, four instances, owners with skewed clocks that crash and lose the shard.

Writes land late, twice, without an answer or never; journals are atomic fenced logs, since what is examined here is
whether wakes bring everything back. Then the faults stop and nobody calls any more: what anyone was told goes on by
itself, through one more crash. Time is virtual, a tick is some seconds of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from data_plane.journal.store import Done, InstanceKey, Mutation, Wake, WriteUnknownError
from data_plane.shard import Shard
from data_plane.wakes import BUCKET_MS, MOVE_BUCKETS, EpochSupersededError, OwnershipLostError, ShardWakes
from tests.contract.journal_worlds import key_of
from tests.contract.oracle_store import Cells, OracleJournalStore

TICK_MS = 10_000
FAULT_TICKS, CRASH_TICK, END_TICK = 200, 260, 330
SKEW_MS = 120_000
LATE_MS = 2 * SKEW_MS + 20 * TICK_MS
SPAN_BUCKETS = LATE_MS // BUCKET_MS + MOVE_BUCKETS
INSTANCES = 4


class Violation(Exception):
    """A wake was lost, or a takeover reads too much."""


@dataclass
class Log:
    """One instance's journal: each row says when it is due, None for never. `exposed` is what anyone was told."""

    epoch: int = 0
    rows: tuple[int | None, ...] = ()
    exposed: tuple[int | None, ...] = ()
    exposed_at: int = 0

    def append(self, epoch: int, before: tuple[int | None, ...], row: int | None, *, first: bool) -> None:
        if (first and epoch > self.epoch) or (epoch == self.epoch and self.rows == before):
            self.epoch, self.rows = epoch, (*before, row)


@dataclass(eq=False)
class Flying:
    """A write on its way: what it does to the store, and who waits for the answer."""

    owner: Owner
    land: Callable[[], None]
    answer: Done


@dataclass
class Seat:
    """An instance in its owner's memory."""

    rows: tuple[int | None, ...]
    marked: bool
    cover: Wake | None = None
    events: int = 0


@dataclass
class World:
    seed: int
    build: type[ShardWakes] = ShardWakes
    moves: bool = True
    now: int = 1_700_000_000_000
    tick: int = 0
    epoch: int = 0
    owners: list[Owner] = field(default_factory=list)
    flying: list[Flying] = field(default_factory=list)
    cells: Cells = field(default_factory=Cells)
    logs: dict[InstanceKey, Log] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.logs.update((key_of(f"i-{number}"), Log()) for number in range(INSTANCES))
        self.pace = self.random.choice((0.15, 0.4, 0.8))
        self.ticked = asyncio.Event()
        self.broken: list[BaseException] = []

    @property
    def quiet(self) -> bool:
        return self.tick > FAULT_TICKS

    async def run(self) -> None:
        """Raises Violation."""
        try:
            while self.tick < END_TICK:
                await self._step()
        finally:
            for owner in list(self.owners):
                owner.crash()
            await asyncio.sleep(0)

    async def _step(self) -> None:
        self.tick += 1
        self.now += TICK_MS
        self._land()
        chance = self.random.random()
        if self.tick == CRASH_TICK or (not self.quiet and chance < 0.03):
            for owner in list(self.owners):
                owner.crash()
        if not any(owner.epoch == self.epoch for owner in self.owners) or (not self.quiet and chance > 0.97):
            self.epoch += 1
            self.owners.append(Owner(self, self.epoch))
        if not self.quiet and self.random.random() < 0.3:
            self.random.choice(self.owners).event(self.random.choice(list(self.logs)))
        self.ticked.set()
        self.ticked = asyncio.Event()
        for _ in range(6):
            await asyncio.sleep(0)
        if self.broken:
            raise self.broken[0]
        if self.quiet:
            self._check()

    def _land(self) -> None:
        flying, self.flying = self.flying, []
        self.random.shuffle(flying)
        for write in flying:
            if not self.quiet and self.random.random() > self.pace:
                self.flying.append(write)
                continue
            fate = 0.0 if self.quiet else self.random.random()
            if fate < 0.9:
                write.land()
            if not write.owner.crashed:
                write.answer(None if fate < 0.8 else WriteUnknownError())
            elif fate < 0.9 and self.random.random() < 0.2 and not self.quiet:
                self.flying.append(write)  # lands a second time

    def _check(self) -> None:
        for key, log in self.logs.items():
            due = log.exposed[-1] if log.exposed else None
            since = max(1_700_000_000_000 + FAULT_TICKS * TICK_MS, log.exposed_at, due or 0)
            if due is not None and self.now > since + LATE_MS:
                raise Violation(f"{key.instance} waits since {(self.now - since) / 1000} s: {log}")


class WalkStore(OracleJournalStore):
    """One owner's door to the cells: writes fly, reads take a while on either side of what they see."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner.world.cells)
        self._owner = owner

    def write(self, mutation: Mutation, done: Done) -> None:
        self._owner.world.flying.append(Flying(self._owner, lambda: self.apply(mutation), done))

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        await self._owner.pause()
        wakes = await super().read_wakes(shard, first, last)
        await self._owner.pause()
        return wakes

    async def read_marks(self, shard: int) -> dict[int, int]:
        await self._owner.pause()
        return await super().read_marks(shard)


class Owner:
    """A node reduced to its duties towards wakes."""

    def __init__(self, world: World, epoch: int) -> None:
        self.world, self.epoch, self.crashed, self.serving = world, epoch, False, False
        self._skew = world.random.randrange(-SKEW_MS, SKEW_MS + 1)
        self._shard = Shard(0, epoch, lambda: not self.crashed and world.epoch == epoch)
        self._wakes = world.build(self._shard, WalkStore(self), self.clock, later=self._later)
        self._seats: dict[InstanceKey, Seat] = {}
        self._tasks = {asyncio.ensure_future(self._guard(self._serve))}

    def clock(self) -> int:
        return self.world.now + self._skew

    def crash(self) -> None:
        self.crashed = True
        self.world.owners.remove(self)
        for task in self._tasks:
            task.cancel()

    def event(self, key: InstanceKey) -> None:
        """A call makes the instance runnable, or creates it."""
        if self.serving and self._shard.owned():
            seat = self._sit(key)
            if seat is not None:
                seat.events += 1

    async def pause(self) -> None:
        for _ in range(0 if self.world.quiet else self.world.random.randrange(3)):
            await self.world.ticked.wait()

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        async def resend() -> None:
            await self.world.ticked.wait()
            call()

        self._spawn(resend)

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (OwnershipLostError, EpochSupersededError):
            """Another owner has the shard by now."""
        except Exception as error:
            self.world.broken.append(error)

    async def _serve(self) -> None:
        await self._wakes.take_over()
        behind = self.clock() // BUCKET_MS - self._wakes.mark
        if self.world.tick > CRASH_TICK and behind > SPAN_BUCKETS:
            raise Violation(f"a takeover reads {behind} buckets")
        self.serving = True
        while self._shard.owned():
            await self._wakes.read_ahead()
            now = self.clock()
            for key in self._wakes.take_due(now):
                self._sit(key)
            for key in self._wakes.move(now) if self.world.moves else ():
                self._wakes.put(key, 0, lambda wake: None)
            if self.world.quiet or self.world.random.random() < 0.5:
                self._wakes.advance()
            await self.world.ticked.wait()

    def _sit(self, key: InstanceKey) -> Seat | None:
        if key not in self._seats:
            log = self.world.logs[key]
            self._seats[key] = Seat(log.rows, log.epoch == self.epoch)
            self._spawn(partial(self._attend, key, self._seats[key]))
        return self._seats[key]

    async def _attend(self, key: InstanceKey, seat: Seat) -> None:
        """What `fence` demands of a node: a wake before the record that relies on it, the mark passes after it."""
        log = self.world.logs[key]
        if not seat.marked:
            await self.pause()
            seat.rows = log.rows
            due = seat.rows[-1] if seat.rows else None
            if due is not None:
                seat.cover = await self._put(key, due)
            if seat.rows:
                await self._append(key, seat, due)
        while True:
            if seat.events:
                seat.events = 0
                seat.cover = await self._put(key, 0)
                await self._append(key, seat, 0)
            due = seat.rows[-1] if seat.rows else None
            if due is not None and due <= self.clock():
                await self.world.ticked.wait()
                if self.world.quiet or self.world.random.random() < 0.6:
                    await self._progress(key, seat)
                continue
            if due is not None and not (seat.cover and self.clock() < seat.cover.due <= due):
                seat.cover = await self._put(key, due)
                continue
            if seat.events:
                continue
            self._wakes.passed(key, seat.cover if due is not None else None)
            del self._seats[key]
            return

    async def _progress(self, key: InstanceKey, seat: Seat) -> None:
        random = self.world.random
        endless = key == key_of("i-0") and self.world.tick <= CRASH_TICK + 20
        if self.world.quiet and not endless:
            await self._append(key, seat, None)
            return
        match random.choice(("step",) if endless and self.world.quiet else ("step", "step", "sleep", "sleep", "wait")):
            case "step":
                await self._append(key, seat, 0)
            case "sleep":
                due = self.clock() + random.choice((15_000, 60_000, 300_000, 1_500_000))
                seat.cover = await self._put(key, due)
                await self._append(key, seat, due)
            case _:
                await self._append(key, seat, None)

    async def _put(self, key: InstanceKey, due: int) -> Wake:
        durable: asyncio.Future[Wake] = asyncio.get_running_loop().create_future()
        self._wakes.put(key, due, durable.set_result)
        return await durable

    async def _append(self, key: InstanceKey, seat: Seat, due: int | None) -> None:
        """One row, sent until it is answered; what it says counts only if the shard is still owned then."""
        log, rows = self.world.logs[key], (*seat.rows, due)
        land = partial(log.append, self.epoch, seat.rows, due, first=not seat.marked)
        while await self._answer(land) is not None:
            await self.world.ticked.wait()
        if not self._shard.owned():
            await asyncio.get_running_loop().create_future()
        seat.rows, seat.marked = rows, True
        log.exposed, log.exposed_at = max(log.exposed, rows, key=len), self.world.now

    async def _answer(self, land: Callable[[], None]) -> Exception | None:
        answer: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.world.flying.append(Flying(self, land, answer.set_result))
        return await answer
