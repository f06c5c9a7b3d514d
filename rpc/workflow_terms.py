"""What messages say of a workflow's instances."""

from __future__ import annotations

from stepwell.errors import InvalidArgumentError
from stepwell.retention import Retention, refuse_unusual
from stepwell.v1 import resources_pb2 as pb
from stepwell.v1 import workflows_pb2
from stepwell.workflow_limits import WorkflowLimits


def retention_of(message: pb.Retention) -> Retention:
    """Unjudged."""
    return Retention(
        message.success_ms if message.HasField("success_ms") else None,
        message.error_ms if message.HasField("error_ms") else None,
    )


def checked_retention(message: pb.Retention, field: str) -> Retention:
    """Raises InvalidArgumentError for one that can't be."""
    retention = retention_of(message)
    for name, ms in retention._asdict().items():
        if ms is not None:
            try:
                refuse_unusual(ms)
            except ValueError as error:
                raise InvalidArgumentError(f"{field}.{name}: {error}", field=f"{field}.{name}") from None
    return retention


def limits_of(message: workflows_pb2.WorkflowLimits) -> WorkflowLimits:
    """Unjudged."""
    return WorkflowLimits(
        message.steps if message.HasField("steps") else None,
        message.concurrency if message.HasField("concurrency") else None,
    )
