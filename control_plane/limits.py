"""How much a tenant may deploy and hold. One place, for the operator to set; a bundle's own limits are the loader's."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.records import Tenant
from stepwell.errors import LimitExceededError


@dataclass(frozen=True, slots=True)
class ControlLimits:
    """Of one installation, per tenant where nothing else is said."""

    versions_max: int = 1_000
    """Versions of a tenant; a deploy of one more is refused."""

    versions_bytes_max: int = 8 * 1024 * 1024 * 1024
    """Files of all of a tenant's versions together; a deploy that would bring more is refused."""

    workflows_max: int = 500
    """Routed workflows of a tenant. The routes of one deploy fit one transaction of the store."""

    schedules_max: int = 100
    """Schedules of a tenant that are in force, of all its workflows together."""

    tokens_max: int = 100
    """Tokens of a tenant, and of the operator; a starting server's own give way to newer ones."""

    deploys_at_once_max: int = 4
    """Of a tenant, from the header on: each may have a bundle's bytes on the disk that are no version's yet."""

    upload_seconds_max: float = 300.0
    """From the header of a deploy to its last byte."""

    check_seconds_max: float = 120.0
    """For the check of a bundle in a sandbox, the wait for its turn included."""

    checks_at_once_max: int = 2
    """In this process, over all tenants: each takes a fresh sandbox."""

    warnings_max: int = 20
    """Warnings of one deploy; the last says how many more there are."""


def refuse_over(tenant: Tenant, limit: str, value: int, seen: int, what: str) -> None:
    """Raises LimitExceededError when the tenant would have more than it may."""
    if seen > value:
        raise LimitExceededError(
            f"the tenant {tenant.id!r} would have {seen} {what}; it may have {value}",
            tenant=tenant.id, limit=limit, value=str(value), seen=str(seen),
        )  # fmt: skip
