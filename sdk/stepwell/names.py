"""The names that everything in Stepwell goes by, and what makes each of them valid.

One place for the rule, so that the CLI, the API and the stores agree. Sources of the figures: Cloudflare Workflows'
published limits for instance ids (100) and step names (256); DNS labels for tenants (63). Standard library only: guests
import this.
"""

from __future__ import annotations

import re
from typing import NewType

TenantId = NewType("TenantId", str)
"""What people call a tenant; may be reused once the tenant is gone."""

TenantUid = NewType("TenantUid", str)
"""Minted when a tenant is created, never used again: keys of stored data carry it."""

WorkflowId = NewType("WorkflowId", str)
InstanceId = NewType("InstanceId", str)

InstanceUid = NewType("InstanceUid", str)
"""Minted by each create: differs when an instance's id is used again."""

Digest = NewType("Digest", str)
"""`sha256-` and 64 hex digits: names a version within its tenant."""

STEP_NAME_LENGTH_MAX = 256
REQUEST_ID_LENGTH_MAX = 64

_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_WORKFLOW = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}")
_INSTANCE = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,99}")
_EVENT_TYPE = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,99}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{0,64}")
_DIGEST = re.compile(r"sha256-[0-9a-f]{64}")
_TOKEN_ID = re.compile(r"[0-9a-f]{16}")
_ENTRYPOINT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

RESERVED_INSTANCE_IDS = frozenset({"latest"})


def tenant_id(text: str) -> TenantId:
    """The text as a tenant's id. Raises ValueError saying what would be valid."""
    if not _TENANT.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a tenant id: 1 to 63 of a-z, 0-9 and '-', no '-' at either end")
    return TenantId(text)


def workflow_id(text: str) -> WorkflowId:
    """The text as a workflow's id. Raises ValueError saying what would be valid."""
    if not _WORKFLOW.fullmatch(text):
        raise ValueError(
            f"{_shown(text)} is not a workflow name: 1 to 64 of a-z, A-Z, 0-9, '_' and '-', not starting with '-'"
        )
    return WorkflowId(text)


def instance_id(text: str) -> InstanceId:
    """The text as an instance's id. Raises ValueError saying what would be valid."""
    if text in RESERVED_INSTANCE_IDS:
        raise ValueError(f"{text!r} can't be an instance id: it stands for the newest instance")
    if not _INSTANCE.fullmatch(text):
        raise ValueError(
            f"{_shown(text)} is not an instance id: 1 to 100 of a-z, A-Z, 0-9, '_' and '-', not starting with '-'"
        )
    return InstanceId(text)


def event_type(text: str) -> str:
    """The text as an event's type. Raises ValueError saying what would be valid."""
    if not _EVENT_TYPE.fullmatch(text):
        raise ValueError(
            f"{_shown(text)} is not an event type: 1 to 100 of a-z, A-Z, 0-9, '_', '-' and '.', "
            "not starting with '-' or '.'"
        )
    return text


def request_id(text: str) -> str:
    """The text as a request id; empty means none. Raises ValueError saying what would be valid."""
    if not _REQUEST_ID.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a request id: at most 64 printable ASCII characters without spaces")
    return text


def digest(text: str) -> Digest:
    """The text as a version's digest. Raises ValueError saying what would be valid."""
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a version: 'sha256-' and 64 hex digits")
    return Digest(text)


def token_id(text: str) -> str:
    """The text as a token's public id. Raises ValueError saying what would be valid."""
    if not _TOKEN_ID.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a token's id: the 16 hex digits between swk_ and its secret")
    return text


def entrypoint(text: str) -> str:
    """The text as module:Class. Raises ValueError saying what would be valid."""
    if len(text) > 256 or not _ENTRYPOINT.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not an entrypoint: write module:Class, such as 'main:Order'")
    return text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}… ({len(text)} characters)"
