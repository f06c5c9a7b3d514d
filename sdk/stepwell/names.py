"""The names that everything in Stepwell goes by, and what makes each of them valid.

One place for the rule, so that the CLI, the API and the stores agree. Sources of the figures: Cloudflare Workflows'
published limits for instance ids (100) and step names (256); DNS labels for tenants (63). Standard library only: guests
import this.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NewType

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

TENANT_ID_LENGTH_MAX = 63
WORKFLOW_ID_LENGTH_MAX = 64
INSTANCE_ID_LENGTH_MAX = 100
EVENT_TYPE_LENGTH_MAX = 100
REQUEST_ID_LENGTH_MAX = 64
CANCEL_REASON_LENGTH_MAX = 256
CHILD_NAME_LENGTH_MAX = WORKFLOW_ID_LENGTH_MAX + 1 + INSTANCE_ID_LENGTH_MAX
EVENT_ID_LENGTH_MAX = 100
ENTRYPOINT_LENGTH_MAX = 256
STEP_NAME_LENGTH_MAX = 256

PACKAGES_FOLDER = "python_modules"
"""Where a bundle has the packages that it needs: behind its own modules and the standard library on `sys.path`. The
name is Cloudflare's."""


class TooLongError(ValueError):
    """A name over its limit. `metadata` has the limit's name, its value and the length seen, in characters, as texts of
    an error of the API."""

    def __init__(self, message: str, limit: str, value: int, seen: int) -> None:
        super().__init__(message)
        self.metadata = {"limit": limit, "value": str(value), "seen": str(seen)}


class _Rule(NamedTuple):
    """What makes a name valid, and what to say of one that is not."""

    limit: str
    length_max: int
    pattern: re.Pattern[str]
    otherwise: str

    def check(self, text: str) -> None:
        if len(text) > self.length_max:
            raise TooLongError(f"{_shown(text)} {self.otherwise}", self.limit, self.length_max, len(text))
        if not self.pattern.fullmatch(text):
            raise ValueError(f"{_shown(text)} {self.otherwise}")


_TENANT = _Rule(
    "tenant_id_length_max",
    TENANT_ID_LENGTH_MAX,
    re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"),
    f"is not a tenant id: 1 to {TENANT_ID_LENGTH_MAX} of a-z, 0-9 and '-', no '-' at either end",
)
_WORKFLOW = _Rule(
    "workflow_id_length_max",
    WORKFLOW_ID_LENGTH_MAX,
    re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]*"),
    f"is not a workflow name: 1 to {WORKFLOW_ID_LENGTH_MAX} of a-z, A-Z, 0-9, '_' and '-', not starting with '-'",
)
_INSTANCE = _Rule(
    "instance_id_length_max",
    INSTANCE_ID_LENGTH_MAX,
    re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]*"),
    f"is not an instance id: 1 to {INSTANCE_ID_LENGTH_MAX} of a-z, A-Z, 0-9, '_' and '-', not starting with '-'",
)
_EVENT_TYPE = _Rule(
    "event_type_length_max",
    EVENT_TYPE_LENGTH_MAX,
    re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]*"),
    f"is not an event type: 1 to {EVENT_TYPE_LENGTH_MAX} of a-z, A-Z, 0-9, '_', '-' and '.', "
    "not starting with '-' or '.'",
)
_STEP_NAME = _Rule(
    "step_name_length_max",
    STEP_NAME_LENGTH_MAX,
    re.compile(r".+", re.DOTALL),
    f"is not a step name: 1 to {STEP_NAME_LENGTH_MAX} characters",
)
_REQUEST_ID = _Rule(
    "request_id_length_max",
    REQUEST_ID_LENGTH_MAX,
    re.compile(r"[\x21-\x7e]*"),
    f"is not a request id: at most {REQUEST_ID_LENGTH_MAX} printable ASCII characters without spaces",
)
_CANCEL_REASON = _Rule(
    "cancel_reason_length_max",
    CANCEL_REASON_LENGTH_MAX,
    re.compile(r".*", re.DOTALL),
    f"is not a reason: at most {CANCEL_REASON_LENGTH_MAX} characters",
)
_EVENT_ID = _Rule(
    "event_id_length_max",
    EVENT_ID_LENGTH_MAX,
    re.compile(r"[\x21-\x7e]*"),
    f"is not an event id: at most {EVENT_ID_LENGTH_MAX} printable ASCII characters without spaces",
)
_ENTRYPOINT = _Rule(
    "entrypoint_length_max",
    ENTRYPOINT_LENGTH_MAX,
    re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII),
    "is not an entrypoint: write module:Class, such as 'main:Order'",
)
_DIGEST = re.compile(r"sha256-[0-9a-f]{64}")
_TOKEN_ID = re.compile(r"[0-9a-f]{16}")

RESERVED_INSTANCE_IDS = frozenset({"latest"})


def tenant_id(text: str) -> TenantId:
    """The text as a tenant's id. Raises ValueError saying what would be valid."""
    _TENANT.check(text)
    return TenantId(text)


def workflow_id(text: str) -> WorkflowId:
    """The text as a workflow's id. Raises ValueError saying what would be valid."""
    _WORKFLOW.check(text)
    return WorkflowId(text)


def instance_id(text: str) -> InstanceId:
    """The text as an instance's id. Raises ValueError saying what would be valid."""
    if text in RESERVED_INSTANCE_IDS:
        raise ValueError(f"{text!r} can't be an instance id: it stands for the newest instance")
    _INSTANCE.check(text)
    return InstanceId(text)


def step_name(text: str) -> str:
    """The text as a step's name. Raises ValueError saying what would be valid."""
    _STEP_NAME.check(text)
    return text


def event_type(text: str) -> str:
    """The text as an event's type. Raises ValueError saying what would be valid."""
    _EVENT_TYPE.check(text)
    return text


def request_id(text: str) -> str:
    """The text as a request id; empty means none. Raises ValueError saying what would be valid."""
    _REQUEST_ID.check(text)
    return text


def cancel_reason(text: str) -> str:
    """The text as the reason of a cancel; empty means none. Raises ValueError saying what would be valid."""
    _CANCEL_REASON.check(text)
    return text


def event_id(text: str) -> str:
    """The text as an event's id; empty means none. Raises ValueError saying what would be valid."""
    _EVENT_ID.check(text)
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
    _ENTRYPOINT.check(text)
    return text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}… ({len(text)} characters)"
