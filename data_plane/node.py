"""A node: it owns shards, keeps their runnable instances resident, and gives them guests.

What a call, a wake or a takeover touches is loaded once, marked as this epoch's before anything of it is shown, and
dropped as soon as the newest durable wake covers what is due next. A sleeping instance costs nothing here.
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog

from data_plane.activating import GuestLoader, Guests
from data_plane.engine.events import DrainRequested
from data_plane.engine.instance import Phase
from data_plane.engine.limits import EngineLimits
from data_plane.journal.chain import chain
from data_plane.journal.store import DeleteInstance, InstanceKey, JournalStore, PutListing, Row, Wake
from data_plane.listing import listing_of
from data_plane.resident import Resident
from data_plane.shard import Shard
from data_plane.timers import Timers
from data_plane.wakes import DUE_NOW, ShardWakes
from data_plane.watchers import Watchers, steps_alone
from stepwell.errors import UnavailableError

log = structlog.get_logger(__name__)

WAKE_READ_EVERY_S: Final = 1.0
"""How often the buckets that are due are read and the low mark may move."""

LOADS_MAX: Final = 64
"""Instances that wakes load at once: a takeover of many is lazy."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Operator-set."""

    activations_max: int = 2_000
    """Instances that run at once; more wait their turn."""


class Node:
    """One per process. `clock` gives ms since the epoch; `start` before use, `drain` and `close` at the end."""

    def __init__(
        self,
        store: JournalStore,
        loader: GuestLoader,
        shard: Shard,
        *,
        clock: Callable[[], int],
        limits: EngineLimits,
        settings: NodeSettings,
    ) -> None:
        self.store = store
        self.clock = clock
        self.limits = limits
        self.watchers = Watchers()
        self.shard = shard
        self._residents: dict[InstanceKey, Resident] = {}
        self._loading: dict[InstanceKey, asyncio.Future[None]] = {}
        self._removals: dict[InstanceKey, asyncio.Future[None]] = {}
        self._loads = asyncio.Semaphore(LOADS_MAX)
        self._draining = False
        self._tasks: TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.timers = Timers(self._loop, clock)
        self._sooner = asyncio.Event()
        self._wakes = ShardWakes(shard, store, clock, later=self.later, sooner=self._sooner.set)
        self._guests = Guests(
            loader,
            settings.activations_max,
            clock=clock,
            limits=limits,
            later=self.later,
            spawn=self._spawn,
            rest=self.rest,
            serving=lambda: not self._draining and shard.owned(),
        )
        self.activate = self._guests.give

    @property
    def resident_count(self) -> int:
        return len(self._residents)

    # ---------------------------------------------------------------- life
    async def start(self, tasks: TaskGroup) -> None:
        """Take the shard over, then serve. Everything that runs is a task of `tasks`."""
        self._tasks = tasks
        await self._wakes.take_over()
        self._spawn(self._follow_wakes())

    async def drain(self, within_s: float) -> None:
        """Stop taking work; end activations in good order; wait until nothing is in flight."""
        self._draining = True
        for resident in list(self._residents.values()):
            resident.step(DrainRequested(self.clock()))
            resident.lane.flush()
        with suppress(TimeoutError, UnavailableError):
            async with asyncio.timeout(within_s):
                for resident in list(self._residents.values()):
                    await self._written(resident)

    def close(self) -> None:
        """No timer rings, no task goes on."""
        self._draining = True
        self.timers.close()
        for task in self._running:
            task.cancel()

    def later(self, delay_s: float, then: Callable[[], None]) -> object:
        return self._loop.call_later(delay_s, then)

    def _spawn(self, work: Awaitable[object]) -> None:
        """Work for one instance: a fault in it is logged, and takes nothing else down."""
        assert self._tasks is not None

        async def run() -> None:
            try:
                await work
            except Exception:
                log.exception("work for an instance failed")

        task = self._tasks.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # ---------------------------------------------------------------- residents
    @asynccontextmanager
    async def resident(self, key: InstanceKey) -> AsyncIterator[Resident]:
        """The instance in memory, marked as this epoch's: what it holds may be shown and acted on.

        Raises UnavailableError while the node drains or does not own the shard.
        """
        resident = await self._load(key)
        resident.uses += 1
        try:
            yield resident
        finally:
            resident.uses -= 1
            if resident.uses == 0 and not resident.lane.busy:
                self.rest(resident)

    def peek(self, key: InstanceKey) -> Resident | None:
        """The instance, if it is in memory: for what only its activation knows."""
        return self._residents.get(key)

    async def flushed(self, resident: Resident) -> None:
        """Return once everything that was added to the lane before is durable.

        Raises UnavailableError when the shard is lost before that; whether it became durable is then unknown.
        """
        resident.arm()
        await self._written(resident)

    async def _written(self, resident: Resident) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        resident.flushes.add(done)
        done.add_done_callback(resident.flushes.discard)
        resident.lane.then(lambda: None if done.done() else done.set_result(None))
        resident.lane.flush()
        if resident.lost:
            raise _shard_lost()
        await done

    async def _load(self, key: InstanceKey) -> Resident:
        if self._draining or not self.shard.owned():
            raise UnavailableError("the server is stopping; try again in a moment")
        while (resident := self._residents.get(key)) is None:
            if (loading := self._loading.get(key)) is not None:
                # It may have failed, or have been forgotten again, by the time that this one goes on: so look anew.
                await asyncio.shield(loading)
                continue
            loading = self._loading[key] = self._loop.create_future()
            try:
                return await self._read(key)
            finally:
                del self._loading[key]
                loading.set_result(None)
        return resident

    async def _read(self, key: InstanceKey) -> Resident:
        """Read the journal; before it counts, cover what is due by a wake of this epoch, then mark it."""
        rows = chain(await self.store.read_journal(key))
        resident = Resident(self, key, self.shard, rows)
        if rows and resident.lane.first:
            due = resident.instance.next_due()
            if due is not None:
                covered: asyncio.Future[Wake] = self._loop.create_future()
                self._wakes.put(key, due, covered.set_result)
                resident.cover = await covered
            resident.uses += 1
            resident.lane.mark()
            await self._written(resident)
            resident.uses -= 1
        self._residents[key] = resident
        if resident.instance.runnable:
            self.activate(resident)
        resident.arm()
        return resident

    def wake_now(self, resident: Resident, then: Callable[[], None]) -> None:
        """See that a wake that is due now is durable and held by the mark."""
        if self._wakes.held(resident.key) is not None:
            then()
            return

        def done(wake: Wake) -> None:
            resident.cover = wake
            then()

        self._wakes.put(resident.key, DUE_NOW, done)

    def rest(self, resident: Resident) -> None:
        """Nothing is left to do for it here: once a wake covers what is due next, let the mark pass, and forget it."""
        instance = resident.instance
        if (
            resident.uses
            or resident.lane.busy
            or resident.activating
            or resident.resting
            or resident.activation is not None
            or instance.live is not None
            or self._residents.get(resident.key) is not resident
        ):
            return
        if instance.phase is Phase.DELETING:
            self._remove(resident)
            return
        due = instance.next_due()
        if due == 0:
            self.activate(resident)
        elif due is None:
            self._forget(resident, None)
        elif (cover := resident.cover) is not None and self.clock() < cover.due <= due:
            self._forget(resident, cover)
        else:
            resident.resting = True
            self._wakes.put(resident.key, due, lambda wake: self._covered(resident, wake))

    def _covered(self, resident: Resident, wake: Wake) -> None:
        resident.cover, resident.resting = wake, False
        if wake.due <= self.clock():
            resident.tick()
        self.rest(resident)

    def _forget(self, resident: Resident, keep: Wake | None) -> None:
        self._list(resident)
        self._wakes.passed(resident.key, keep)
        resident.armed = None
        del self._residents[resident.key]

    def give_up(self, resident: Resident) -> None:
        """The shard is lost: drop what was in flight; the next owner reads what is there."""
        resident.lost = True
        if self._residents.get(resident.key) is resident:
            del self._residents[resident.key]
            if (gone := self._removals.pop(resident.key, None)) is not None:
                gone.set_result(None)
        for flush in list(resident.flushes):
            if not flush.done():
                flush.set_exception(_shard_lost())
        activation = resident.activation or resident.starting
        if activation is not None:
            activation.kill("the shard moved to another node")

    def _remove(self, resident: Resident) -> None:
        """Finish a deletion: its record is durable, what is left may go."""
        resident.resting = True
        instance = resident.instance
        mutation = DeleteInstance(resident.key, instance.uid, instance.created_at, self.shard.stamp())

        def done(error: Exception | None) -> None:
            if error is not None:
                self.later(1.0, lambda: self.store.write(mutation, done))
                return
            resident.resting = False
            if self._residents.get(resident.key) is resident and not resident.lane.busy:
                del self._residents[resident.key]
                self._wakes.passed(resident.key)
                if (gone := self._removals.pop(resident.key, None)) is not None:
                    gone.set_result(None)

        self.store.write(mutation, done)

    async def removed(self, key: InstanceKey) -> None:
        """Return once what is left of a deleted instance is gone."""
        if key in self._residents:
            gone = self._removals.setdefault(key, self._loop.create_future())
            await asyncio.shield(gone)

    def appended(self, resident: Resident, row: Row) -> None:
        """A row is durable: tell who watches, and keep the list fresh when the status changed.

        What memory has is listed once nothing of it waits for its append any more.
        """
        self.watchers.publish(resident.key, row)
        if row.records and not steps_alone(row):
            resident.listing_due = True
        if resident.listing_due and not resident.lane.busy:
            self._list(resident)

    def _list(self, resident: Resident) -> None:
        resident.listing_due = False
        listing = listing_of(resident.key, resident.instance)
        if listing is not None and listing.status != resident.listed:
            resident.listed = listing.status
            self.store.write(PutListing(listing, self.shard.stamp()), _ignore)

    # ---------------------------------------------------------------- wakes
    async def _follow_wakes(self) -> None:
        while not self._draining:
            self._sooner.clear()
            try:
                await self._wakes.read_ahead()
            except Exception:
                # What is known goes on; what could not be read is read again, and holds the mark until then.
                log.exception("wakes could not be read")
            now = self.clock()
            for key in self._wakes.take_due(now, LOADS_MAX):
                if not self._works_on(key):
                    await self._loads.acquire()
                    self._spawn(self._wake(key))
            for key in self._wakes.move(now, LOADS_MAX):
                self._wakes.put(key, DUE_NOW, _forget_wake)
            self._wakes.advance()
            await self._sleep_until_due()

    def _works_on(self, key: InstanceKey) -> bool:
        resident = self._residents.get(key)
        return resident is not None and (
            resident.activating or resident.lane.busy or resident.instance.live is not None
        )

    async def _sleep_until_due(self) -> None:
        due = self._wakes.next_due()
        wait_s = WAKE_READ_EVERY_S
        if due is not None:
            wait_s = min(wait_s, (due - self.clock()) / 1000)
        if wait_s <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._sooner.wait()

    async def _wake(self, key: InstanceKey) -> None:
        try:
            resident = await self._load(key)
            if resident.instance.phase is Phase.ABSENT:
                if self._residents.get(key) is resident and not resident.uses and not resident.lane.busy:
                    del self._residents[key]
                    self._wakes.passed(key)
                return
            if not resident.activating and resident.instance.live is None:
                resident.tick()
            self.rest(resident)
        except UnavailableError:
            return
        finally:
            self._loads.release()


def _shard_lost() -> UnavailableError:
    return UnavailableError("the instance moved to another server while it was called; try again in a moment")


def _ignore(error: Exception | None) -> None:
    """A listing is a hint: the next change of status writes it again."""


def _forget_wake(wake: Wake) -> None:
    """It is known to the shard's wakes, which is all that it is for."""
