"""What an installation's processes agree on, as values: tenants, tokens, versions and routes.

Records never change in place; a change is a new record under the same key. Their bytes are `cluster.codec`'s, their
keys `cluster.keys`'s. Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from stepwell.names import Digest, TenantId, TenantUid, WorkflowId
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of the platform. Its uid says over how many shards its instances are spread."""

    id: TenantId
    uid: TenantUid
    created_at_ms: int


class Scope(StrEnum):
    """What a tenant's token may do within its tenant; none includes another. The values are stored."""

    READ = "read"
    RUN = "run"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token's public part and its secret's SHA-256, in hex. No tenant: it is an operator's.

    The uid keeps a token from outliving its tenant when the tenant's id is used again.
    """

    id: str
    secret_sha256: str = field(repr=False)
    tenant: TenantId | None
    tenant_uid: TenantUid | None
    created_at_ms: int
    scopes: tuple[Scope, ...] = tuple(Scope)
    """Of a tenant's; an operator's may do everything. A record from before there were scopes means all of them."""
    at_start: bool = False
    """Minted by a starting server for its own operator: such tokens give way to newer ones."""


class CatchUp(StrEnum):
    """What becomes of a schedule's times at which nobody could create instances. The values are stored."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class Schedule(NamedTuple):
    """When instances of a workflow are created by the clock: a cron expression, in a time zone."""

    cron: str
    timezone: str = "UTC"
    catch_up: CatchUp = CatchUp.LAST


class Terms(NamedTuple):
    """What a version says of a workflow's instances: how long those that have ended are kept, how much they may do."""

    retention: Retention
    limits: WorkflowLimits


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable bundle that passed its check. Its files are in the bundle store under (tenant_uid, digest).

    One that is `retiring` gets no route and no instance any more, and is about to go.
    """

    tenant_uid: TenantUid
    digest: Digest
    entrypoints: tuple[tuple[WorkflowId, str], ...]
    vars: Mapping[str, str]
    created_at_ms: int
    file_count: int
    size_bytes: int
    retiring: bool = False
    bindings: tuple[tuple[str, WorkflowId], ...] = ()
    """Workflows of its tenant that its code may use, each behind the name that it has for it."""
    schedules: tuple[tuple[WorkflowId, tuple[Schedule, ...]], ...] = ()
    """Of those of its workflows that have any."""
    retentions: tuple[tuple[WorkflowId, Retention], ...] = ()
    """Of its workflows that say one."""
    limits: tuple[tuple[WorkflowId, WorkflowLimits], ...] = ()
    """Likewise."""

    def terms(self, workflow: WorkflowId) -> Terms:
        """What it says of the workflow's instances."""
        return Terms(dict(self.retentions).get(workflow, NOT_SAID), dict(self.limits).get(workflow, UNLIMITED))


WEIGHTS_SUM: Final = 100
"""Of a route's targets together: a weight is so many of a hundred new instances."""


class Target(NamedTuple):
    """A version that new instances of a workflow get, the workflow's entrypoint in it, and its weight."""

    digest: Digest
    entrypoint: str
    weight: int = WEIGHTS_SUM


Targets = tuple[Target, ...]


class Asked(NamedTuple):
    """The last change of a route that had a request_id: what was asked for, and what the route's targets were."""

    request_id: str
    call: str
    replaced: Targets


@dataclass(frozen=True, slots=True)
class Route:
    """Which versions new instances of a workflow get. `mod_revision` is its etag, told by the store, never stored.

    The first target's fields stand in the record itself: most routes have one target, and say no more. A release from
    before there were weights reads the first one alone.
    """

    tenant_uid: TenantUid
    workflow: WorkflowId
    digest: Digest
    entrypoint: str
    created_at_ms: int
    updated_at_ms: int
    mod_revision: int = 0
    weight: int = WEIGHTS_SUM
    others: Targets = ()
    before: tuple[Targets, ...] = ()
    """What the targets were each time that a version came in, the latest first."""
    asked: Asked | None = None

    @property
    def targets(self) -> Targets:
        """All of them; their weights add up to WEIGHTS_SUM."""
        return (Target(self.digest, self.entrypoint, self.weight), *self.others)


class Active(NamedTuple):
    """A schedule in force. What was due at `since_ms` or before is not its business."""

    schedule: Schedule
    since_ms: int


class ScheduledWorkflow(NamedTuple):
    """What is in force for a workflow; nothing is due while it is paused."""

    workflow: WorkflowId
    paused: bool
    active: tuple[Active, ...]


@dataclass(frozen=True, slots=True)
class Schedules:
    """All that is in force for a tenant's workflows, by workflow: written in the transactions that change its routes.

    Data nodes watch these records, and know the tenants that have any by them.
    """

    tenant_uid: TenantUid
    workflows: tuple[ScheduledWorkflow, ...]


class TickDone(NamedTuple):
    """How far a schedule has come: what was due at `done_ms` or before is done with, one way or the other."""

    cron: str
    timezone: str
    done_ms: int
    fired_ms: int
    """When the newest instance was due; 0 for none."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """How far each of a workflow's schedules has come, as the node knows that creates the instances."""

    tenant_uid: TenantUid
    workflow: WorkflowId
    done: tuple[TickDone, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """That a request_id was used, for what, and with which tenant as the answer: a repeated call gets the same."""

    call: str
    tenant: TenantId


@dataclass(frozen=True, slots=True)
class Member:
    """A process that lives: `node` is its name, of this start alone; the others call it at `address`."""

    node: str
    address: str


@dataclass(frozen=True, slots=True)
class ShardOwner:
    """Who owns a shard, in which epoch. `attempt` names the one transaction that made the record."""

    node: str
    epoch: int
    attempt: str


@dataclass(frozen=True, slots=True)
class Deploying:
    """Which control server deploys for a tenant. `attempt` names the one turn that made the record."""

    node: str
    attempt: str


@dataclass(frozen=True, slots=True)
class Importing:
    """That an import has begun and not ended. `export` is the SHA-256 of what is imported.

    `runs` counts how often it was taken up, so that an earlier run learns that it is not the present one; `written` is
    how many of the export's control records are in the store.
    """

    export: str
    runs: int
    written: int


@dataclass(frozen=True, slots=True)
class Imported:
    """That an import has ended, and when."""

    at_ms: int
