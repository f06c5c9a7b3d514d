"""The end of a version: taken out of routes, then, when nothing needs it any more, gone for good.

A create may follow what a node remembers of a route for a while after the route has changed. So a version is first
marked as retiring, in the transaction that finds that no route names it: from then on none can. When every create that
follows an older route is one that the count sees, pinned instances are counted; without any, its bytes go, then its
records. Whatever interrupts this leaves a version that is retiring, which the same call takes up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from cluster import keys
from cluster.codec import decode_value, encode
from cluster.generations import Change, change
from cluster.records import Route, Tenant, Version
from cluster.store import ClusterStore, Compare, Delete, KeyValue, Put
from control_plane.limits import ControlLimits
from control_plane.pinned import PinnedInstances
from control_plane.route_changes import digests, drained
from control_plane.schedules import enforced
from control_plane.turns import DeployTurns, Turn, Turns
from control_plane.versions import Versions
from control_plane.workflows import Workflows
from loader.bundles.store import BundleStore
from stepwell.errors import ConflictError, NotFoundError, WrongStateError
from stepwell.names import Digest, WorkflowId

NAMED_AT_MOST = 5
"""Workflows that a refusal names; it counts the others."""

COUNTS_AT_ONCE_MAX: Final = 4
"""Of pinned instances, in this process, each another tenant's."""

Settled = Callable[[int], Awaitable[None]]
"""Returns once no create follows any more what routes were before that revision, unless it is in its owner's memory."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Which workflows' routes name a version, and how many instances that have not ended are pinned to it."""

    version: Version
    routed: tuple[WorkflowId, ...]
    pinned: int


class Retirement:
    """Of all tenants' versions. `turns` are those of deploys: no deploy brings a version back while its bytes go."""

    def __init__(
        self,
        store: ClusterStore,
        bundles: BundleStore,
        pinned: PinnedInstances,
        turns: DeployTurns,
        settled: Settled,
        *,
        clock_ms: Callable[[], int],
        limits: ControlLimits,
    ) -> None:
        self._limits = limits
        self._store = store
        self._bundles = bundles
        self._pinned = pinned
        self._turns = turns
        self._settled = settled
        self._clock_ms = clock_ms
        self._counting = Turns()
        self._counts = asyncio.Semaphore(COUNTS_AT_ONCE_MAX)
        self._versions = Versions(store)
        self._workflows = Workflows(store)

    async def usage(self, tenant: Tenant, digest: Digest) -> Usage:
        """Raises NotFoundError, and UnavailableError when nobody can count now."""
        version = await self._versions.get(tenant.uid, digest)
        routed = tuple(route.workflow for route in await self._naming(tenant, digest))
        return Usage(version, routed, await self._count(tenant, version))

    async def drain(self, tenant: Tenant, digest: Digest) -> tuple[Route, ...]:
        """Take the version out of all routes, in one transaction; those that changed, by workflow.

        The others of each route share its weight as theirs are to each other. Raises NotFoundError, and
        WrongStateError where it is a route's only version.
        """

        async def decide() -> Change[tuple[Route, ...]]:
            await self._versions.get(tenant.uid, digest)
            before = await self._naming(tenant, digest)
            alone = [route.workflow for route in before if not route.others]
            if alone:
                raise WrongStateError(
                    f"version {digest} is the only one of the route of {_named(alone)}: lead it to another version"
                    " first",
                    version=digest,
                )  # fmt: skip
            now_ms = self._clock_ms()
            after = [drained(route, digest, now_ms) for route in before]
            puts = tuple(Put(keys.route(tenant.uid, route.workflow), encode(route)) for route in after)
            schedules = await enforced(self._store, tenant, after, self._limits, now_ms)
            return Change(
                (*puts, *schedules), lambda revision: tuple(replace(route, mod_revision=revision) for route in after)
            )

        return await change(self._store, tenant.uid, decide)

    async def retire(self, tenant: Tenant, digest: Digest) -> None:
        """Delete the version for good. To be called again when it was interrupted.

        Raises NotFoundError, and WrongStateError while a route names it or instances are pinned to it: then it is what
        it was before. ConflictError when another such call, or a deploy, came between; UnavailableError when it is
        unknown who is pinned, or what the stores did: the version may be left retiring then.
        """
        version = await self._versions.get(tenant.uid, digest)
        if not version.retiring:
            _refuse_pinned(await self._count(tenant, version), digest)
        marked = await change(self._store, tenant.uid, lambda: self._mark(tenant, digest))
        await self._settled(marked)
        async with self._turns.of(tenant.uid) as turn:
            count = await self._count(tenant, version)
            if count:
                await change(self._store, tenant.uid, lambda: self._unmark(tenant, digest, marked))
                _refuse_pinned(count, digest)
            await self._delete_bytes(tenant, digest, marked, turn)
            await change(self._store, tenant.uid, lambda: self._forget(tenant, digest, marked, turn))

    # ---------------------------------------------------------------- what is read
    async def _count(self, tenant: Tenant, version: Version) -> int:
        """One of a tenant's at a time: a count may read long lists, and no other tenant waits for all that it asks."""
        workflows = [workflow for workflow, _ in version.entrypoints]
        async with self._counting.of(tenant.uid), self._counts:
            return await self._pinned.count(tenant.uid, version.digest, workflows)

    async def _naming(self, tenant: Tenant, digest: Digest) -> list[Route]:
        return [route for route in await self._workflows.all(tenant.uid) if digest in digests(route.targets)]

    async def _stored(self, tenant: Tenant, digest: Digest) -> tuple[KeyValue, Version]:
        stored = await self._store.get(keys.version(tenant.uid, digest))
        if stored is None:
            raise NotFoundError(f"the tenant has no version {digest}", version=digest)
        return stored, decode_value(Version, stored)

    # ---------------------------------------------------------------- what is written
    async def _mark(self, tenant: Tenant, digest: Digest) -> Change[int]:
        """The answer is the revision since when no route can name it."""
        stored, version = await self._stored(tenant, digest)
        naming = [route.workflow for route in await self._naming(tenant, digest)]
        if naming:
            raise WrongStateError(
                f"version {digest} is in the route of {_named(naming)}: `versions drain` takes it out",
                version=digest,
            )  # fmt: skip
        if version.retiring:
            return Change((), lambda _: stored.mod_revision)
        put = Put(stored.key, encode(replace(version, retiring=True)))
        return Change((put,), lambda revision: revision)

    async def _marked(self, tenant: Tenant, digest: Digest, marked: int) -> tuple[KeyValue, Version]:
        """As it was marked then. Raises ConflictError when somebody else has ended that since."""
        stored, version = await self._stored(tenant, digest)
        if stored.mod_revision != marked:
            raise ConflictError(
                f"version {digest} was changed while it was being retired, by another call that did the same, or a"
                " deploy: it stays as it is now",
                version=digest,
            )  # fmt: skip
        return stored, version

    async def _unmark(self, tenant: Tenant, digest: Digest, marked: int) -> Change[None]:
        stored, version = await self._marked(tenant, digest, marked)
        return Change((Put(stored.key, encode(replace(version, retiring=False))),), lambda _: None)

    async def _delete_bytes(self, tenant: Tenant, digest: Digest, marked: int, turn: Turn) -> None:
        async def is_named(_: Digest) -> bool:
            await self._marked(tenant, digest, marked)
            await turn.confirm()
            return False

        await self._bundles.delete(tenant.uid, digest, is_named)

    async def _forget(self, tenant: Tenant, digest: Digest, marked: int, turn: Turn) -> Change[None]:
        stored, version = await self._marked(tenant, digest, marked)
        by_age = keys.version_by_age(tenant.uid, version.created_at_ms, digest)
        same = Compare(stored.key, stored.mod_revision)
        return Change((Delete(stored.key), Delete(by_age)), lambda _: None, (same, *turn.compares))


def _refuse_pinned(count: int, digest: Digest) -> None:
    if count:
        raise WrongStateError(
            f"{count} instance{'s' * (count != 1)} of version {digest} {'have' if count != 1 else 'has'} not ended:"
            " let them end, or terminate them, then retire it",
            version=digest, pinned=str(count),
        )  # fmt: skip


def _named(workflows: list[WorkflowId]) -> str:
    shown = ", ".join(map(repr, workflows[:NAMED_AT_MOST]))
    more = len(workflows) - NAMED_AT_MOST
    return shown if more <= 0 else f"{shown} and {more} more"
