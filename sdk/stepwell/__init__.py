"""Stepwell's authoring API: what a workflow's code imports. Standard library only; clients are in `stepwell.client`."""

from stepwell.bindings import WorkflowBinding, WorkflowInstance
from stepwell.config import Retries, StepOptions
from stepwell.context import StepContext
from stepwell.entrypoint import WorkflowEntrypoint
from stepwell.errors import (
    ChildFailedError,
    DeterminismError,
    EventTimeoutError,
    NonRetryableError,
    RunRestrictionError,
    StepDefinitionError,
    StepError,
    StepTimeoutError,
    StepValueError,
    StepwellError,
    WorkflowClosedError,
    WorkflowError,
    WorkflowStalledError,
    WorkflowTerminatedError,
)
from stepwell.events import StepEvent, WorkflowEvent
from stepwell.steps import Step, WorkflowStep

__all__ = [
    "ChildFailedError",
    "DeterminismError",
    "EventTimeoutError",
    "NonRetryableError",
    "Retries",
    "RunRestrictionError",
    "Step",
    "StepContext",
    "StepDefinitionError",
    "StepError",
    "StepEvent",
    "StepOptions",
    "StepTimeoutError",
    "StepValueError",
    "StepwellError",
    "WorkflowBinding",
    "WorkflowClosedError",
    "WorkflowEntrypoint",
    "WorkflowError",
    "WorkflowEvent",
    "WorkflowInstance",
    "WorkflowStalledError",
    "WorkflowStep",
    "WorkflowTerminatedError",
]
