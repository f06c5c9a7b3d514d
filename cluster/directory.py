"""Tenants, tokens, versions and routes at hand: what every call looks up, read from the store once and then remembered.

What is remembered is dropped when its tenant's generation moves (`cluster.generations`), and not used at all while the
watch on the generations has not been heard for `staleness_s`: look-ups then go to the store, and fail when it can't be
reached. So an answer is never older than that. What a version is never changes; that it is about to go does.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Final, Generic, NoReturn, TypeVar

from cluster import keys
from cluster.codec import decode_route, decode_value
from cluster.generations import BUCKETS, bucket_of
from cluster.records import Route, Tenant, Terms, Token, Version
from cluster.store import WATCH_PROGRESS_SECONDS, ClusterStore, CompactedError
from stepwell.errors import NotFoundError, UnavailableError
from stepwell.names import Digest, TenantId, TenantUid, WorkflowId
from stepwell.retention import NOT_SAID
from stepwell.workflow_limits import UNLIMITED

ENTRIES_MAX: Final = 16_384
"""Tenants, tokens, routes and versions' terms remembered, of each; the least recently used go first."""

VERSIONS_MAX: Final = 512
"""Versions remembered. A manifest has at most 64 KiB, so together they stay below 40 MiB."""

STALENESS_S: Final = 3 * WATCH_PROGRESS_SECONDS

ROUTE_AGE_S: Final = 1.0
"""How long ago a create looked its route up at most when its first record is made. So what it is pinned to was routed
within this and `STALENESS_S`."""

RETRY_DELAY_S: Final = 1.0
"""Between attempts to watch again; look-ups go to the store meanwhile."""

_NO_TERMS: Final = Terms(NOT_SAID, UNLIMITED)

K = TypeVar("K")
V = TypeVar("V")


class Directory:
    """Cached reads of the cluster's records. `run` must run, or every look-up asks the store.

    A look-up sees every change that its own process has awaited, once the store has told the watch of it, and any
    change at all within `staleness_s`. Look-ups raise UnavailableError when the store can't be asked.
    """

    def __init__(
        self, store: ClusterStore, *, monotonic_s: Callable[[], float], staleness_s: float = STALENESS_S
    ) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._staleness_s = staleness_s
        self._fresh_until_s = float("-inf")
        self._generations = [0] * BUCKETS
        self._heard = 0
        self._revision = 0
        self._told = asyncio.Event()
        self._tenants: _Cache[TenantId, Tenant] = _Cache(ENTRIES_MAX)
        self._tokens: _Cache[str, Token] = _Cache(ENTRIES_MAX)
        self._routes: _Cache[tuple[TenantUid, WorkflowId], Route] = _Cache(ENTRIES_MAX)
        self._versions: _Cache[tuple[TenantUid, Digest], Version] = _Cache(VERSIONS_MAX)
        self._terms: _Cache[tuple[TenantUid, Digest], Mapping[WorkflowId, Terms]] = _Cache(ENTRIES_MAX)
        """Never dropped but for room: of a digest they are always the same."""

    async def run(self) -> NoReturn:
        """Follow the generations until cancelled; a broken watch is begun again."""
        while True:
            try:
                await self._follow()
            except (UnavailableError, CompactedError):
                self._fresh_until_s = float("-inf")
                self._tell()
                await asyncio.sleep(RETRY_DELAY_S)

    async def heard(self, revision: int) -> None:
        """Return once every look-up sees what that transaction changed: `staleness_s` at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(self._fresh_until_s - self._monotonic_s(), self._staleness_s))):
                while self._revision < revision and self._monotonic_s() < self._fresh_until_s:
                    await self._told.wait()

    async def tenant(self, tenant_id: TenantId) -> Tenant:
        """The tenant. Raises NotFoundError."""
        known = self._remembered(self._tenants, tenant_id)
        if known is not None:
            return known
        heard = self._heard
        stored = await self._store.get(keys.tenant(tenant_id))
        if stored is None:
            raise NotFoundError(f"there is no tenant {tenant_id!r}", tenant=tenant_id)
        tenant = decode_value(Tenant, stored)
        self._remember(self._tenants, tenant_id, tenant, tenant.uid, heard)
        return tenant

    async def token(self, token_id: str) -> Token | None:
        """The token's record, or None when there is none. What isn't there is not remembered."""
        known = self._remembered(self._tokens, token_id)
        if known is not None:
            return known
        heard = self._heard
        stored = await self._store.get(keys.token(token_id))
        if stored is None:
            return None
        token = decode_value(Token, stored)
        self._remember(self._tokens, token_id, token, token.tenant_uid, heard)
        return token

    async def route(self, uid: TenantUid, workflow: WorkflowId) -> Route:
        """The workflow's route. Raises NotFoundError."""
        known = self._remembered(self._routes, (uid, workflow))
        if known is not None:
            return known
        heard = self._heard
        stored = await self._store.get(keys.route(uid, workflow))
        if stored is None:
            raise NotFoundError(
                f"the tenant has no workflow {workflow!r}: deploy a bundle that declares it, or set its route",
                workflow=workflow,
            )
        route = decode_route(stored)
        self._remember(self._routes, (uid, workflow), route, uid, heard)
        return route

    async def version(self, uid: TenantUid, digest: Digest) -> Version:
        """The version, also one that is retiring. Raises NotFoundError."""
        known = self._remembered(self._versions, (uid, digest))
        if known is not None:
            return known
        heard = self._heard
        stored = await self._store.get(keys.version(uid, digest))
        if stored is None:
            raise NotFoundError(f"the tenant has no version {digest}", version=digest)
        version = decode_value(Version, stored)
        self._remember(self._versions, (uid, digest), version, uid, heard)
        return version

    async def terms(self, uid: TenantUid, digest: Digest, workflow: WorkflowId) -> Terms:
        """What the version says of the workflow's instances. Raises NotFoundError.

        Each create asks: so it is remembered for many more versions than their manifests are.
        """
        known = self._terms.get((uid, digest))
        if known is None:
            version = await self.version(uid, digest)
            saying = {said for said, _ in (*version.retentions, *version.limits)}
            known = ({each: version.terms(each) for each in sorted(saying)}, 0, 0)
            self._terms.put((uid, digest), known)
        return known[0].get(workflow, _NO_TERMS)

    async def _follow(self) -> None:
        revision = await self._store.revision()
        # What was told before this watch began is not known: forget, and let no read that is under way be remembered.
        self._heard += 1
        for cache in (self._tenants, self._tokens, self._routes, self._versions):
            cache.clear()
        async with aclosing(self._store.watch(keys.GENERATIONS, after=revision)) as batches:
            async for batch in batches:
                for event in batch.events:
                    self._generations[keys.bucket_of_generation(event.key)] += 1
                    self._heard += 1
                self._fresh_until_s = self._monotonic_s() + self._staleness_s
                self._revision = batch.revision
                self._tell()

    def _tell(self) -> None:
        """Wake those who wait for the watch."""
        told, self._told = self._told, asyncio.Event()
        told.set()

    def _remembered(self, cache: _Cache[K, V], key: K) -> V | None:
        entry = cache.get(key)
        if entry is None or self._monotonic_s() >= self._fresh_until_s:
            return None
        value, bucket, generation = entry
        return value if self._generations[bucket] == generation else None

    def _remember(self, cache: _Cache[K, V], key: K, value: V, owner: TenantUid | None, heard: int) -> None:
        """Unless something changed while the value was being read: it may be from before that change."""
        if heard == self._heard:
            bucket = bucket_of(owner)
            cache.put(key, (value, bucket, self._generations[bucket]))


class _Cache(Generic[K, V]):
    """Entries of (value, bucket, generation), bounded: it drops what was used least recently."""

    def __init__(self, entries_max: int) -> None:
        self._entries: OrderedDict[K, tuple[V, int, int]] = OrderedDict()
        self._entries_max = entries_max

    def get(self, key: K) -> tuple[V, int, int] | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: K, entry: tuple[V, int, int]) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()
