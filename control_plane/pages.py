"""One page of a list in the store, and where it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from cluster.store import ClusterStore, KeyValue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`position` is where the next page begins; "" on the last one."""

    items: tuple[T, ...]
    position: str


async def stored_page(store: ClusterStore, prefix: str, size: int, position: str) -> Page[KeyValue]:
    """Records under a prefix in key order. Positions are keys without the prefix, so none leads out of it."""
    found = await store.range(prefix, after=prefix + position if position else "", limit=size + 1)
    items = found[:size]
    return Page(items, items[-1].key[len(prefix) :] if len(found) > size else "")
