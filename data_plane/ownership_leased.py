"""Ownership in a cluster: nodes hold leases in the cluster's store, and share the shards out among those that live.

Each node computes the same assignment from the same members, claims what falls to it and nobody owns, and releases what
it owns and falls to another. Nobody is told to: each claim is one transaction, which only one node can win.

- A claim puts the shard's owner, bound to the node's lease, if there is none, and counts its epoch up; the record
  carries the attempt's name. When its outcome is unknown it is read back, and only that attempt's record counts. One
  that is applied later is a record of this node's which it does not serve: those are deleted until they are gone.
- While an import is under way nobody claims: what it has written by then is no whole instance.
- A term is owned while its flag is set and the lease surely lives. Its flag is cleared before its record is deleted,
  and never set again.
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.lease import Lease
from cluster.ownership_view import OwnershipView
from cluster.records import Member, ShardOwner
from cluster.store import Compare, Delete, LeaseLostError, LeaseStore, Put
from data_plane.assignment import assigned
from data_plane.ownership import ShardHost
from data_plane.shard import Shard
from data_plane.wakes import EpochSupersededError, OwnershipLostError
from stepwell.errors import UnavailableError

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
"""How often it is looked for shards to claim or release when nothing has changed."""

TRY_AGAIN_S: Final = 1.0
"""After a claim or a deletion that failed."""

CLAIMS_MAX: Final = 32
"""Shards that are claimed, taken over or released at once."""

RELEASE_WITHIN_S: Final = 5.0
"""How long what runs in a shard may take to end in good order, when the shard is to move."""


@dataclass(eq=False)
class Term:
    """One epoch of a shard, in this node's hands."""

    number: int
    epoch: int
    revision: int
    """Of the owner's record."""
    lease: int
    flag: bool = True


class LeasedOwnership:
    """`Ownership` of a node's part of all shards.

    `node` is a name that no other start of any node has; `address` is where the others reach it; `boottime` gives
    seconds of a clock that goes on while the machine sleeps; `mint` gives names that nobody else gives.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        node: str,
        address: str,
        shard_count: int,
        boottime: Callable[[], float],
        mint: Callable[[], str],
    ) -> None:
        self._store = store
        self._member = Member(node, address)
        self._shard_count = shard_count
        self._mint = mint
        self._changed = asyncio.Event()
        self._lease = Lease(store, boottime, begun=self._changed.set, ended=self._lease_ended)
        self.view = OwnershipView(store, self._changed.set)
        """Of whom there is, as this node knows."""
        self._terms: dict[int, Term] = {}
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._floors: dict[int, int] = {}
        """Of a shard, an epoch that the journal store knows already: the next one must be above it."""
        self._shared_by: tuple[str, ...] = ()
        self._share_of_mine: frozenset[int] = frozenset()
        self._joined = 0
        """The lease to which this node's membership is bound."""
        self._waits_for_import = False
        self._stopping = False
        self._running: list[asyncio.Task[None]] = []
        self._host: ShardHost
        self._tasks: TaskGroup

    async def start(self, host: ShardHost, tasks: TaskGroup) -> None:
        self._host, self._tasks = host, tasks
        self._running = [
            tasks.create_task(self._lease.run()),
            tasks.create_task(self.view.run()),
            tasks.create_task(self._manage()),
        ]

    async def stop(self, within_s: float) -> None:
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                with suppress(UnavailableError):  # the others then wait for the lease's end
                    await self._store.txn((), (Delete(keys.member(self._member.node)),))
                while self._terms or self._busy:
                    self._changed.set()
                    await asyncio.sleep(0.01)
        for task in [*self._running, *self._busy.values()]:
            task.cancel()
        for term in list(self._terms.values()):
            self._drop(term)
        with suppress(UnavailableError):
            await self._lease.end()

    def lease_left_s(self) -> float:
        """For how long what is owned here surely is still, if the store answers no more."""
        return self._lease.left_s()

    @property
    def joined(self) -> bool:
        """Whether this node lives, as far as the others know."""
        return self._joined != 0 and self._joined == self._lease.id and self._lease.lives()

    def owner_of(self, number: int) -> str | None:
        return self.view.address_of_owner(number)

    # ---------------------------------------------------------------- what is owned
    def _owned(self, term: Term) -> bool:
        """Once no, for ever no: what was refused meanwhile may have been given up."""
        if term.flag and not (self._lease.lives() and self._lease.id == term.lease):
            term.flag = False
            self._changed.set()
        return term.flag

    def _lease_ended(self) -> None:
        for term in list(self._terms.values()):
            self._drop(term)
        self._changed.set()

    def _drop(self, term: Term) -> None:
        term.flag = False
        if self._terms.get(term.number) is term:
            del self._terms[term.number]
            self._host.drop(term.number)

    # ---------------------------------------------------------------- who should own what
    async def _manage(self) -> None:
        while True:
            self._changed.clear()
            for term in list(self._terms.values()):
                if not self._owned(term):
                    self._drop(term)
            if self._lease.id != self._joined:
                await self._join()
            if self._lease.id == self._joined:
                self._share()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._changed.wait()

    async def _join(self) -> None:
        """Tell the others that this node lives, for as long as its lease does."""
        lease = self._lease.id
        if lease:
            try:
                put = Put(keys.member(self._member.node), encode(self._member), lease)
                await self._store.txn((), (put,))
            except (LeaseLostError, UnavailableError):
                return
        self._joined = lease

    def _share(self) -> None:
        """Begin what brings this node's part closer to what should be its own."""
        me, owners = self._member.node, self.view.owners
        mine = self._assigned() if self._joined and not self._stopping else frozenset()
        self._heed_import()
        for number in range(self._shard_count):
            if len(self._busy) >= CLAIMS_MAX:
                return
            if number in self._busy:
                continue
            owned, term = owners.get(number), self._terms.get(number)
            if term is not None:
                if number not in mine:
                    self._begin(number, self._release(term))
            elif owned is not None and owned.owner.node == me:
                self._begin(number, self._delete(number, owned.revision))
            elif owned is None and number in mine and not self._waits_for_import:
                self._begin(number, self._claim(number))

    def _heed_import(self) -> None:
        """Claim nothing while one is under way, and say so."""
        if self.view.importing is not self._waits_for_import:
            self._waits_for_import = self.view.importing
            if self._waits_for_import:
                log.warning("an import into this cluster is under way: no shard is claimed until it has ended")
            else:
                log.info("the import into this cluster has ended: shards are claimed again")

    def _assigned(self) -> frozenset[int]:
        """What should be this node's own while those live that are known to."""
        members = tuple(sorted(self.view.members))
        if members != self._shared_by:
            should = assigned(members, self._shard_count)
            self._share_of_mine = frozenset(n for n, node in enumerate(should) if node == self._member.node)
            self._shared_by = members
        return self._share_of_mine

    def _begin(self, number: int, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            except UnavailableError:
                await asyncio.sleep(TRY_AGAIN_S)
            except Exception:
                log.exception("a shard could not be claimed or released; it is tried again", shard=number)
                await asyncio.sleep(TRY_AGAIN_S)

        def done(task: asyncio.Task[None]) -> None:
            del self._busy[number]
            self._changed.set()

        task = self._busy[number] = self._tasks.create_task(run())
        task.add_done_callback(done)

    # ---------------------------------------------------------------- claims and releases
    async def _claim(self, number: int) -> None:
        """Raises UnavailableError and what the journal store raises; nothing is owned then."""
        term = await self._claimed(number)
        if term is None:
            await asyncio.sleep(TRY_AGAIN_S)
            return
        self._terms[number] = term
        try:
            await self._host.serve(Shard(number, term.epoch, lambda: self._owned(term)))
        except OwnershipLostError:
            self._drop(term)
        except EpochSupersededError as superseded:
            self._floors[number] = superseded.newest
            self._drop(term)
            await self._delete(number, term.revision)
        except BaseException:
            self._drop(term)
            raise

    async def _claimed(self, number: int) -> Term | None:
        """A term, if this node has won one."""
        lease, key = self._lease.id, keys.shard_epoch(number)
        if not lease:
            return None  # it ended just now: a record that is bound to none would never go
        stored = await self._store.get(key)
        counted = int(stored.value) if stored is not None else 0
        epoch = max(counted, self._floors.get(number, 0)) + 1
        owner = ShardOwner(self._member.node, epoch, self._mint())
        compares = (
            Compare(keys.shard_owner(number), 0),
            Compare(key, stored.mod_revision if stored is not None else 0),
            Compare(keys.IMPORT, 0),
        )
        puts = (Put(key, b"%d" % epoch), Put(keys.shard_owner(number), encode(owner), lease))
        try:
            result = await self._store.txn(compares, puts)
        except LeaseLostError:
            return None
        except UnavailableError:
            found = await self._store.get(keys.shard_owner(number))
            if found is None or decode_value(ShardOwner, found) != owner:
                return None
            return Term(number, epoch, found.mod_revision, lease)
        return Term(number, epoch, result.revision, lease) if result.succeeded else None

    async def _release(self, term: Term) -> None:
        await self._host.release(term.number, RELEASE_WITHIN_S)
        self._drop(term)
        await self._delete(term.number, term.revision)

    async def _delete(self, number: int, revision: int) -> None:
        """Delete that record, and no later one. Raises UnavailableError: it may still be there."""
        key = keys.shard_owner(number)
        with suppress(LeaseLostError):
            await self._store.txn((Compare(key, revision),), (Delete(key),))
        self.view.forget_owner(number, revision)
