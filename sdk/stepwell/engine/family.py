"""What an instance that was created through a binding and the one that created it are to each other."""

from __future__ import annotations

from typing import NamedTuple

from stepwell.names import InstanceId, InstanceUid, WorkflowId


def child_name(workflow: str, instance: str) -> str:
    """What a child is called in its parent's journal, where its end is an event of that type: no name that a caller
    could give an event."""
    return f"{workflow}/{instance}"


def is_child(event_type: str) -> bool:
    """Whether an event of that type is the end of a child."""
    return "/" in event_type


class Parent(NamedTuple):
    """The instance that created another, through a binding; both are of one tenant."""

    workflow: WorkflowId
    instance: InstanceId
    uid: InstanceUid
