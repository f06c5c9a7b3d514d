"""The port to what an installation's processes agree on: small records under ordered keys, changed in transactions.

It has etcd's shape (get, range, txn, watch, one revision that counts transactions), so that one machine's SQLite file
and a cluster's etcd are the same to everything above. It holds control data only: no payloads, no bundles' bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from stepwell.errors import StepwellError

RANGE_LIMIT_MAX = 10_000
"""Records that one `range` may ask for."""

TXN_OPERATIONS_MAX = 128
"""Compares, and operations, in one transaction: etcd's default `--max-txn-ops`."""

TXN_BYTES_MAX = 1024 * 1024
"""Keys and values of one transaction together: below etcd's default request limit of 1.5 MiB."""

KEY_BYTES_MAX = 512

WATCH_PROGRESS_SECONDS = 5.0
"""A watch that has nothing to tell says so at least this often, so that its reader knows that it is heard."""


class CompactedError(StepwellError):
    """A watch asked for changes that the store no longer has: list again, then watch from that revision."""


class LeaseLostError(StepwellError):
    """The lease has ended, and its keys are gone: what was bound to it is to be done again on a new one."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One record. `mod_revision` is the transaction that wrote it last: its etag. It goes when its `lease` ends."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    """True while the key was last written by that transaction; 0 stands for a key that is absent."""

    key: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """The record goes when that lease ends, whatever its lease was before; without one (0) it stays."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Deleting an absent key changes nothing."""

    key: str


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class TxnResult:
    """`revision` is this transaction's when it wrote something, otherwise the store's newest."""

    succeeded: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Event:
    """A key was written, or deleted when `value` is None."""

    key: str
    value: bytes | None
    mod_revision: int


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """All watched changes up to `revision` are told once this batch is read. Without events it is a sign of life."""

    revision: int
    events: tuple[Event, ...]


class ClusterStore(Protocol):
    """Ordered keys with linearizable reads and serializable transactions.

    Consistency: every read sees all transactions answered before it was asked. Durable: a transaction is answered only
    when it survives the loss of the process and, in a cluster, of a machine. Keys order by code point.
    Idempotency: none of its own; a caller makes a transaction idempotent by its compares.
    Errors: UnavailableError when the store can't be reached or is closed; after it the outcome of `txn` is unknown:
    read back. ValueError when a request is over the limits named in this module, or names a key twice, or puts a key on
    a lease and the store has none. A `txn` that was cancelled, or is unknown, may still happen, even seconds later.
    """

    async def get(self, key: str) -> KeyValue | None:
        """The record under the key, or None."""

    async def range(self, prefix: str, *, after: str = "", limit: int) -> tuple[KeyValue, ...]:
        """Up to `limit` records whose keys start with the prefix, in key order, those past the key `after` only."""

    async def txn(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        """All operations if every compare holds, at one new revision; nothing otherwise.

        Raises LeaseLostError, and nothing is written, when every compare holds and a lease that is put on is gone.
        """

    async def revision(self) -> int:
        """The newest transaction's revision; 0 when there was none."""

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[WatchBatch, None]:
        """What happens to keys with the prefix in revisions greater than `after`, each once, in order.

        A batch never splits a revision. Raises CompactedError when changes after `after` are no longer kept, or when
        the reader is too slow for the store's buffer; UnavailableError when the store is closed.
        """


class LeaseStore(ClusterStore, Protocol):
    """A cluster store with leases: records that go by themselves when whoever wrote them is not heard of any more.

    A lease ends when its time to live has passed since the store last handled its `grant_lease` or `keep_alive`, or a
    little later, never before; then, or when it is revoked, its keys are deleted at one revision, which watches are
    told of. Until that revision a transaction may put keys on it. A store that loses its leader may let every lease
    live longer.
    Errors: UnavailableError leaves the outcome unknown, and the request may still happen, even seconds later.
    """

    async def grant_lease(self, ttl_s: int) -> int:
        """A new lease that lives for so many seconds, 2 at least; its id, never 0.

        Idempotency: none. A lease whose id was not told ends by itself.
        """

    async def keep_alive(self, lease: int) -> None:
        """Have it live for its whole time again, from when the store handles this. Idempotent.

        Raises LeaseLostError when it has ended: then its keys are deleted already.
        """

    async def revoke_lease(self, lease: int) -> None:
        """End it now. Idempotent: revoking one that is gone changes nothing."""


def check_range(limit: int) -> None:
    """Refuse a range that no adapter would serve."""
    if not 1 <= limit <= RANGE_LIMIT_MAX:
        raise ValueError(f"a range takes 1 to {RANGE_LIMIT_MAX} records, not {limit}")


def check_txn(compares: Sequence[Compare], operations: Sequence[Operation]) -> None:
    """Refuse a transaction that any adapter would refuse, alike in all of them."""
    if len(compares) > TXN_OPERATIONS_MAX or len(operations) > TXN_OPERATIONS_MAX:
        raise ValueError(f"a transaction takes {TXN_OPERATIONS_MAX} compares and operations at most")
    keys = [operation.key for operation in operations]
    if len(set(keys)) != len(keys):
        raise ValueError("a transaction may write each key once")
    if any(not 1 <= len(key.encode()) <= KEY_BYTES_MAX for key in (*keys, *(c.key for c in compares))):
        raise ValueError(f"a key takes 1 to {KEY_BYTES_MAX} bytes")
    size = sum(len(o.key.encode()) + (len(o.value) if isinstance(o, Put) else 0) for o in operations)
    if size > TXN_BYTES_MAX:
        raise ValueError(f"a transaction takes {TXN_BYTES_MAX} bytes at most, not {size}")
