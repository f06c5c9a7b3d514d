"""The one transaction of a deploy: the version's record, where it is new, and a route to it for each workflow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster import keys
from cluster.codec import decode_route, decode_value, encode
from cluster.generations import Change
from cluster.records import Route, Tenant, Version
from cluster.store import ClusterStore, Operation, Put
from control_plane.limits import ControlLimits
from stepwell.errors import LimitExceededError
from stepwell.names import WorkflowId


@dataclass(frozen=True, slots=True)
class Routed:
    """The version as it is kept, its routes by id, and what the operator should know."""

    version: Version
    routes: tuple[Route, ...]
    created: bool
    warnings: tuple[str, ...]


class Routing:
    """What one deploy changes, decided from what the store holds; see `cluster.generations.change`."""

    def __init__(
        self, store: ClusterStore, tenant: Tenant, version: Version, limits: ControlLimits, now_ms: int
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._version = version
        self._limits = limits
        self._now_ms = now_ms

    async def decide(self) -> Change[Routed]:
        """Raises LimitExceededError."""
        version, operations = await self._kept()
        created = bool(operations)
        before = await self._routes_before()
        after = {workflow: self._routed(before.get(workflow), workflow, to) for workflow, to in version.entrypoints}
        self._refuse_over("workflows_max", self._limits.workflows_max, len(before.keys() | after.keys()), "workflows")
        changed = {workflow for workflow, route in after.items() if route != before.get(workflow)}
        operations += [Put(keys.route(version.tenant_uid, each), encode(after[each])) for each in sorted(changed)]
        warnings = self._warnings(sorted(before.keys() - after.keys()))

        def answer(revision: int) -> Routed:
            routes = (replace(r, mod_revision=revision) if w in changed else r for w, r in after.items())
            return Routed(version, tuple(routes), created, warnings)

        return Change(tuple(operations), answer)

    async def _kept(self) -> tuple[Version, list[Operation]]:
        """The version as it was kept before, or what keeps it now."""
        key = keys.version(self._version.tenant_uid, self._version.digest)
        stored = await self._store.get(key)
        if stored is not None:
            return decode_value(Version, stored), []
        uid, most = self._version.tenant_uid, self._limits.versions_max
        held = await self._store.range(keys.versions_by_age(uid), limit=most + 1)
        self._refuse_over("versions_max", most, len(held) + 1, "versions")
        by_age = keys.version_by_age(uid, self._version.created_at_ms, self._version.digest)
        return self._version, [Put(key, encode(self._version)), Put(by_age, b"")]

    async def _routes_before(self) -> dict[WorkflowId, Route]:
        stored = await self._store.range(keys.routes(self._version.tenant_uid), limit=self._limits.workflows_max + 1)
        return {route.workflow: route for route in map(decode_route, stored)}

    def _routed(self, before: Route | None, workflow: WorkflowId, entrypoint: str) -> Route:
        digest, now = self._version.digest, self._now_ms
        if before is None:
            return Route(self._version.tenant_uid, workflow, digest, entrypoint, now, now)
        if (before.digest, before.entrypoint) == (digest, entrypoint):
            return before
        return replace(before, digest=digest, entrypoint=entrypoint, updated_at_ms=now)

    def _warnings(self, left: list[WorkflowId]) -> tuple[str, ...]:
        shown = left[: self._limits.warnings_max]
        if len(left) > len(shown):
            shown = shown[:-1]
        warnings = [f"the workflow {each!r} is not in this version: new instances get the one it had" for each in shown]
        if len(left) > len(shown):
            warnings.append(f"and so it is with {len(left) - len(shown)} more workflows")
        return tuple(warnings)

    def _refuse_over(self, limit: str, value: int, seen: int, what: str) -> None:
        if seen > value:
            raise LimitExceededError(
                f"the tenant {self._tenant.id!r} would have {seen} {what}; it may have {value}",
                tenant=self._tenant.id, limit=limit, value=str(value), seen=str(seen),
            )  # fmt: skip
