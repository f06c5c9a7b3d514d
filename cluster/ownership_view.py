"""Which processes live and who owns which shard, followed from the store: right in the end, maybe stale before.

Whoever acts on it does so in transactions that check what they rely on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NoReturn

from cluster import keys
from cluster.codec import decode
from cluster.records import Member, ShardOwner
from cluster.store import RANGE_LIMIT_MAX, ClusterStore, CompactedError, KeyValue
from stepwell.errors import UnavailableError

RETRY_DELAY_S: Final = 1.0
"""Between attempts to watch again; what is known stays until then."""


@dataclass(frozen=True, slots=True)
class OwnedShard:
    """`revision` is of the transaction that made the record: it is written once and deleted."""

    owner: ShardOwner
    revision: int


class OwnershipView:
    """`changed` is called after each change."""

    def __init__(self, store: ClusterStore, changed: Callable[[], None]) -> None:
        self.members: dict[str, Member] = {}
        self.controls: dict[str, Member] = {}
        self.owners: dict[int, OwnedShard] = {}
        self.importing = False
        """Whether an import is under way, and no shard may be claimed."""
        self._store = store
        self._changed = changed

    def address_of_owner(self, number: int) -> str | None:
        """Where the shard's owner is called; None when it has none that lives, as far as is known."""
        owned = self.owners.get(number)
        member = self.members.get(owned.owner.node) if owned is not None else None
        return member.address if member is not None else None

    def forget_owner(self, number: int, revision: int) -> None:
        """That record is known to be gone, before the watch tells."""
        owned = self.owners.get(number)
        if owned is not None and owned.revision == revision:
            del self.owners[number]

    async def run(self) -> NoReturn:
        """Follow the store until cancelled; a broken watch is begun again."""
        while True:
            try:
                await self._follow()
            except (UnavailableError, CompactedError):
                await asyncio.sleep(RETRY_DELAY_S)

    async def _follow(self) -> None:
        revision = await self._store.revision()
        # What changes while this is read is told by the watch, which begins before it.
        self._replace(await self._all())
        async with aclosing(self._store.watch(keys.OWNERSHIP, after=revision)) as batches:
            async for batch in batches:
                for event in batch.events:
                    self._apply(event.key, event.value, event.mod_revision)
                if batch.events:
                    self._changed()

    async def _all(self) -> list[KeyValue]:
        found: list[KeyValue] = []
        while True:
            after = found[-1].key if found else ""
            page = await self._store.range(keys.OWNERSHIP, after=after, limit=RANGE_LIMIT_MAX)
            found += page
            if len(page) < RANGE_LIMIT_MAX:
                return found

    def _replace(self, found: list[KeyValue]) -> None:
        self.members.clear()
        self.controls.clear()
        self.owners.clear()
        self.importing = False
        for each in found:
            self._apply(each.key, each.value, each.mod_revision)
        self._changed()

    def _apply(self, key: str, value: bytes | None, revision: int) -> None:
        if key.startswith(keys.MEMBERS):
            _apply_member(self.members, key.removeprefix(keys.MEMBERS), value, key)
        elif key.startswith(keys.CONTROLS):
            _apply_member(self.controls, key.removeprefix(keys.CONTROLS), value, key)
        elif key.startswith(keys.OWNERS):
            number = keys.shard_of_owner(key)
            if value is None:
                self.owners.pop(number, None)
            else:
                self.owners[number] = OwnedShard(decode(ShardOwner, value, key), revision)
        elif key == keys.IMPORT:
            self.importing = value is not None


def _apply_member(members: dict[str, Member], node: str, value: bytes | None, key: str) -> None:
    if value is None:
        members.pop(node, None)
    else:
        members[node] = decode(Member, value, key)
