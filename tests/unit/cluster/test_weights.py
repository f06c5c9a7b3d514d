"""Which version an id gets: always the same one, as many as the weights say, and no id moves that need not."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cluster.records import WEIGHTS_SUM, Route, Target
from cluster.weights import chosen
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId

IDS = [InstanceId(f"order-{number}") for number in range(400)]
LETTERS = "abcd"


def route_to(shares: dict[str, int], uid: str = "u1", workflow: str = "order") -> Route:
    first, *others = (Target(Digest(digest), f"main:{digest}", weight) for digest, weight in shares.items())
    return Route(
        TenantUid(uid), WorkflowId(workflow), first.digest, first.entrypoint, 0, 0, 0, first.weight, tuple(others)
    )


def given_to(route: Route) -> dict[InstanceId, str]:
    return {instance: chosen(route, instance).digest for instance in IDS}


@st.composite
def wholes(draw: st.DrawFn) -> dict[str, int]:
    """1 to 4 versions with weights of 100 together."""
    cuts = sorted(draw(st.sets(st.integers(1, WEIGHTS_SUM - 1), max_size=len(LETTERS) - 1)))
    weights = [after - before for before, after in zip([0, *cuts], [*cuts, WEIGHTS_SUM], strict=True)]
    return dict(zip(draw(st.permutations(LETTERS)), weights, strict=False))


@given(wholes())
def test_the_same_id_gets_the_same_version_whatever_the_order(shares: dict[str, int]) -> None:
    backwards = dict(reversed(shares.items()))
    assert given_to(route_to(shares)) == given_to(route_to(backwards))


@given(wholes(), wholes())
def test_an_id_leaves_a_version_only_for_one_that_grew_more(before: dict[str, int], after: dict[str, int]) -> None:
    """So a version of which the share grows most keeps all that it had."""
    was, is_now = given_to(route_to(before)), given_to(route_to(after))
    for instance in IDS:
        old, new = was[instance], is_now[instance]
        if old != new:
            assert after[new] * before[old] > after.get(old, 0) * before.get(new, 0)


@given(st.integers(1, 98), st.integers(1, 98))
def test_a_canary_that_grows_keeps_the_ids_that_it_had(one: int, other: int) -> None:
    small, large = min(one, other), max(one, other)
    had = {i for i, d in given_to(route_to({"a": 100 - small, "b": small})).items() if d == "b"}
    has = {i for i, d in given_to(route_to({"a": 100 - large, "b": large})).items() if d == "b"}
    assert had <= has


def test_versions_get_what_their_weights_say() -> None:
    route = route_to({"a": 70, "b": 25, "c": 5})
    ids = [InstanceId(f"order-{number}") for number in range(20_000)]
    got = [chosen(route, instance).digest for instance in ids]
    for digest, share in {"a": 0.70, "b": 0.25, "c": 0.05}.items():
        assert abs(got.count(Digest(digest)) / len(ids) - share) < 0.01


def test_tenants_and_workflows_draw_apart() -> None:
    shares = {"a": 50, "b": 50}
    ours = given_to(route_to(shares))
    assert ours != given_to(route_to(shares, uid="u2"))
    assert ours != given_to(route_to(shares, workflow="bill"))


def test_a_target_has_its_own_entrypoint() -> None:
    route = route_to({"a": 50, "b": 50})
    assert {chosen(route, each).entrypoint for each in IDS} == {"main:a", "main:b"}
    assert chosen(replace(route, others=(), weight=100), IDS[0]) == Target(Digest("a"), "main:a")
