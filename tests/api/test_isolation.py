"""With one tenant's token, every call on what is another's: refused alike, whether it exists or not, by no look-up.

The calls and their fields come from the protos, so that a new one is tried as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from rpc.rights import RIGHTS
from stepwell.errors import ApiError
from stepwell.v1 import instances_pb2 as i
from stepwell.v1 import tenants_pb2 as t
from stepwell.v1 import workflows_pb2 as w
from tests.api.methods import METHODS, Field, Method
from tests.api.requests import IN_INSTANCE, KINDS, NAMES, RUNNING, WORKFLOW, meaning, request
from tests.api.world import HIDDEN, THEIRS, World, deploy

NAMING = [(method, field) for method in METHODS for field in method.fields if meaning(field) in NAMES]
NOWHERE = {"version": "sha256-" + "0" * 64, "token": "0" * 16}
CREATE = "/stepwell.v1.InstanceService/CreateInstance"


def by_name(value: object) -> str:
    return value.name if isinstance(value, Method) else value.path if isinstance(value, Field) else str(value)


def of_others(kind: str, world: World) -> Iterator[str]:
    """Names of that kind outside of our tenant: what is there, what is not, and where there is no tenant."""
    pattern = str(KINDS[kind])
    yield pattern.format_map(world.theirs.values)
    yield pattern.format_map({**NOWHERE, "tenant": THEIRS})
    yield pattern.format_map({**NOWHERE, "tenant": "nobody"})
    yield pattern.replace(RUNNING, "absent").replace(WORKFLOW, "unknown").format_map(world.theirs.values)


def refusal(world: World, method: Method, changed: Mapping[str, str]) -> tuple[ApiError, list[str]]:
    """How our token is refused, and what was looked up meanwhile."""
    asked = request(method, world.ours.values, changed)
    world.server.looked_up.clear()
    error = world.server.refused(method.path, asked, world.ours.token)
    return error, list(world.server.looked_up)


@pytest.mark.parametrize(("method", "field"), NAMING, ids=by_name)
def test_what_is_anothers_is_refused_alike_and_without_a_look_up(world: World, method: Method, field: Field) -> None:
    answers = set()
    for name in of_others(meaning(field), world):
        error, looked_up = refusal(world, method, {field.path: name})
        assert looked_up == []
        answers.add((type(error), error.message, *error.metadata.items()))
        assert error.reason == "PERMISSION_DENIED"
        assert name not in error.message
    assert len(answers) == 1


@pytest.mark.parametrize("method", [each for each in METHODS if each.is_the_operators], ids=by_name)
def test_what_is_the_operators_is_refused_whatever_it_names(world: World, method: Method) -> None:
    error, looked_up = refusal(world, method, {})
    assert (error.reason, looked_up) == ("PERMISSION_DENIED", [])
    for field in method.fields:
        if isinstance(KINDS[meaning(field)], str):
            same, looked_up = refusal(world, method, {field.path: "no name at all"})
            assert (same.message, same.metadata, looked_up) == (error.message, error.metadata, [])


@pytest.mark.parametrize("scope", ["read", "run", "deploy"])
def test_what_a_tokens_scopes_do_not_hold_is_refused_alike_and_without_a_look_up(world: World, scope: str) -> None:
    number = t.TokenScope.Value(f"TOKEN_SCOPE_{scope.upper()}")
    asked = t.CreateTokenRequest(parent=f"tenants/{world.ours.id}", scopes=[number]).SerializeToString()
    (answer,) = world.server.call("/stepwell.v1.TenantService/CreateToken", asked, world.server.operator)
    token = t.CreateTokenResponse.FromString(answer).secret
    lacking = [method for method in METHODS if right_of(method) != scope]
    assert lacking
    for method in lacking:
        answers = set()
        for values in (world.ours.values, world.theirs.values, {**NOWHERE, "tenant": "nobody"}):
            world.server.looked_up.clear()
            error = world.server.refused(method.path, request(method, values), token)
            answers.add((error.reason, error.message, *error.metadata.items()))
            assert all(look_up.startswith("SqliteStore.get token/") for look_up in world.server.looked_up)
        assert [reason for reason, *_ in answers] == ["PERMISSION_DENIED"]


def right_of(method: Method) -> str:
    _, service, name = method.path.split("/")
    return RIGHTS[service][name].value


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_without_a_known_token_nothing_is_looked_up_but_the_token(world: World, method: Method) -> None:
    asked = request(method, world.theirs.values)
    unknown = "swk_" + "0" * 16 + "_" + "0" * 64
    wrong = world.ours.token[: -len("0" * 64)] + "0" * 64
    answers = set()
    for token in (unknown, wrong):
        world.server.looked_up.clear()
        error = world.server.refused(method.path, asked, token)
        answers.add((error.reason, error.message, *error.metadata.items()))
        assert all(look_up.startswith("SqliteStore.get token/") for look_up in world.server.looked_up)
    assert [reason for reason, *_ in answers] == ["UNAUTHENTICATED"]


@pytest.mark.parametrize(
    ("method", "field"), [(m, f) for m, f in NAMING if meaning(f) in ("instance", "version", "token")], ids=by_name
)
def test_anothers_id_under_our_own_name_is_as_unknown_as_any(world: World, method: Method, field: Field) -> None:
    kind, answers, look_ups = meaning(field), [], []
    for values, hidden in ((world.theirs.values, HIDDEN), (NOWHERE, "absent")):
        name = str(KINDS[kind]).replace(RUNNING, hidden).format_map({**values, "tenant": world.ours.id})
        if method.is_the_operators:
            error = world.server.refused(
                method.path, request(method, world.ours.values, {field.path: name}), world.server.operator
            )
            looked_up: list[str] = []
        else:
            refusal(world, method, {field.path: name})  # so that our own tenant is remembered
            error, looked_up = refusal(world, method, {field.path: name})
        last = name.rpartition("/")[2]
        answers.append((error.reason, error.message.replace(last, "…"), sorted(error.metadata)))
        look_ups.append([each.split()[0] for each in looked_up])
    assert answers[0] == answers[1]
    assert answers[0][0] == "NOT_FOUND"
    assert look_ups[0] == look_ups[1]


@pytest.mark.parametrize("method", [each for each in METHODS if each.is_a_tenants_list], ids=by_name)
@pytest.mark.parametrize("tenant", ["by name", "-"])
def test_anothers_page_token_is_refused(world: World, method: Method, tenant: str) -> None:
    (parent,) = (field for field in method.fields if field.path == "parent")
    named = {**world.ours.values, "tenant": world.ours.id if tenant == "by name" else tenant}
    error, _ = refusal(
        world,
        method,
        {"parent": str(KINDS[meaning(parent)]).format_map(named), "page_token": world.theirs.values[method.name]},
    )
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "page_token")


@pytest.mark.parametrize("name", ["InstanceService.WatchInstance", "InstanceService.WatchLogs"])
def test_anothers_cursor_is_refused(world: World, name: str) -> None:
    (method,) = (each for each in METHODS if each.name == name)
    error, _ = refusal(world, method, {"cursor": world.theirs.values["cursor"]})
    assert (error.reason, error.metadata["field"]) == ("INVALID_ARGUMENT", "cursor")


def test_anothers_bundle_is_new_to_us(world: World) -> None:
    """Neither the answer nor the version's name says that somebody else has the same files."""
    theirs, ours = (
        w.DeployVersionResponse.FromString(
            world.server.call("/stepwell.v1.WorkflowService/DeployVersion", [*deploy("tenants/-", b"same")], token)[0]
        )
        for token in (world.theirs.token, world.ours.token)
    )
    assert (theirs.created, ours.created) == (True, True)
    assert ours.version.name.startswith(f"tenants/{world.ours.id}/")


def test_anothers_request_id_is_not_ours(world: World) -> None:
    made = []
    for tenancy in (world.theirs, world.ours):
        asked = i.CreateInstanceRequest(parent="tenants/-/workflows/order", request_id="r-1", params=b"1")
        (answer,) = world.server.call(CREATE, asked.SerializeToString(), tenancy.token)
        made.append(i.Instance.FromString(answer))
    theirs, ours = made
    assert theirs.uid != ours.uid
    assert theirs.name.rpartition("/")[2] != ours.name.rpartition("/")[2]
    name = IN_INSTANCE.format_map(world.ours.values)
    for tenancy in (world.theirs, world.ours):
        event = i.SendEventRequest(
            name=name.replace(world.ours.id, tenancy.id),
            type="go",
            request_id="r-2",
            payload=tenancy.id.join('""').encode(),
        )
        world.server.call("/stepwell.v1.InstanceService/SendEvent", event.SerializeToString(), tenancy.token)
