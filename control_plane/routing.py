"""What routes become by a deploy, in one transaction with the version's record where it is new."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster import keys
from cluster.codec import decode_route, decode_value, encode
from cluster.generations import Change
from cluster.records import Route, Target, Tenant, Version
from cluster.store import ClusterStore, Operation, Put
from control_plane.limits import ControlLimits, refuse_over
from control_plane.route_changes import routed_to
from control_plane.schedules import enforced
from control_plane.turns import Turn
from control_plane.versions import refuse_retiring
from stepwell.names import WorkflowId


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
        """Raises LimitExceededError, TurnLostError, and ConflictError for a version that is being retired."""
        await self._turn.confirm()
        version, operations = await self._kept()
        created = bool(operations)
        before = await self._routes_before()
        if self._no_route:
            kept = tuple(before[workflow] for workflow, _ in version.entrypoints if workflow in before)
            return Change(tuple(operations), lambda _: Routed(version, kept, created, ()), self._turn.compares)
        after = {
            workflow: routed_to(
                version.tenant_uid,
                workflow,
                (Target(version.digest, entrypoint),),
                before.get(workflow),
                self._now_ms,
            )
            for workflow, entrypoint in version.entrypoints
        }
        refuse_over(
            self._tenant, "workflows_max", self._limits.workflows_max, len(before.keys() | after.keys()), "workflows"
        )
        changed = {workflow for workflow, route in after.items() if route != before.get(workflow)}
        operations += [Put(keys.route(version.tenant_uid, each), encode(after[each])) for each in sorted(changed)]
        operations += await enforced(
            self._store, self._tenant, [after[each] for each in sorted(changed)], self._limits, self._now_ms, version
        )
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
            kept = decode_value(Version, stored)
            refuse_retiring(kept)
            return kept, []
        uid, most = self._version.tenant_uid, self._limits.versions_max
        held = await self._store.range(keys.versions_by_age(uid), limit=most + 1)
        refuse_over(self._tenant, "versions_max", most, len(held) + 1, "versions")
        size = self._version.size_bytes
        stored_bytes = sum(int(each.value or b"0") for each in held) + size
        refuse_over(
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
        warnings = [
            f"the workflow {each!r} is not in this version: new instances get the one it had, until it is deleted"
            for each in shown
        ]
        if len(left) > len(shown):
            warnings.append(f"and so it is with {len(left) - len(shown)} more workflows")
        return tuple(warnings)
