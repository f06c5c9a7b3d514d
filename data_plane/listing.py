"""What a list shows of an instance, made from its state."""

from __future__ import annotations

from typing import Literal, assert_never

from data_plane.journal.store import InstanceKey, Listing
from stepwell.engine.instance import Instance, Phase
from stepwell.engine.records import Completed, Errored, Terminated

InstanceStatus = Literal[
    "queued", "running", "paused", "waiting", "waitingForPause", "complete", "errored", "terminated"
]
"""Spelt as Cloudflare's."""


def status_of(instance: Instance) -> InstanceStatus:
    """The status that users see. Meaningful for an instance that exists."""
    match instance.outcome:
        case Completed():
            return "complete"
        case Errored():
            return "errored"
        case Terminated():
            return "terminated"
        case None:
            pass
        case _:
            assert_never(instance.outcome)
    if instance.phase is Phase.PAUSED:
        return "waitingForPause" if instance.live is not None else "paused"
    if instance.started_at is None:
        return "queued"
    return "running" if instance.live is not None or instance.runnable else "waiting"


def listing_of(key: InstanceKey, instance: Instance) -> Listing | None:
    """The row; None once the instance is being deleted, or does not exist."""
    if instance.phase in (Phase.ABSENT, Phase.DELETING):
        return None
    return Listing(
        key,
        instance.uid,
        instance.created_at,
        status_of(instance),
        instance.digest,
        instance.started_at,
        instance.ended_at,
        instance.stored_bytes,
    )
