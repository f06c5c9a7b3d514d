"""One shard in its owner's hands: its runnable instances are resident here, and are given guests.

What a call, a wake or a takeover touches is loaded once, marked as this epoch's before anything of it is shown, and
dropped as soon as the newest durable wake covers what is due next. A sleeping instance costs nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from data_plane.following import WakeFollower
from data_plane.journal.chain_reading import read_chain
from data_plane.journal.store import InstanceKey, Row, Wake
from data_plane.listings import Listings
from data_plane.parents import Parents
from data_plane.removals import Removals
from data_plane.resident import Resident
from data_plane.shard import Shard
from data_plane.unstarted import Unstarted
from data_plane.wakes import DUE_NOW, ShardWakes
from data_plane.watchers import steps_alone
from stepwell.engine.events import DrainRequested, Suspended
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.records import Deleting, Failure, Record
from stepwell.errors import UnavailableError
from stepwell.names import TenantUid

if TYPE_CHECKING:
    from data_plane.bindings import Bindings
    from data_plane.node import Node


class ShardServer:
    """One per shard and epoch. `take_over` before use; then `drain`, or `drop` when the shard is lost."""

    def __init__(self, node: Node, shard: Shard) -> None:
        self.store = node.store
        self.clock = node.clock
        self.limits = node.limits
        self.later = node.later
        self.timers = node.timers
        self.activate = node.guests.give
        self.shard = shard
        self.unstarted = Unstarted()
        self._node = node
        self._observer = node.observer
        self._residents: dict[InstanceKey, Resident] = {}
        self._loading: dict[InstanceKey, asyncio.Future[None]] = {}
        self._draining = False
        self._loop = asyncio.get_running_loop()
        sooner = asyncio.Event()
        self._wakes = ShardWakes(shard, node.store, node.clock, later=node.later, sooner=sooner.set)
        self._listings = Listings(node.store, shard, later=node.later, settled=self._settled)
        self._removals = Removals(
            node.store,
            shard,
            later=node.later,
            forget_logs=node.forget_logs,
            removed=self._removed,
            lost=self.give_up,
        )
        self._parents = Parents(node, serving=self.serving, over=self.rest)
        self._follower = WakeFollower(
            self._wakes,
            node.loads,
            node.guests.hold_back,
            clock=node.clock,
            sooner=sooner,
            later=node.later,
            spawn=node.spawn,
            look=self._look,
            working=self._works_on,
            serving=self.serving,
            unstarted=self.unstarted,
        )

    def bindings(self) -> Bindings | None:
        """What serves calls of guests, once the node's calls are there."""
        return self._node.bindings

    @property
    def resident_count(self) -> int:
        return len(self._residents)

    def oldest_unstarted(self) -> int | None:
        """Since when what waits longest to be started here has waited, ms since the epoch; None for nothing.

        What a store that does not answer keeps from being known counts from when it might have been due.
        """
        now = self.clock()
        times = (self.unstarted.oldest(self._node.guests.are_many_of), self._wakes.next_due(), self._wakes.known_to())
        return min((since for since in times if since is not None and since <= now), default=None)

    # ---------------------------------------------------------------- life
    async def take_over(self) -> None:
        """Find what is due, and follow it from here on.

        Raises EpochSupersededError, OwnershipLostError, and what the store raises.
        """
        await self._wakes.take_over()
        self._node.spawn(self._follower.follow())

    async def drain(self, within_s: float) -> None:
        """Stop taking work; end activations in good order; wait until nothing is in flight."""
        self._draining = True
        for resident in list(self._residents.values()):
            resident.step(DrainRequested(self.clock()))
            resident.lane.flush()
        with suppress(TimeoutError, UnavailableError):
            async with asyncio.timeout(within_s):
                for resident in list(self._residents.values()):
                    # What left memory while another was awaited has nothing in flight, and would never say so.
                    if self._residents.get(resident.key) is resident:
                        await self.written(resident)

    def drop(self) -> None:
        """The shard is owned no more: let go of all instances; the next owner reads what is there."""
        self._draining = True
        for resident in list(self._residents.values()):
            self.give_up(resident)

    def serving(self) -> bool:
        """Whether anything may be begun."""
        return not self._draining and self.shard.owned()

    # ---------------------------------------------------------------- residents
    @asynccontextmanager
    async def resident(self, key: InstanceKey, *, minted: bool = False) -> AsyncIterator[Resident]:
        """The instance in memory, marked as this epoch's: what it holds may be shown and acted on.

        `minted` says that the id was made for this call, so that there is nothing to read. Raises UnavailableError
        while the node drains or does not own the shard.
        """
        resident = await self._load(key, minted=minted)
        resident.uses += 1
        try:
            yield resident
        finally:
            resident.uses -= 1
            if resident.uses == 0 and not resident.lane.busy:
                self.rest(resident)

    def residents_of(self, tenant: TenantUid) -> Iterator[tuple[InstanceKey, Instance]]:
        """The tenant's instances in memory."""
        return ((key, each.instance) for key, each in self._residents.items() if key.tenant == tenant)

    def peek(self, key: InstanceKey) -> Resident | None:
        """The instance, if it is in memory: for what only its activation knows."""
        return self._residents.get(key)

    async def flushed(self, resident: Resident) -> None:
        """Return once everything that was added to the lane before is durable.

        Raises UnavailableError when the shard is lost before that; whether it became durable is then unknown.
        """
        resident.arm()
        await self.written(resident)

    async def written(self, resident: Resident) -> None:
        """Return once everything that was added to its lane before is durable and done. Raises UnavailableError."""
        done: asyncio.Future[None] = self._loop.create_future()
        resident.flushes[done] = None
        done.add_done_callback(resident.flushes.pop)
        resident.lane.then(lambda: None if done.done() else done.set_result(None))
        resident.lane.flush()
        if resident.lost and not done.done():
            raise _shard_lost()
        await done

    async def _load(self, key: InstanceKey, *, minted: bool = False) -> Resident:
        while True:
            if not self.serving():
                raise UnavailableError("the server is stopping; try again in a moment")
            if (resident := self._residents.get(key)) is not None:
                return resident
            if (loading := self._loading.get(key)) is not None:
                # It may have failed, or have been forgotten again, by the time that this one goes on: so look anew.
                await asyncio.shield(loading)
                continue
            loading = self._loading[key] = self._loop.create_future()
            try:
                return await self._read(key, minted=minted)
            finally:
                del self._loading[key]
                loading.set_result(None)

    async def _read(self, key: InstanceKey, *, minted: bool) -> Resident:
        """Read the journal; before it counts, cover what is due by a wake of this epoch, then mark it."""
        rows = [] if minted else await read_chain(self.store, key)
        resident = Resident(self, key, rows)
        if rows and resident.lane.first:
            due = resident.instance.next_due()
            if due is not None:
                resident.cover = await self._covered_by(key, due)
            resident.uses += 1
            resident.lane.mark(_first_records(resident, rows))
            await self.written(resident)
            resident.uses -= 1
        self._residents[key] = resident
        if resident.instance.runnable:
            self.activate(resident)
        resident.arm()
        return resident

    async def _covered_by(self, key: InstanceKey, due: int) -> Wake:
        """Have it looked at when `due` comes; return once that is durable. Raises UnavailableError."""
        covered: asyncio.Future[Wake] = self._loop.create_future()

        def put(wake: Wake) -> None:
            if not covered.done():
                covered.set_result(wake)

        def lost() -> None:
            if not covered.done():
                covered.set_exception(_shard_lost())

        self._wakes.put(key, due, put, lost)
        return await covered

    def wake_now(self, resident: Resident, then: Callable[[], None]) -> None:
        """See that a wake that is due now is durable and held by the mark."""
        if self._wakes.held(resident.key) is not None:
            then()
            return

        def done(wake: Wake) -> None:
            resident.cover = wake
            then()

        self._wakes.put(resident.key, DUE_NOW, done, lambda: self.give_up(resident))

    def rest(self, resident: Resident) -> None:
        """Nothing is left to do for it here: once a wake covers what is due next, let the mark pass, and forget it."""
        if resident.listed.due and not resident.lane.busy and not resident.lost:
            self._listings.keep(resident)
        instance = resident.instance
        if resident.activating and instance.phase is not Phase.LIVE:
            self._node.guests.withdraw(resident.key)
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
            self._removals.begin(resident)
            return
        if instance.untold:
            self.unstarted.remove(resident.key)
            self._parents.tell(resident)
            return
        due = instance.next_due()
        if due != 0:
            self.unstarted.remove(resident.key)
        if due == 0:
            self.activate(resident)
        elif due is None:
            self._forget(resident, None)
        elif (cover := resident.cover) is not None and self.clock() < cover.due <= due:
            self._forget(resident, cover)
        else:
            resident.resting = True
            covered = partial(self._covered, resident)
            self._wakes.put(resident.key, due, covered, lambda: self.give_up(resident))

    def _covered(self, resident: Resident, wake: Wake) -> None:
        resident.cover, resident.resting = wake, False
        if wake.due <= self.clock():
            resident.tick()
        self.rest(resident)

    def _forget(self, resident: Resident, keep: Wake | None) -> None:
        """Not before the list has it as it is: `_settled` comes back."""
        if not self._listings.keep(resident):
            return
        self._wakes.passed(resident.key, keep)
        resident.armed = None
        self._let_go(resident)

    def _let_go(self, resident: Resident) -> None:
        del self._residents[resident.key]
        self.unstarted.remove(resident.key)
        resident.lane.close()
        if self._observer is not None:
            self._observer.left(resident.key)

    def give_up(self, resident: Resident) -> None:
        """The shard is lost: drop what was in flight; the next owner reads what is there."""
        if resident.lost:
            return
        resident.lost = True
        self._node.guests.withdraw(resident.key)
        if self._residents.get(resident.key) is resident:
            self._let_go(resident)
            self._removals.over(resident.key)
        for flush in list(resident.flushes):
            if not flush.done():
                flush.set_exception(_shard_lost())
        if resident.activation is not None:
            resident.activation.lose()
        elif resident.starting is not None:
            resident.starting.abandon()

    def _removed(self, resident: Resident) -> None:
        if self._residents.get(resident.key) is resident and not resident.lane.busy:
            self._let_go(resident)
            self._wakes.passed(resident.key)
            self._node.quotas.wrote(resident.key.tenant, -resident.counted_bytes)
            self._node.readings.forget(resident.key)
            self._removals.over(resident.key)

    async def removed(self, key: InstanceKey) -> None:
        """Return once what is left of a deleted instance is gone, or the shard is lost."""
        if key in self._residents:
            await self._removals.awaited(key)

    def appended(self, resident: Resident, row: Row) -> None:
        """A row is durable: tell who watches, and keep the list fresh when the status changed.

        What memory has is listed once nothing of it waits for its append any more.
        """
        self._node.watchers.publish(resident.key, row)
        if self._observer is not None:
            self._observer.appended(resident.key, row.records)
        self._count(resident)
        if row.records and not steps_alone(row):
            resident.listed.due = True
        if resident.listed.due and not resident.lane.busy:
            self._listings.keep(resident)

    def _count(self, resident: Resident) -> None:
        """Count what the row stored; pause an instance whose tenant has no space left."""
        tenant, stored = resident.key.tenant, resident.instance.stored_bytes
        has_all = self._node.quotas.wrote(tenant, stored - resident.counted_bytes)
        resident.counted_bytes = stored
        if has_all and resident.instance.phase is Phase.LIVE and (full := self._node.quotas.full(tenant)) is not None:
            failure = Failure("stepwell.errors", type(full).__name__, f"{full.message}, then resume")
            resident.step(Suspended(self.clock(), failure))

    async def listed(self, resident: Resident) -> None:
        """Return once the list has what is durable of it. Raises UnavailableError where that is unknown."""
        await self._listings.wait(resident)

    def _settled(self, resident: Resident) -> None:
        if self._residents.get(resident.key) is resident:
            self.rest(resident)

    # ---------------------------------------------------------------- wakes
    def _works_on(self, key: InstanceKey) -> bool:
        resident = self._residents.get(key)
        return resident is not None and (
            resident.activating or resident.lane.busy or resident.instance.live is not None or resident.instance.untold
        )

    async def _look(self, key: InstanceKey) -> None:
        """A wake leads here: do what is due. Raises UnavailableError, and what the store raises."""
        resident = await self._load(key)
        if resident.instance.phase is Phase.ABSENT:
            if self._residents.get(key) is resident and not resident.uses and not resident.lane.busy:
                self._let_go(resident)
                self._wakes.passed(key)
            return
        if not resident.activating and resident.instance.live is None:
            resident.tick()
        self.rest(resident)


def _first_records(resident: Resident, rows: list[Row]) -> Sequence[Record]:
    """What this epoch's first row must hold: of a deletion, the record itself, since the rows below may go any time."""
    if resident.instance.phase is not Phase.DELETING:
        return ()
    return [record for row in rows for record in row.records if isinstance(record, Deleting)][-1:]


def _shard_lost() -> UnavailableError:
    return UnavailableError("the instance moved to another server while it was called; try again in a moment")
