"""Names come apart into ids, and no name gets past without the caller's right to say it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster.records import Scope
from rpc import rights
from rpc.auth import Principal
from rpc.resource_names import (
    instance_name,
    parse_instance,
    parse_tenant,
    parse_version,
    parse_workflow,
    tenant_name,
    token_name,
    version_name,
    workflow_name,
)
from stepwell.errors import InvalidArgumentError, PermissionDeniedError
from stepwell.names import Digest, InstanceId, TenantId, WorkflowId

OPERATOR = Principal("op", None, rights.OPERATORS)
ACME = Principal("t1", TenantId("acme"), rights.tenants(tuple(Scope)))
DIGEST = Digest("sha256-" + "a" * 64)
NAMES: list[tuple[Callable[..., Any], str, Any]] = [
    (parse_tenant, "tenants/{}", "acme"),
    (parse_workflow, "tenants/{}/workflows/Order_1", ("acme", "Order_1")),
    (parse_instance, "tenants/{}/workflows/o/instances/i-1", ("acme", "o", "i-1")),
    (parse_version, "tenants/{}/versions/" + DIGEST, ("acme", DIGEST)),
]


@pytest.mark.parametrize(("parse", "name", "ids"), NAMES)
def test_a_name_comes_apart_into_its_ids(parse: Callable[..., Any], name: str, ids: Any) -> None:
    assert parse(name.format("acme"), OPERATOR) == ids
    assert parse(name.format("acme"), ACME) == ids


@pytest.mark.parametrize(("parse", "name", "ids"), NAMES)
def test_a_dash_is_the_tokens_own_tenant(parse: Callable[..., Any], name: str, ids: Any) -> None:
    assert parse(name.format("-"), ACME) == ids
    with pytest.raises(InvalidArgumentError, match="name the tenant"):
        parse(name.format("-"), OPERATOR)


@pytest.mark.parametrize(("parse", "name", "ids"), NAMES)
def test_a_tenants_token_can_name_no_other_tenant(parse: Callable[..., Any], name: str, ids: Any) -> None:
    with pytest.raises(PermissionDeniedError) as refused:
        parse(name.format("globex"), ACME)
    assert "globex" not in refused.value.message


@pytest.mark.parametrize(
    ("parse", "name", "says"),
    [
        (parse_tenant, "", "expected tenants/{tenant}, not ''"),
        (parse_tenant, "acme", "expected tenants/{tenant}"),
        (parse_tenant, "tenants/", "is not a tenant id"),
        (parse_tenant, "tenants/Acme", "is not a tenant id"),
        (parse_tenant, "tenants/acme/", "expected"),
        (parse_tenant, "tenants/acme/workflows/a", "expected"),
        (parse_workflow, "tenants/acme/flows/a", "expected tenants/{tenant}/workflows/{workflow}"),
        (parse_workflow, "tenants/acme/workflows/-a", "is not a workflow name"),
        (parse_instance, "tenants/acme/workflows/a/instances/latest", "newest instance"),
        (parse_instance, "tenants/acme/workflows/a/instances/a/b", "expected"),
        (parse_version, "tenants/acme/versions/v1", "64 hex digits"),
        (parse_tenant, "x" * 5_000, "expected"),
    ],
)
def test_what_is_no_name_is_refused_by_its_field(parse: Callable[..., Any], name: str, says: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        parse(name, OPERATOR, "parent")
    assert says in refused.value.message
    assert refused.value.message.startswith("parent: ")
    assert refused.value.metadata["field"] == "parent"
    assert len(refused.value.message) < 400


def test_formatted_names_come_apart_again() -> None:
    tenant, workflow, instance = TenantId("acme"), WorkflowId("o"), InstanceId("i")
    assert parse_tenant(tenant_name(tenant), OPERATOR) == tenant
    assert parse_workflow(workflow_name(tenant, workflow), OPERATOR) == (tenant, workflow)
    assert parse_instance(instance_name(tenant, workflow, instance), OPERATOR) == (tenant, workflow, instance)
    assert parse_version(version_name(tenant, DIGEST), OPERATOR) == (tenant, DIGEST)
    assert token_name(tenant, "t1") == "tenants/acme/tokens/t1"
