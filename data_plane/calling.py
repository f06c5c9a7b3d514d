"""What calls of instances have in common: what they ask of the directory, what they answer, and when they may."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from data_plane.journal.store import InstanceKey
from data_plane.resident import Resident
from data_plane.shard_server import ShardServer
from stepwell.engine.instance import Instance, Phase
from stepwell.errors import ApiError, NotFoundError
from stepwell.names import Digest, InstanceId, TenantUid, WorkflowId
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits


class RoutedVersion(NamedTuple):
    """What a new instance of a workflow is pinned to, and what that version says of it."""

    digest: Digest
    entrypoint: str
    retention: Retention = NOT_SAID
    limits: WorkflowLimits = UNLIMITED


Choose = Callable[[InstanceId], RoutedVersion]
"""What a new instance of that id is pinned to, by one state of its workflow's route: the same for the same id."""


class Routes(Protocol):
    """What calls need of the directory. Raises NotFoundError for a workflow that has no route."""

    async def routed(self, tenant: TenantUid, workflow: WorkflowId) -> Choose: ...

    async def check_version(self, tenant: TenantUid, digest: Digest) -> None:
        """Raises NotFoundError for a version that nothing may begin with any more."""

    async def on_version(self, tenant: TenantUid, workflow: WorkflowId, digest: Digest) -> RoutedVersion:
        """The workflow as that version has it. Raises NotFoundError where it has none, and as above."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A durable view of one instance; `instance.live` is the present activation's, where there is one."""

    key: InstanceKey
    instance: Instance


@asynccontextmanager
async def durably(server: ShardServer, resident: Resident) -> AsyncIterator[None]:
    """What is done or refused within is so by what is durable once this ends: memory runs ahead of the journal.

    Raises UnavailableError when the shard is lost before that.
    """
    try:
        yield
    except ApiError:
        await server.flushed(resident)
        raise
    await server.flushed(resident)


def refuse_if_absent(key: InstanceKey, instance: Instance) -> None:
    """Raises NotFoundError for an id that no instance has."""
    if instance.phase in (Phase.ABSENT, Phase.DELETING):
        raise is_absent(key)


def is_absent(key: InstanceKey) -> NotFoundError:
    """What is said of an id that no instance has."""
    return NotFoundError(f"no instance {key.instance!r} of workflow {key.workflow!r}")
