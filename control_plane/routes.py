"""Routes one by one: set by weight, promoted, rolled back; each in one transaction with its tenant's generation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from cluster import keys
from cluster.codec import decode_route, encode
from cluster.generations import Change, change
from cluster.records import WEIGHTS_SUM, Asked, Route, Target, Targets, Tenant
from cluster.store import ClusterStore, Put
from control_plane.limits import ControlLimits, refuse_over
from control_plane.route_changes import TARGETS_MAX, digests, promoted, rolled_back, routed_to
from control_plane.schedules import enforced
from control_plane.versions import Versions, refuse_retiring
from control_plane.workflows import Workflows
from stepwell.errors import (
    ConflictError,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    WrongStateError,
)
from stepwell.names import Digest, WorkflowId


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a workflow's new instances a version shall get: 1 to 100 of a hundred."""

    digest: Digest
    weight: int = WEIGHTS_SUM


@dataclass(frozen=True, slots=True)
class Changed:
    """The route as it is, and the targets that it had before the call, or before the one that the call repeats."""

    route: Route
    replaced: Targets


class Routes:
    """Rules over the cluster's store; see there for consistency.

    With an etag (a route's `mod_revision` as text), each call raises ConflictError unless the route still has it.
    """

    def __init__(self, store: ClusterStore, *, clock_ms: Callable[[], int], limits: ControlLimits) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._limits = limits
        self._versions = Versions(store)
        self._workflows = Workflows(store)

    async def set(self, tenant: Tenant, workflow: WorkflowId, shares: Sequence[Share], etag: str = "") -> Route:
        """Give new instances of the workflow those versions; a route that does so already stays as it is.

        Raises NotFoundError for a version that the tenant has not, or that has not the workflow, InvalidArgumentError
        for shares that are no whole, and LimitExceededError.
        """
        check_shares(shares)

        async def decide() -> Change[Route]:
            targets = tuple([await self._target(tenant, workflow, share) for share in shares])
            stored = await self._store.get(keys.route(tenant.uid, workflow))
            before = None if stored is None else decode_route(stored)
            _check_etag(etag, workflow, before)
            if before is None:
                held = await self._store.range(keys.routes(tenant.uid), limit=self._limits.workflows_max + 1)
                refuse_over(tenant, "workflows_max", self._limits.workflows_max, len(held) + 1, "workflows")
            after = routed_to(tenant.uid, workflow, targets, before, self._clock_ms())
            if after == before:
                return Change((), lambda _: after)
            put = Put(keys.route(tenant.uid, workflow), encode(after))
            schedules = await enforced(self._store, tenant, [after], self._limits, self._clock_ms())
            return Change((put, *schedules), lambda revision: replace(after, mod_revision=revision))

        return await change(self._store, tenant.uid, decide)

    async def promote(
        self, tenant: Tenant, workflow: WorkflowId, digest: Digest | None, etag: str = "", request_id: str = ""
    ) -> Changed:
        """Give that one of the route's versions everything; without one, the last of two.

        Raises NotFoundError for a route that is not there or has not that version, and WrongStateError when the version
        has to be named.
        """

        async def decide(route: Route) -> Route:
            return promoted(route, digest, self._clock_ms())

        return await self._changed(tenant, workflow, f"promote {digest or ''}", etag, request_id, decide)

    async def roll_back(self, tenant: Tenant, workflow: WorkflowId, etag: str = "", request_id: str = "") -> Changed:
        """Make the route what it was before the last version came in.

        Raises NotFoundError without a route, and WrongStateError when nothing is known of a time before, or a version
        of then is gone. Called twice without a request_id or an etag, it goes back twice.
        """

        async def decide(route: Route) -> Route:
            after = rolled_back(route, self._clock_ms())
            for digest in sorted(digests(after.targets)):
                version = await self._versions.find(tenant.uid, digest)
                if version is None:
                    raise WrongStateError(
                        f"the route of {workflow!r} can't be rolled back to version {digest}, which was retired:"
                        " `routes set` leads it to one that is there",
                        workflow=workflow, version=digest,
                    )  # fmt: skip
                refuse_retiring(version)
            return after

        return await self._changed(tenant, workflow, "roll back", etag, request_id, decide)

    async def _changed(
        self,
        tenant: Tenant,
        workflow: WorkflowId,
        call: str,
        etag: str,
        request_id: str,
        decided: Callable[[Route], Awaitable[Route]],
    ) -> Changed:
        """A call that was made before, by its request_id, is answered with what came of it, whatever its etag."""

        async def decide() -> Change[Changed]:
            route = await self._workflows.get(tenant.uid, workflow)
            if request_id and route.asked is not None and route.asked.request_id == request_id:
                if route.asked.call != call:
                    raise InvalidArgumentError(
                        "request_id: it was used for another request; a new request takes a new one", field="request_id"
                    )
                answered = Changed(route, route.asked.replaced)
                return Change((), lambda _: answered)
            _check_etag(etag, workflow, route)
            after = await decided(route)
            if after == route:
                return Change((), lambda _: Changed(route, route.targets))
            if request_id:
                after = replace(after, asked=Asked(request_id, call, route.targets))
            put = Put(keys.route(tenant.uid, workflow), encode(after))
            schedules = await enforced(self._store, tenant, [after], self._limits, self._clock_ms())
            return Change(
                (put, *schedules), lambda revision: Changed(replace(after, mod_revision=revision), route.targets)
            )

        return await change(self._store, tenant.uid, decide)

    async def _target(self, tenant: Tenant, workflow: WorkflowId, share: Share) -> Target:
        version = await self._versions.get(tenant.uid, share.digest)
        refuse_retiring(version)
        entrypoint = dict(version.entrypoints).get(workflow)
        if entrypoint is None:
            raise NotFoundError(
                f"version {share.digest} has no workflow {workflow!r}: `versions describe` shows those that it has",
                version=share.digest, workflow=workflow,
            )  # fmt: skip
        return Target(share.digest, entrypoint, share.weight)


def check_shares(shares: Sequence[Share]) -> None:
    """Raises InvalidArgumentError and LimitExceededError unless these are a whole."""
    if len(shares) > TARGETS_MAX:
        raise LimitExceededError(
            f"targets: a route has at most {TARGETS_MAX} versions, and these are {len(shares)}",
            field="targets", limit="targets_max", value=str(TARGETS_MAX), seen=str(len(shares)),
        )  # fmt: skip
    seen: set[Digest] = set()
    for number, share in enumerate(shares):
        if not 1 <= share.weight <= WEIGHTS_SUM:
            raise InvalidArgumentError(
                f"targets[{number}].weight: {share.weight} is no weight: so many of a hundred new instances, 1 to"
                f" {WEIGHTS_SUM}; leave out a version that gets none",
                field=f"targets[{number}].weight",
            )
        if share.digest in seen:
            raise InvalidArgumentError(
                f"targets[{number}].version: {share.digest} is named twice: add up its weights",
                field=f"targets[{number}].version",
            )
        seen.add(share.digest)
    total = sum(share.weight for share in shares)
    if total != WEIGHTS_SUM:
        raise InvalidArgumentError(
            f"targets: their weights add up to {total}, and have to be {WEIGHTS_SUM} together", field="targets"
        )


def _check_etag(etag: str, workflow: WorkflowId, route: Route | None) -> None:
    if etag and etag != (str(route.mod_revision) if route is not None else ""):
        raise ConflictError(
            f"the route of {workflow!r} is not the one with that etag any more: look at it again, then decide",
            workflow=workflow,
        )
