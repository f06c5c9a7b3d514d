"""Page tokens of listings: where the last page ended, and of which list."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from data_plane.journal.store import EVER, CreateTimes
from stepwell.names import InstanceId, InstanceUid, TenantUid, WorkflowId

_CHECK_BYTES = 8


class PageEnd(NamedTuple):
    """The last listing of a page: listings are ordered by these three, all descending."""

    created_at: int
    instance: InstanceId
    uid: InstanceUid


def token_after(end: PageEnd, tenant: TenantUid, workflow: WorkflowId, statuses: Iterable[str]) -> str:
    body = json.dumps(end, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(body, tenant, workflow, statuses) + body).decode().rstrip("=")


def end_in(token: str, tenant: TenantUid, workflow: WorkflowId, statuses: Iterable[str]) -> PageEnd:
    """Where to go on. Raises ValueError for a token of another list, or of nobody's."""
    refusal = ValueError("the page token is not one of this list: start again without one")
    try:
        data = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
    except (binascii.Error, UnicodeEncodeError):
        raise refusal from None
    check, body = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if not body or check != _check(body, tenant, workflow, statuses):
        raise refusal
    created_at, instance, uid = json.loads(body)
    return PageEnd(created_at, instance, uid)


def start_of(
    token: str, tenant: TenantUid, workflow: WorkflowId, statuses: Iterable[str], created: CreateTimes
) -> PageEnd | None:
    """What a page begins after: the last one's end, or what would be the first after those times; None: nothing."""
    if token:
        return end_in(token, tenant, workflow, statuses)
    return PageEnd(created.last + 1, InstanceId(""), InstanceUid("")) if created.last < EVER.last else None


def _check(body: bytes, tenant: TenantUid, workflow: WorkflowId, statuses: Iterable[str]) -> bytes:
    """Catches mistakes, not forgers: a forged token shows nothing but another page of the same list."""
    of = json.dumps([tenant, workflow, sorted(statuses)]).encode()
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, key=hashlib.blake2b(of, digest_size=32).digest()).digest()
