"""Which control records move, in which order: what is a tenant's moves, what is the installation's own stays.

Tenants come first, since everything else is theirs; their tokens come last, since they let them in. What stays: the
operator's tokens and request_ids, since a cluster has an operator of its own, and generation keys, which say of a
change that it happened there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from cluster import keys
from cluster.codec import decode, decode_value
from cluster.records import Route, Schedules, Tenant, Ticked, Token, Version
from cluster.store import ClusterStore, KeyValue
from stepwell.names import TenantUid
from stepwell_server.moving.refusals import MoveRefusedError

MOVING: Final = ("tenant", "version", "version-of", "route", "schedules", "ticked", "token-of", "token")
"""Kinds of keys, in their order: a token is written after the entry by which it is listed, or lists would miss it."""

TOKENS: Final = frozenset({"token-of", "token"})

RECORDS_AT_ONCE: Final = 500
"""Read together: with the largest manifests some 50 MiB."""

_RECORDS: Final[dict[str, type]] = {
    "tenant": Tenant,
    "version": Version,
    "route": Route,
    "schedules": Schedules,
    "ticked": Ticked,
    "token": Token,
}
"""The others' values are no records: sizes, or nothing."""

STAYING: Final = frozenset({"generation", "request"})


async def moving_records(store: ClusterStore) -> AsyncIterator[KeyValue]:
    """All that moves, in its order. Raises MoveRefusedError for a record that nobody has decided about."""
    async for found in _range(store, ""):
        if keys.kind(found.key) not in STAYING and keys.kind(found.key) not in MOVING:
            raise MoveRefusedError(
                f"the control record {found.key!r} is of a kind that this release can't move: export with the release"
                " that wrote it, or a newer one"
            )
    for kind in MOVING:
        async for found in _range(store, f"{kind}/"):
            if owner_of(found.key, found.value) is not None:
                yield found


def owner_of(key: str, value: bytes) -> TenantUid | None:
    """The tenant whose record it is; None stands for the operator. Raises RecordFormatError."""
    match keys.kind(key):
        case "tenant":
            return decode(Tenant, value, key).uid
        case "token":
            return decode(Token, value, key).tenant_uid
        case _:
            uid = keys.owner(key)
            return None if uid == keys.OPERATOR else TenantUid(uid)


def check(key: str, value: bytes) -> None:
    """Raises RecordFormatError for what this release can't read."""
    record = _RECORDS.get(keys.kind(key))
    if record is not None:
        decode(record, value, key)


async def tenants(store: ClusterStore) -> AsyncIterator[Tenant]:
    """All of them, by id."""
    async for found in _range(store, keys.TENANTS):
        yield decode_value(Tenant, found)


async def _range(store: ClusterStore, prefix: str) -> AsyncIterator[KeyValue]:
    after = ""
    while True:
        page = await store.range(prefix, after=after, limit=RECORDS_AT_ONCE)
        for found in page:
            yield found
        if len(page) < RECORDS_AT_ONCE:
            return
        after = page[-1].key
