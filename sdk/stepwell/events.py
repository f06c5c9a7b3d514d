"""What `run` is called with, and what `step.wait_for_event` returns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic

from stepwell.attributes import AttributeDict
from stepwell.typed import Payload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_from_ms(ms: int) -> datetime:
    """Milliseconds since the epoch as an aware time in UTC; exact, as integers are."""
    return _EPOCH + timedelta(milliseconds=ms)


class WorkflowCronSchedule(AttributeDict):
    """The schedule that an instance was created by."""

    if TYPE_CHECKING:
        cron: str
        """As the manifest has it."""
        scheduledTime: int
        """When it was due, in milliseconds since the epoch, as Cloudflare's is; the instance may have been created
        later, which is what the event's `timestamp` says."""


class WorkflowEvent(AttributeDict, Generic[Payload]):
    """The event that an instance was created with. Each run gets its own.

    `WorkflowEvent[Params]` says what its payload is, to type checkers alone: whoever creates an instance may send
    anything.
    """

    if TYPE_CHECKING:
        payload: Payload
        """The params of the instance; None when it was created without."""
        timestamp: datetime
        """When the instance was created: aware, UTC."""
        instanceId: str
        workflowName: str
        schedule: WorkflowCronSchedule | None
        """What created the instance; None when a call did."""

    @classmethod
    def of(cls, payload: object, about: Mapping[str, Any]) -> WorkflowEvent:
        """A fresh event for one run; `about` is what `frames` says of a start."""
        schedule = about.get("schedule")
        return cls(
            payload=payload,
            timestamp=time_from_ms(about["created"]),
            instanceId=about["id"],
            workflowName=about["workflow"],
            schedule=None if schedule is None else WorkflowCronSchedule(cron=schedule[0], scheduledTime=schedule[1]),
        )


class StepEvent(AttributeDict, Generic[Payload]):
    """An event that was sent to the instance, as `step.wait_for_event` returns it. `StepEvent[Approval]` says what its
    payload is, to type checkers alone.
    """

    if TYPE_CHECKING:
        payload: Payload
        type: str
        timestamp: datetime
        """When the event was accepted: aware, UTC."""

    @classmethod
    def of(cls, payload: object, type: str, timestamp_ms: int) -> StepEvent:
        """The event with this payload."""
        return cls(payload=payload, timestamp=time_from_ms(timestamp_ms), type=type)
