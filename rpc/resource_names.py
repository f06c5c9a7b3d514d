"""Resource names of the API, taken apart into typed ids, for a caller who may name them.

Each function takes the caller, so that no name gets past without the question whether its token may say it: what comes
back has been permitted. `-` in a tenant's place stands for the tenant of the token. Names are formatted here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rpc.auth import Principal
from stepwell import names
from stepwell.errors import InvalidArgumentError
from stepwell.names import Digest, InstanceId, TenantId, WorkflowId

OWN_TENANT = "-"

T = TypeVar("T")


def parse_tenant(name: str, caller: Principal, field: str = "name") -> TenantId:
    """tenants/{tenant}. Raises InvalidArgumentError or PermissionDeniedError, as all of these do."""
    (tenant,) = _ids(name, ("tenants",), field)
    return _permitted(tenant, caller, field)


def parse_workflow(name: str, caller: Principal, field: str = "name") -> tuple[TenantId, WorkflowId]:
    """tenants/{tenant}/workflows/{workflow}"""
    tenant, workflow = _ids(name, ("tenants", "workflows"), field)
    return _permitted(tenant, caller, field), checked(names.workflow_id, workflow, field)


def parse_instance(name: str, caller: Principal, field: str = "name") -> tuple[TenantId, WorkflowId, InstanceId]:
    """tenants/{tenant}/workflows/{workflow}/instances/{instance}"""
    tenant, workflow, instance = _ids(name, ("tenants", "workflows", "instances"), field)
    return (
        _permitted(tenant, caller, field),
        checked(names.workflow_id, workflow, field),
        checked(names.instance_id, instance, field),
    )


def parse_version(name: str, caller: Principal, field: str = "name") -> tuple[TenantId, Digest]:
    """tenants/{tenant}/versions/{version}"""
    tenant, version = _ids(name, ("tenants", "versions"), field)
    return _permitted(tenant, caller, field), checked(names.digest, version, field)


def parse_route(name: str, caller: Principal, field: str = "name") -> tuple[TenantId, WorkflowId]:
    """tenants/{tenant}/workflows/{workflow}/route"""
    workflow, slash, last = name.rpartition("/")
    if slash and last == "route":
        return parse_workflow(workflow, caller, field)
    raise _not_expected(name, "tenants/{tenant}/workflows/{workflow}/route", field)


def parse_owner(name: str, caller: Principal, field: str = "parent") -> TenantId | None:
    """tenants/{tenant}, or nothing, which stands for the operator: None."""
    return parse_tenant(name, caller, field) if name else None


def parse_token(name: str, caller: Principal, field: str = "name") -> tuple[TenantId | None, str]:
    """tenants/{tenant}/tokens/{token}; tokens/{token} is an operator's: its owner is None."""
    if name.startswith("tokens/"):
        (token,) = _ids(name, ("tokens",), field)
        return None, checked(names.token_id, token, field)
    tenant, token = _ids(name, ("tenants", "tokens"), field)
    return _permitted(tenant, caller, field), checked(names.token_id, token, field)


def tenant_name(tenant: TenantId) -> str:
    return f"tenants/{tenant}"


def token_name(tenant: TenantId | None, token_id: str) -> str:
    return f"tokens/{token_id}" if tenant is None else f"tenants/{tenant}/tokens/{token_id}"


def route_name(tenant: TenantId, workflow: WorkflowId) -> str:
    return f"tenants/{tenant}/workflows/{workflow}/route"


def workflow_name(tenant: TenantId, workflow: WorkflowId) -> str:
    return f"tenants/{tenant}/workflows/{workflow}"


def version_name(tenant: TenantId, digest: Digest) -> str:
    return f"tenants/{tenant}/versions/{digest}"


def instance_name(tenant: TenantId, workflow: WorkflowId, instance: InstanceId) -> str:
    return f"tenants/{tenant}/workflows/{workflow}/instances/{instance}"


def checked(rule: Callable[[str], T], text: str, field: str) -> T:
    """What a rule of `stepwell.names` makes of the text; its ValueError becomes InvalidArgumentError of that field."""
    try:
        return rule(text)
    except names.TooLongError as error:
        raise InvalidArgumentError(f"{field}: {error}", field=field, **error.metadata) from None
    except ValueError as error:
        raise InvalidArgumentError(f"{field}: {error}", field=field) from None


def _ids(name: str, collections: tuple[str, ...], field: str) -> list[str]:
    parts = name.split("/", 2 * len(collections))
    if len(parts) != 2 * len(collections) or tuple(parts[::2]) != collections:
        raise _not_expected(name, "/".join(f"{each}/{{{each[:-1]}}}" for each in collections), field)
    return parts[1::2]


def _not_expected(name: str, expected: str, field: str) -> InvalidArgumentError:
    shown = repr(name) if len(name) <= 200 else f"{name[:200]!r}…"
    return InvalidArgumentError(f"{field}: expected {expected}, not {shown}", field=field)


def _permitted(text: str, caller: Principal, field: str) -> TenantId:
    if text == OWN_TENANT:
        if caller.tenant is None:
            raise InvalidArgumentError(
                f"{field}: an operator's token has no tenant of its own: name the tenant", field=field
            )
        return caller.tenant
    tenant = checked(names.tenant_id, text, field)
    caller.require_tenant(tenant)
    return tenant
