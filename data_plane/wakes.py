"""A shard's wakes and its low mark: what brings a sleeping instance back, and what brings everything back after a
crash.

Wakes lie in buckets of time. The owner reads each bucket once, whole, as its time comes; the low mark, kept in the
store, says below which bucket no wake matters any more, and is where the next owner starts to read. So a wake may be
stale, and is then looked at for nothing, but none may be missing:

- a takeover reads the marks of all epochs, takes the highest epoch's, and serves only once its own row is durable;
- a wake goes into the bucket of its due time or of the mark, whichever is later, since clocks differ;
- one that is acknowledged into a bucket that was read, or is being read, enters memory: no read will bring it;
- the mark passes a wake only when told, which is when a newer durable wake covers what the instance waits for. A wake
  that is due now covers whatever it waits for: it replaces older ones that are due, at most in a later bucket;
- wakes in flight hold the mark; what is acknowledged counts only if the shard is still owned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from data_plane.journal.store import DropBucket, InstanceKey, JournalStore, Mutation, PutMark, PutWake, Wake
from data_plane.known_wakes import KnownWakes
from data_plane.sending import Sending
from data_plane.shard import Shard

BUCKET_MS: Final = 30_000
"""The width of a bucket. Wider, more sleepers are in memory before they are due and a takeover reads more; narrower,
idle shards read and mark more often: at 1,024 shards, 34 times a second each."""

READ_AHEAD_MS: Final = 5_000
"""A bucket is read this long before its time, so that what is due at its start is on time even when there is much of
it."""

MOVE_BUCKETS: Final = 10
"""What is due and not done with gets a later wake after so many buckets: a takeover reads some 5 minutes, not days."""

READ_BUCKETS: Final = 256
"""Read at once while catching up: two hours of a shard that nobody served."""

ADD_AT_ONCE: Final = 5_000
"""Wakes that enter memory without a turn of the event loop between them: some 10 ms."""

DUE_NOW: Final = 0


class EpochSupersededError(Exception):
    """The store has a mark of this epoch or a later one: the epoch counter went back. Claim the shard anew, above
    the `newest`."""

    def __init__(self, shard: int, newest: int, epoch: int) -> None:
        super().__init__(f"shard {shard}: epoch {newest} has a mark, this is {epoch}")
        self.newest = newest


class OwnershipLostError(Exception):
    """The shard was lost before it was taken over."""


def _nothing() -> None:
    """Nobody wants to hear of it."""


class ShardWakes:
    """One per epoch of a shard; `take_over` first. All calls are made on the event loop.

    `clock` gives ms since the epoch; `later(delay_s, call)` calls once, later; `sooner` is called when `next_due` may
    have become earlier. Once the shard is not owned any more, no callback but `lost` is called and nothing more is
    written.
    """

    def __init__(
        self,
        shard: Shard,
        store: JournalStore,
        clock: Callable[[], int],
        *,
        later: Callable[[float, Callable[[], None]], object],
        sooner: Callable[[], None] = _nothing,
    ) -> None:
        self._shard = shard
        self._store = store
        self._clock = clock
        self._later = later
        self._sooner = sooner
        self._known = KnownWakes()
        self._flying: dict[int, Wake] = {}
        self._filled: set[int] = set()
        self._mark = 0
        self._read_to = -1
        self._reading_to = -1
        self._lost = False

    @property
    def mark(self) -> int:
        return self._mark

    @property
    def known_count(self) -> int:
        """Instances with a wake in memory."""
        return len(self._known)

    async def take_over(self) -> None:
        """Find where the owner before left off; this epoch's own mark is durable when it returns.

        Raises EpochSupersededError, and OwnershipLostError when the shard is lost meanwhile.
        """
        marks = await self._store.read_marks(self._shard.number)
        newest = max(marks, default=-1)
        if newest >= self._shard.epoch:
            raise EpochSupersededError(self._shard.number, newest, self._shard.epoch)
        # No owner ever served without a mark, so without one there is no wake to find.
        self._mark = marks[newest] if marks else self._clock() // BUCKET_MS
        self._read_to = self._reading_to = self._mark - 1
        self._filled.add(self._mark - 1)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def put() -> None:
            if not durable.done():
                durable.set_result(None)

        def lost() -> None:
            if not durable.done():
                durable.set_exception(
                    OwnershipLostError(
                        f"shard {self._shard.number} was lost before epoch {self._shard.epoch} had a mark"
                    )
                )

        self._send(self._mark_row(), put, lost)
        await durable

    # What the instances' owner writes and says

    def put(
        self,
        key: InstanceKey,
        due: int,
        done: Callable[[Wake], None],
        lost: Callable[[], None] = _nothing,
    ) -> None:
        """Have the instance looked at when `due` comes; DUE_NOW or a past time is now.

        `done` is called once that is durable, or `lost` once the shard is not owned any more.
        """
        now = self._clock()
        due = max(due, now)
        wake = Wake(max(due // BUCKET_MS, self._mark), due, key)
        stamp = self._shard.stamp()
        self._flying[stamp.counter] = wake
        self._send(
            PutWake(self._shard.number, wake, stamp),
            lambda: self._put(stamp.counter, wake, done, due_now=due == now),
            lost,
        )

    def passed(self, key: InstanceKey, keep: Wake | None = None) -> None:
        """From here on the mark may pass the instance's wakes but `keep`.

        To be said only when the newest record that is durable and was checked after its acknowledgement waits for
        nothing, or for nothing earlier than `keep`, a wake that `put` gave.
        """
        self._known.keep(key, (keep,) if keep is not None else ())

    def held(self, key: InstanceKey) -> Wake | None:
        """The newest wake of this epoch that is durable, due, and holds the mark: a record may rely on it.

        One of an earlier epoch is not enough: a drop that its owner had decided on may still be under way.
        """
        now = self._clock()
        return max((wake for wake in self._known.own(key) if wake.due <= now), key=_bucket, default=None)

    # What is due

    async def read_ahead(self) -> None:
        """Read the buckets whose time comes, whole, and the mark's in any case. Not to be called twice at a time."""
        while not self._lost:
            last = max((self._clock() + READ_AHEAD_MS) // BUCKET_MS, self._mark)
            if self._read_to >= last:
                return
            first = self._read_to + 1
            self._reading_to = max(self._reading_to, min(last, first + READ_BUCKETS - 1))
            last = self._reading_to
            await self._add(await self._store.read_wakes(self._shard.number, first, last))
            self._read_to = last

    def next_read(self) -> int:
        """When `read_ahead` has something to do again."""
        return (self._read_to + 1) * BUCKET_MS - READ_AHEAD_MS

    def take_due(self, now: int, limit: int | None = None) -> list[InstanceKey]:
        """Instances to look at, at most `limit` of them. Each due wake is given once, and known until `passed`."""
        return self._known.take_due(now, limit)

    def next_due(self) -> int | None:
        """When `take_due` has something to give, as far as is known."""
        return self._known.next_due()

    def due_since(self, key: InstanceKey) -> int:
        """The earliest due time of the instance's wakes, of which one at least is known."""
        return min(wake.due for wake in self._known.of(key))

    def known_to(self) -> int:
        """Up to when, ms since the epoch, all that is due is known: what comes later was not read yet."""
        return (self._read_to + 1) * BUCKET_MS

    # The mark

    def move(self, now: int, limit: int | None = None) -> list[InstanceKey]:
        """Instances that are active or queued for long: give each a wake that is due now, so that the mark can follow.

        One that was taken and that nobody works on is among them sooner or later, and is given by `take_due` again
        then.
        """
        oldest = now // BUCKET_MS - MOVE_BUCKETS
        asked = {wake.key for wake in self._flying.values()}
        found: dict[InstanceKey, None] = {}
        for key in self._known.below(oldest):
            if len(found) == limit:
                break
            held = self.held(key)
            if held is not None and held.bucket >= oldest:
                self._replace_due(held)
            elif key not in asked:
                found[key] = None
        return list(found)

    def advance(self) -> None:
        """Let the mark follow what is done, and drop the buckets well behind it."""
        if self._lost:
            return
        lowest = self._lowest()
        if lowest <= self._mark:
            return
        self._mark = lowest
        self._send(self._mark_row(), _nothing)
        for bucket in sorted(bucket for bucket in self._filled if bucket < lowest - 1):
            self._filled.discard(bucket)
            self._send(DropBucket(self._shard.number, bucket, self._shard.stamp()), _nothing)

    def _lowest(self) -> int:
        """The lowest bucket that still matters, or will."""
        reached = min(self._read_to + 1, max(self._clock() // BUCKET_MS, self._mark))
        known = self._known.lowest_bucket()
        return min(reached, reached if known is None else known, *map(_bucket, self._flying.values()))

    def _mark_row(self) -> PutMark:
        return PutMark(self._shard.number, self._shard.epoch, self._mark, self._shard.stamp())

    # Writes and what comes of them

    def _send(self, mutation: Mutation, then: Callable[[], None], lost: Callable[[], None] = _nothing) -> None:
        if self._lost:
            lost()
        else:
            gone = partial(self._gone, lost)
            Sending(mutation, self._store, self._shard, self._later, then, gone).start()

    def _gone(self, lost: Callable[[], None]) -> None:
        self._lost = True
        lost()

    def _put(self, number: int, wake: Wake, done: Callable[[Wake], None], *, due_now: bool) -> None:
        del self._flying[number]
        if wake.bucket <= self._reading_to:
            before = self._known.next_due()
            self._known.add(wake, own=True)
            self._filled.add(wake.bucket)
            if due_now:
                self._replace_due(wake)
            if before is None or wake.due < before:
                self._sooner()
        done(wake)

    def _replace_due(self, by: Wake) -> None:
        """`by` leads to the instance whatever it waits for: of those that are due, it alone needs to be known."""
        known = self._known.of(by.key)
        if len(known) > 1:
            self._known.keep(by.key, [wake for wake in known if wake.due > by.due or wake.bucket >= by.bucket])

    async def _add(self, wakes: Sequence[Wake]) -> None:
        before = self._known.next_due()
        for start in range(0, len(wakes), ADD_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            for wake in wakes[start : start + ADD_AT_ONCE]:
                self._known.add(wake)
                self._filled.add(wake.bucket)
        after = self._known.next_due()
        if after is not None and (before is None or after < before):
            self._sooner()


def _bucket(wake: Wake) -> int:
    return wake.bucket
