"""What routes become: by a deploy, in one transaction with the version's record where it is new; or one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cluster import keys
from cluster.codec import decode_route, decode_value, encode
from cluster.generations import Change, change
from cluster.records import Route, Tenant, Version
from cluster.store import ClusterStore, Operation, Put
from control_plane.limits import ControlLimits
from control_plane.turns import Turn
from stepwell.errors import ConflictError, LimitExceededError, NotFoundError
from stepwell.names import Digest, WorkflowId


@dataclass(frozen=True, slots=True)
class Routed:
    """The version as it is kept, its routes by id, and what the operator should know."""

    version: Version
    routes: tuple[Route, ...]
    created: bool
    warnings: tuple[str, ...]


class Routing:
    """What one deploy changes within its turn, decided from what the store holds; see `cluster.generations.change`.

    With `no_route` the version is kept, and its workflows' routes stay as they are.
    """

    def __init__(
        self,
        store: ClusterStore,
        tenant: Tenant,
        version: Version,
        turn: Turn,
        limits: ControlLimits,
        now_ms: int,
        *,
        no_route: bool = False,
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._version = version
        self._turn = turn
        self._limits = limits
        self._now_ms = now_ms
        self._no_route = no_route

    async def decide(self) -> Change[Routed]:
        """Raises LimitExceededError and TurnLostError."""
        await self._turn.confirm()
        version, operations = await self._kept()
        created = bool(operations)
        before = await self._routes_before()
        if self._no_route:
            kept = tuple(before[workflow] for workflow, _ in version.entrypoints if workflow in before)
            return Change(tuple(operations), lambda _: Routed(version, kept, created, ()), self._turn.compares)
        after = {
            workflow: _route_to(version, workflow, entrypoint, before.get(workflow), self._now_ms)
            for workflow, entrypoint in version.entrypoints
        }
        _refuse_over(
            self._tenant, "workflows_max", self._limits.workflows_max, len(before.keys() | after.keys()), "workflows"
        )
        changed = {workflow for workflow, route in after.items() if route != before.get(workflow)}
        operations += [Put(keys.route(version.tenant_uid, each), encode(after[each])) for each in sorted(changed)]
        warnings = self._warnings(sorted(before.keys() - after.keys()))

        def answer(revision: int) -> Routed:
            routes = (replace(r, mod_revision=revision) if w in changed else r for w, r in after.items())
            return Routed(version, tuple(routes), created, warnings)

        return Change(tuple(operations), answer, self._turn.compares)

    async def _kept(self) -> tuple[Version, list[Operation]]:
        """The version as it was kept before, or what keeps it now."""
        key = keys.version(self._version.tenant_uid, self._version.digest)
        stored = await self._store.get(key)
        if stored is not None:
            return decode_value(Version, stored), []
        uid, most = self._version.tenant_uid, self._limits.versions_max
        held = await self._store.range(keys.versions_by_age(uid), limit=most + 1)
        _refuse_over(self._tenant, "versions_max", most, len(held) + 1, "versions")
        size = self._version.size_bytes
        stored_bytes = sum(int(each.value or b"0") for each in held) + size
        _refuse_over(
            self._tenant, "versions_bytes_max", self._limits.versions_bytes_max, stored_bytes, "bytes of bundles"
        )
        by_age = keys.version_by_age(uid, self._version.created_at_ms, self._version.digest)
        return self._version, [Put(key, encode(self._version)), Put(by_age, str(size).encode())]

    async def _routes_before(self) -> dict[WorkflowId, Route]:
        stored = await self._store.range(keys.routes(self._version.tenant_uid), limit=self._limits.workflows_max + 1)
        return {route.workflow: route for route in map(decode_route, stored)}

    def _warnings(self, left: list[WorkflowId]) -> tuple[str, ...]:
        shown = left[: self._limits.warnings_max]
        if len(left) > len(shown):
            shown = shown[:-1]
        warnings = [f"the workflow {each!r} is not in this version: new instances get the one it had" for each in shown]
        if len(left) > len(shown):
            warnings.append(f"and so it is with {len(left) - len(shown)} more workflows")
        return tuple(warnings)


class Routes:
    """Routes set one by one: rules over the cluster's store; see there for consistency."""

    def __init__(self, store: ClusterStore, *, clock_ms: Callable[[], int], limits: ControlLimits) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._limits = limits

    async def set(self, tenant: Tenant, workflow: WorkflowId, digest: Digest, etag: str = "") -> Route:
        """Route new instances of the workflow to that version; a route that leads there already stays as it is.

        With an etag (a route's `mod_revision` as text), ConflictError unless the route still has it. Raises
        NotFoundError for a version that the tenant has not, or that has not the workflow, and LimitExceededError.
        """

        async def decide() -> Change[Route]:
            version = await self._version(tenant, digest)
            entrypoint = dict(version.entrypoints).get(workflow)
            if entrypoint is None:
                raise NotFoundError(
                    f"version {digest} has no workflow {workflow!r}: `versions describe` shows those that it has",
                    version=digest, workflow=workflow,
                )  # fmt: skip
            stored = await self._store.get(keys.route(tenant.uid, workflow))
            before = None if stored is None else decode_route(stored)
            if etag and etag != (str(before.mod_revision) if before is not None else ""):
                raise ConflictError(
                    f"the route of {workflow!r} is not the one with that etag any more: look at it again, then decide",
                    workflow=workflow,
                )
            if before is None:
                held = await self._store.range(keys.routes(tenant.uid), limit=self._limits.workflows_max + 1)
                _refuse_over(tenant, "workflows_max", self._limits.workflows_max, len(held) + 1, "workflows")
            after = _route_to(version, workflow, entrypoint, before, self._clock_ms())
            if after == before:
                return Change((), lambda _: after)
            put = Put(keys.route(tenant.uid, workflow), encode(after))
            return Change((put,), lambda revision: replace(after, mod_revision=revision))

        return await change(self._store, tenant.uid, decide)

    async def _version(self, tenant: Tenant, digest: Digest) -> Version:
        stored = await self._store.get(keys.version(tenant.uid, digest))
        if stored is None:
            raise NotFoundError(f"the tenant has no version {digest}", version=digest)
        return decode_value(Version, stored)


def _route_to(version: Version, workflow: WorkflowId, entrypoint: str, before: Route | None, now_ms: int) -> Route:
    """The route to that version; the very one from before, where it leads there."""
    if before is None:
        return Route(version.tenant_uid, workflow, version.digest, entrypoint, now_ms, now_ms)
    if (before.digest, before.entrypoint) == (version.digest, entrypoint):
        return before
    return replace(before, digest=version.digest, entrypoint=entrypoint, updated_at_ms=now_ms)


def _refuse_over(tenant: Tenant, limit: str, value: int, seen: int, what: str) -> None:
    if seen > value:
        raise LimitExceededError(
            f"the tenant {tenant.id!r} would have {seen} {what}; it may have {value}",
            tenant=tenant.id, limit=limit, value=str(value), seen=str(seen),
        )  # fmt: skip
