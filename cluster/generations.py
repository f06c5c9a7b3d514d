"""How a change to a tenant is made and how others hear of it: the generation keys.

Each tenant belongs to one of 4,096 buckets, and every change to what is a tenant's rewrites its bucket's key in the
same transaction. Processes watch those keys alone, so a cluster's watches don't grow with its tenants, and a change is
made on the condition that the bucket is as it was when the change was decided: what was read for it still holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, TypeVar

from cluster import keys
from cluster.store import ClusterStore, Compare, Operation, Put
from stepwell.errors import ConflictError
from stepwell.names import TenantUid

BUCKETS = 4_096

ATTEMPTS = 10
"""How often a change is decided again because somebody else's came between."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a decision came to: these compares must hold, these operations happen, `answer` makes the caller's answer
    from the transaction's revision. Without operations it is so already."""

    operations: tuple[Operation, ...]
    answer: Callable[[int], T]
    compares: tuple[Compare, ...] = ()


def bucket_of(owner: TenantUid | None) -> int:
    """The bucket of what belongs to that tenant; None stands for the operator."""
    return int.from_bytes(blake2b((owner or keys.OPERATOR).encode(), digest_size=8).digest(), "big") % BUCKETS


async def change(store: ClusterStore, owner: TenantUid | None, decide: Callable[[], Awaitable[Change[T]]]) -> T:
    """Decide and write, again from the start whenever anything of the bucket changed in between.

    What is so already is answered after a write too, of the generation alone: otherwise an earlier change of unknown
    outcome, still on its way, could undo it after the answer.

    `decide` reads what it needs from the store; it may run several times. Raises what `decide` raises, UnavailableError
    (the outcome is unknown), and ConflictError when others were faster `ATTEMPTS` times.
    """
    key = keys.generation(bucket_of(owner))
    for _ in range(ATTEMPTS):
        found = await store.get(key)
        decided = await decide()
        guard = Compare(key, found.mod_revision if found else 0)
        result = await store.txn((guard, *decided.compares), (Put(key, b""), *decided.operations))
        if result.succeeded:
            return decided.answer(result.revision)
    raise ConflictError("others changed this tenant at the same time, again and again: try again in a moment")
