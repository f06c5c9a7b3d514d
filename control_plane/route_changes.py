"""What becomes of one route, from one state to the next: pure rules; `routes` and `routing` write what they give.

A route remembers what its targets were each time that a version came in, the last few. To roll back is to go back to
before the last version came in: weights that were changed in between, and a promotion, are not steps of their own, so
that one roll back takes a canary away however far it got.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cluster.records import WEIGHTS_SUM, Route, Targets
from stepwell.errors import NotFoundError, WrongStateError
from stepwell.names import Digest, TenantUid, WorkflowId

TARGETS_MAX: Final = 4
"""Of one route. With HISTORY_MAX, what one deploy changes fits one transaction of the store."""

HISTORY_MAX: Final = 3
"""How often in a row a route can be rolled back; what is older is forgotten."""


def routed_to(uid: TenantUid, workflow: WorkflowId, targets: Targets, before: Route | None, now_ms: int) -> Route:
    """The route with those targets; the very one from before, where it has them already."""
    if before is None:
        first, *others = targets
        return Route(uid, workflow, first.digest, first.entrypoint, now_ms, now_ms, 0, first.weight, tuple(others))
    if before.targets == targets:
        return before
    history = before.before
    if digests(targets) - digests(before.targets):
        history = (before.targets, *history)[:HISTORY_MAX]
    elif history and digests(history[0]) == digests(targets):
        history = history[1:]
    return _with(before, targets, history, now_ms)


def promoted(route: Route, digest: Digest | None, now_ms: int) -> Route:
    """That version gets everything; without one, the last of two.

    Raises NotFoundError for a version that is none of the route's, WrongStateError when it has to be named.
    """
    if digest is None:
        if len(route.targets) != 2:
            raise WrongStateError(
                f"the route of {route.workflow!r} has {len(route.targets)} version{'s' * bool(route.others)}, so that"
                " there is not one canary: name the version that gets everything",
                workflow=route.workflow,
            )
        digest = route.targets[-1].digest
    target = next((each for each in route.targets if each.digest == digest), None)
    if target is None:
        raise NotFoundError(
            f"the route of {route.workflow!r} has no version {digest}: one that it has can be promoted, and"
            " `routes set` leads it to another",
            version=digest, workflow=route.workflow,
        )  # fmt: skip
    targets = (target._replace(weight=WEIGHTS_SUM),)
    return routed_to(route.tenant_uid, route.workflow, targets, route, now_ms)


def rolled_back(route: Route, now_ms: int) -> Route:
    """As it was before the last version came in. Raises WrongStateError when nothing is known of a time before."""
    if not route.before:
        raise WrongStateError(
            f"the route of {route.workflow!r} can't be rolled back: no version came in since it was made, or as far as"
            f" it remembers ({HISTORY_MAX} times); `routes set` leads it wherever it should",
            workflow=route.workflow,
        )  # fmt: skip
    return _with(route, route.before[0], route.before[1:], now_ms)


def drained(route: Route, digest: Digest, now_ms: int) -> Route:
    """Without that version, which is one of several: the others' weights stay to each other what they were."""
    kept = [target for target in route.targets if target.digest != digest]
    total = sum(target.weight for target in kept)
    weights = [max(1, target.weight * WEIGHTS_SUM // total) for target in kept]
    weights[0] += WEIGHTS_SUM - sum(weights)
    targets = tuple(target._replace(weight=weight) for target, weight in zip(kept, weights, strict=True))
    return routed_to(route.tenant_uid, route.workflow, targets, route, now_ms)


def digests(targets: Targets) -> frozenset[Digest]:
    """The versions that those targets are."""
    return frozenset(target.digest for target in targets)


def _with(route: Route, targets: Targets, history: tuple[Targets, ...], now_ms: int) -> Route:
    first, *others = targets
    return replace(
        route,
        digest=first.digest,
        entrypoint=first.entrypoint,
        weight=first.weight,
        others=tuple(others),
        before=history,
        updated_at_ms=now_ms,
    )
