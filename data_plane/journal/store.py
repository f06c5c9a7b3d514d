"""The port to durable state: journals, blobs, wakes, marks and listings.

Shaped by what a replicated store can promise at quorum and nothing more: every mutation stands alone, is idempotent,
and carries a stamp by which the newest wins; there are no transactions, no reads before writes and no secondary
indexes. `write` is the step path: it takes a callback rather than being awaited, because a future a step costs more
than the engine's own work. One contract suite holds every adapter and the in-memory oracle to this page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from stepwell.engine.records import Record
from stepwell.names import InstanceId, InstanceUid, TenantUid, WorkflowId
from stepwell.step_arguments import UNTIL_MS_MAX

COUNTER_BITS: Final = 39
"""Of a stamp's counter."""


class InstanceKey(NamedTuple):
    """Names an instance for as long as its id is taken."""

    tenant: TenantUid
    workflow: WorkflowId
    instance: InstanceId


class Stamp(NamedTuple):
    """Orders the mutations of one key across owners: 24 bits of epoch, 39 bits of counter, never a clock."""

    epoch: int
    counter: int

    def as_one_number(self) -> int:
        """Of 63 bits, ordered as stamps are: how stores keep it."""
        return self.epoch << COUNTER_BITS | self.counter


class Position(NamedTuple):
    """A row's place in an instance's journal."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Row:
    """One append: the records that were ready, in order.

    `predecessor` is on the first row that an epoch writes to an instance: the row that the writer had read as the
    newest, None where there was none. `first` says that this is such a row.
    """

    position: Position
    records: Sequence[Record]
    first: bool = False
    predecessor: Position | None = None


@dataclass(frozen=True, slots=True)
class PutRow:
    key: InstanceKey
    row: Row
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class PutBlob:
    """`id` is never used twice."""

    key: InstanceKey
    uid: InstanceUid
    id: str
    data: bytes
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Wake:
    """Look at this instance at `due` (ms since the epoch). A hint: a stale one is harmless."""

    bucket: int
    due: int
    key: InstanceKey


@dataclass(frozen=True, slots=True)
class PutWake:
    shard: int
    wake: Wake
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class DropBucket:
    """Forget the bucket's wakes whose stamp is not above this one's."""

    shard: int
    bucket: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class PutMark:
    """This epoch's low mark: no wake in a lower bucket matters any more."""

    shard: int
    epoch: int
    bucket: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list shows of an instance: a hint, rebuilt from the journal when in doubt."""

    key: InstanceKey
    uid: InstanceUid
    created_at: int
    status: str
    digest: str
    started_at: int | None
    ended_at: int | None
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class PutListing:
    listing: Listing
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class DeleteInstance:
    """Remove blobs, the listing row and the journal's partition, in this order, of what is stamped at or below."""

    key: InstanceKey
    uid: InstanceUid
    created_at: int
    stamp: Stamp


Mutation = PutRow | PutBlob | PutWake | DropBucket | PutMark | PutListing | DeleteInstance

Done = Callable[[Exception | None], None]
"""Called once, on the event loop: with None once the mutation is durable, with the error when that is unknown."""


class WriteUnknownError(Exception):
    """The store did not say whether the mutation was applied: send the identical one again while the shard is owned."""


class StoredFormatError(Exception):
    """A stored record has a format that this program does not know: it was written by a newer one."""


class CreateTimes(NamedTuple):
    """When what is listed was created, in ms since the epoch: both are included."""

    first: int
    last: int


EVER: Final = CreateTimes(0, UNTIL_MS_MAX)


class ListingPage(NamedTuple):
    listings: Sequence[Listing]
    next_token: str
    """Empty on the last page."""


class JournalStore(Protocol):
    """Durable state, safe to use from one event loop.

    A mutation is durable when its callback says so. Mutations of one key take effect by stamp, not by order of arrival.
    Reads see everything that was acknowledged before they began, and raise UnavailableError when the store does not
    answer: reading again may go well. `close` waits for what was written.
    """

    def write(self, mutation: Mutation, done: Done) -> None: ...

    async def read_journal(
        self, key: InstanceKey, *, since: Position | None = None, rows_max: int | None = None
    ) -> Sequence[Row]:
        """The partition's rows, those off the chain too, by position: all of them, or those from `since` on, that one
        included, and of these the first `rows_max`.

        All that is given was there at one moment: a store that reads in pages must see that no deletion came between
        them, which would leave a beginning that looks like an older instance (ADR 15). A late row may be missing before
        later ones. Raises StoredFormatError.
        """
        ...

    async def read_blob(self, key: InstanceKey, uid: InstanceUid, id: str) -> bytes:
        """Raises KeyError when there is none: only after the instance was deleted."""
        ...

    async def read_wakes(self, shard: int, first: int, last: int) -> Sequence[Wake]:
        """All wakes of the buckets from `first` to `last`, both of them included."""
        ...

    async def read_marks(self, shard: int) -> dict[int, int]:
        """Epoch → low mark."""
        ...

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
        """Newest created first. Raises ValueError for a token that this store did not make; one that it made for other
        times goes on from its place."""
        ...

    async def stored_bytes(self, tenant: TenantUid) -> int:
        """What the tenant's listings say that its instances have stored, together."""
        ...

    async def close(self) -> None: ...
