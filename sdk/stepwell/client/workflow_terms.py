"""What is said of a workflow's instances, as messages have it."""

from __future__ import annotations

from stepwell.retention import NOT_SAID, Retention
from stepwell.v1 import resources_pb2, workflows_pb2
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits


def retention_message(retention: Retention) -> resources_pb2.Retention | None:
    """None where it says nothing."""
    return None if retention == NOT_SAID else resources_pb2.Retention(**retention._asdict())


def limits_message(limits: WorkflowLimits) -> workflows_pb2.WorkflowLimits | None:
    """Likewise."""
    return None if limits == UNLIMITED else workflows_pb2.WorkflowLimits(**limits._asdict())
