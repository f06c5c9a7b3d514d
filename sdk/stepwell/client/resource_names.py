"""Resource names, as the API spells them, from the ids that people use, and back."""

from __future__ import annotations

OWN_TENANT = "-"
"""Stands for the tenant of the token."""


def tenant_name(tenant: str | None) -> str:
    """tenants/{tenant}; without one, the token's own."""
    return f"tenants/{tenant or OWN_TENANT}"


def token_name(tenant: str | None, token_id: str) -> str:
    """tenants/{tenant}/tokens/{token}; without a tenant, the operator's: tokens/{token}"""
    return f"tokens/{token_id}" if tenant is None else f"tenants/{tenant}/tokens/{token_id}"


def version_name(tenant: str | None, version: str) -> str:
    """tenants/{tenant}/versions/{version}"""
    return f"{tenant_name(tenant)}/versions/{version}"


def workflow_name(tenant: str | None, workflow: str) -> str:
    """tenants/{tenant}/workflows/{workflow}"""
    return f"{tenant_name(tenant)}/workflows/{workflow}"


def route_name(tenant: str | None, workflow: str) -> str:
    """tenants/{tenant}/workflows/{workflow}/route"""
    return f"{workflow_name(tenant, workflow)}/route"


def instance_name(tenant: str | None, workflow: str, instance: str) -> str:
    """tenants/{tenant}/workflows/{workflow}/instances/{instance}"""
    return f"{workflow_name(tenant, workflow)}/instances/{instance}"


def id_in(name: str, collection: str) -> str | None:
    """What a resource name has in that collection: `id_in("tenants/a/workflows/b", "workflows")` is "b"."""
    parts = name.split("/")
    found = dict(zip(parts[::2], parts[1::2], strict=False)).get(collection)
    return None if found in (None, "", OWN_TENANT) else found
