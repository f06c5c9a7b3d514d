"""What stands around the data plane in its unit tests: a store in memory, a clock, guests that a test speaks for."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from data_plane.journal.store import (
    EVER,
    CreateTimes,
    DeleteInstance,
    DropBucket,
    InstanceKey,
    ListingPage,
    Mutation,
    Position,
    PutBlob,
    PutListing,
    PutMark,
    PutRow,
    PutWake,
    Row,
    Wake,
    WriteUnknownError,
)
from loader.guest import GuestHandler
from loader.messages import ActivationMessage
from stepwell.frames import FrameReader
from stepwell.names import Digest, InstanceId, InstanceUid, TenantUid, WorkflowId

KEY = InstanceKey(TenantUid("tenant-1"), WorkflowId("flow"), InstanceId("one"))


class Clock:
    """Time in ms since the epoch, moved by hand."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class HeldStore:
    """A store that answers when the test says so; what it was asked to write stays in `asked`."""

    def __init__(self) -> None:
        self.asked: list[Mutation] = []
        self._waiting: list[tuple[Mutation, Callable[[Exception | None], None]]] = []

    def write(self, mutation: Mutation, done: Callable[[Exception | None], None]) -> None:
        self.asked.append(mutation)
        self._waiting.append((mutation, done))

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def answer(self, error: Exception | None = None) -> None:
        """Answer the oldest write."""
        _, done = self._waiting.pop(0)
        done(error)

    def rows(self) -> list[Row]:
        return [mutation.row for mutation in self.asked if isinstance(mutation, PutRow)]


class MemoryStore:
    """Keeps what is newest by stamp. Acknowledges in a later turn of the loop, as every real store does."""

    def __init__(self) -> None:
        self.rows: dict[InstanceKey, dict[Position, PutRow]] = {}
        self.blobs: dict[tuple[InstanceKey, InstanceUid, str], bytes] = {}
        self.wakes: dict[tuple[int, Wake], PutWake] = {}
        self.marks: dict[int, dict[int, int]] = {}
        self.listings: dict[tuple[InstanceKey, InstanceUid], PutListing] = {}
        self.log: list[Mutation] = []
        self.unknown_next = 0
        """So many writes from here on are applied, but answered as unknown."""
        self.reads_fail_next = 0
        self.rows_read = 0
        """Of journals, by whoever read them."""
        self.wake_reads_fail_next = 0
        self.holds: Callable[[Mutation], bool] | None = None
        """What it says yes to is under way until `let_go`."""
        self.held: list[tuple[Mutation, Callable[[Exception | None], None]]] = []

    def let_go(self, error: Exception | None = None) -> None:
        """Carry out what is held, or answer with the error instead; hold no more."""
        held, self.held, self.holds = self.held, [], None
        for mutation, done in held:
            if error is None:
                self._apply(mutation)
            asyncio.get_running_loop().call_soon(done, error)

    def write(self, mutation: Mutation, done: Callable[[Exception | None], None]) -> None:
        self.log.append(mutation)
        if self.holds is not None and self.holds(mutation):
            self.held.append((mutation, done))
            return
        self._apply(mutation)
        error = None
        if self.unknown_next:
            self.unknown_next -= 1
            error = WriteUnknownError("timed out")
        asyncio.get_running_loop().call_soon(done, error)

    def _apply(self, mutation: Mutation) -> None:
        match mutation:
            case PutRow():
                rows = self.rows.setdefault(mutation.key, {})
                before = rows.get(mutation.row.position)
                if before is None or before.stamp <= mutation.stamp:
                    rows[mutation.row.position] = mutation
            case PutBlob():
                self.blobs[mutation.key, mutation.uid, mutation.id] = mutation.data
            case PutWake():
                self.wakes[mutation.shard, mutation.wake] = mutation
            case DropBucket():
                for (shard, wake), put in list(self.wakes.items()):
                    if (shard, wake.bucket) == (mutation.shard, mutation.bucket) and put.stamp <= mutation.stamp:
                        del self.wakes[shard, wake]
            case PutMark():
                self.marks.setdefault(mutation.shard, {})[mutation.epoch] = mutation.bucket
            case PutListing():
                place = (mutation.listing.key, mutation.listing.uid)
                newest = self.listings.get(place)
                if newest is None or newest.stamp <= mutation.stamp:
                    self.listings[place] = mutation
            case DeleteInstance():
                rows = self.rows.get(mutation.key, {})
                for position in [position for position, put in rows.items() if put.stamp <= mutation.stamp]:
                    del rows[position]
                for blob in [blob for blob in self.blobs if blob[:2] == (mutation.key, mutation.uid)]:
                    del self.blobs[blob]
                self.listings.pop((mutation.key, mutation.uid), None)

    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        await asyncio.sleep(0)
        if self.reads_fail_next:
            self.reads_fail_next -= 1
            raise OSError("the disk is gone")
        rows = self.rows.get(key, {})
        found = [rows[position].row for position in sorted(rows) if since is None or position >= since][:rows_max]
        self.rows_read += len(found)
        return found

    async def read_blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        return self.blobs[key, uid, id]

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        if self.wake_reads_fail_next:
            self.wake_reads_fail_next -= 1
            raise OSError("the disk is gone")
        return [wake for number, wake in self.wakes if number == shard and first <= wake.bucket <= last]

    async def read_marks(self, shard: int) -> dict[int, int]:
        return dict(self.marks.get(shard, {}))

    async def list_instances(
        self,
        tenant: TenantUid,
        workflow: WorkflowId,
        *,
        limit: int,
        token: str = "",
        statuses: frozenset[str] = frozenset(),
        created: CreateTimes = EVER,
    ) -> ListingPage:
        found = [put.listing for put in self.listings.values() if put.listing.key[:2] == (tenant, workflow)]
        found = [listing for listing in found if not statuses or listing.status in statuses]
        found = [listing for listing in found if created.first <= listing.created_at <= created.last]
        found.sort(key=lambda listing: -listing.created_at)
        end = int(token or 0) + limit
        return ListingPage(found[end - limit : end], str(end) if end < len(found) else "")

    async def stored_bytes(self, tenant: TenantUid) -> int:
        return sum(put.listing.stored_bytes for (key, _), put in self.listings.items() if key.tenant == tenant)

    async def close(self) -> None:
        pass


class FakeGuest:
    """A sandbox that a test speaks for: `frames` is what it was told, decoded."""

    runtime = "cpython-3.11"
    bindings: Mapping[str, WorkflowId] = {"FLOW": WorkflowId("flow"), "GONE": WorkflowId("gone")}

    def __init__(self) -> None:
        self.frames: list[tuple[list[Any], bytes]] = []
        self.handlers: dict[int, GuestHandler] = {}
        self.closed: list[int] = []
        self.holders: set[object] = set()
        self.drains = 0
        self.killed: list[str] = []
        self._reader = FrameReader()
        self.doomed = False
        self._acts = 0

    def open(self, handler: GuestHandler) -> int:
        self._acts += 1
        if self.doomed:
            asyncio.get_running_loop().call_soon(self.die, "exit 137")
        self.handlers[self._acts] = handler
        return self._acts

    def send(self, frame: bytes) -> None:
        self.frames.extend((msgspec.json.decode(envelope), payload) for envelope, payload in self._reader.feed(frame))

    def close(self, act: int) -> None:
        self.closed.append(act)
        self.handlers.pop(act, None)

    def hold_reading(self, holder: object) -> None:
        self.holders.add(holder)

    def resume_reading(self, holder: object) -> None:
        self.holders.discard(holder)

    async def drain(self) -> None:
        self.drains += 1
        await asyncio.sleep(0)

    def kill(self, reason: str) -> None:
        self.killed.append(reason)
        asyncio.get_running_loop().call_soon(self.die, reason)

    def die(self, reason: str) -> None:
        handlers, self.handlers = self.handlers, {}
        for handler in handlers.values():
            handler.on_death(reason)

    # ---------------------------------------------------------------- what the test says for it
    def say(self, *messages: ActivationMessage, payload: bytes = b"") -> None:
        """In one batch; to the activation that each names."""
        touched = []
        for message in messages:
            handler = self.handlers.get(message.act)
            if handler is not None:
                handler.on_message(message, payload)
                touched.append(handler)
        for handler in touched:
            handler.on_batch_end()

    def told(self, name: str) -> list[list[Any]]:
        return [envelope for envelope, _ in self.frames if envelope[0] == name]


class FakeLease:
    def __init__(self, guest: FakeGuest) -> None:
        self.guest = guest
        self.released = 0

    def release(self) -> None:
        self.released += 1


class FakeLoader:
    """Gives a fresh guest each time; `refusals` are raised first, one a call;
    the next `doomed` guests die as they are opened. While `held` is not set, callers wait."""

    def __init__(self) -> None:
        self.leases: list[FakeLease] = []
        self.alone: list[bool] = []
        self.asked: list[tuple[Digest, bool]] = []
        """Which version, and whether for replays."""
        self.refusals: list[Exception] = []
        self.doomed = 0
        self.held: asyncio.Event | None = None
        self.waiting = 0

    async def acquire(
        self, tenant: TenantUid, digest: Digest, *, alone: bool = False, replays: bool = False
    ) -> FakeLease:
        await asyncio.sleep(0)
        if self.held is not None:
            self.waiting += 1
            await self.held.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        self.alone.append(alone)
        self.asked.append((digest, replays))
        lease = FakeLease(FakeGuest())
        lease.guest.doomed = self.doomed > 0
        self.doomed -= lease.guest.doomed
        self.leases.append(lease)
        return lease

    @property
    def guest(self) -> FakeGuest:
        """The newest."""
        return self.leases[-1].guest


class Later:
    """`later` of the lane and of activations, rung by hand."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int, Callable[[], None]]] = []

    def __call__(self, delay_s: float, then: Callable[[], None]) -> None:
        heapq.heappush(self.calls, (delay_s, len(self.calls), then))

    def ring(self) -> None:
        calls, self.calls = self.calls, []
        for _, _, then in calls:
            then()
