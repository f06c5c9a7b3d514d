"""Of the records' messages, those that say which instance created which."""

from __future__ import annotations

from data_plane.journal.v1 import journal_pb2 as pb
from stepwell.engine import records as r
from stepwell.engine.family import Parent
from stepwell.names import InstanceId, InstanceUid, WorkflowId


def write_parent(m: pb.Created, record: r.Created) -> None:
    """Who created it, if an instance did."""
    m.depth = record.depth
    if record.parent is not None:
        m.parent.workflow = record.parent.workflow
        m.parent.instance = record.parent.instance
        m.parent.uid = record.parent.uid


def read_parent(m: pb.Created) -> tuple[Parent | None, int]:
    """And how many there are, one above the other."""
    if not m.HasField("parent"):
        return None, m.depth
    parent = m.parent
    return Parent(WorkflowId(parent.workflow), InstanceId(parent.instance), InstanceUid(parent.uid)), m.depth


def write_child_added(m: pb.ChildAdded, record: r.ChildAdded) -> None:
    m.at = record.at
    m.child = record.child


def read_child_added(m: pb.ChildAdded) -> r.ChildAdded:
    return r.ChildAdded(m.at, m.child)


def write_parent_told(m: pb.ParentTold, record: r.ParentTold) -> None:
    m.at = record.at


def read_parent_told(m: pb.ParentTold) -> r.ParentTold:
    return r.ParentTold(m.at)
