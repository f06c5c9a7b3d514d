"""What can happen to an instance: what the engine is told, each with its time.

Events come from the guest that runs it, from the node's clock and from callers. The engine believes nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from stepwell.engine.family import Parent
from stepwell.engine.records import Failure, Origin, Payload, RolledBack, StepKey
from stepwell.engine.schedule import Schedule
from stepwell.names import Digest, InstanceUid
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits


class RetryPolicy(NamedTuple):
    """How a failed step goes on: `limit` retries, so `limit` + 1 attempts."""

    limit: int
    delay_ms: int
    backoff: Literal["constant", "linear", "exponential"]


@dataclass(frozen=True, slots=True)
class CreateRequested:
    """`uid` was minted for this create; the version is the one that the route names now. `retention` is what holds for
    the instance, whoever said it."""

    at: int
    uid: InstanceUid
    digest: Digest
    entrypoint: str
    params: Payload
    request_id: str
    trace: bytes = b""
    parent: Parent | None = None
    depth: int = 0
    origin: Origin | None = None
    """Of a fork, whose version is its origin's, or one that does what is copied."""
    schedule: Schedule | None = None
    retention: Retention = NOT_SAID
    limits: WorkflowLimits = UNLIMITED


@dataclass(frozen=True, slots=True)
class ActivationStarted:
    """A sandbox is ready to run the instance."""

    at: int
    runtime: str
    trace: bytes = b""


@dataclass(frozen=True, slots=True)
class Suspended:
    """It can't go on for now, and nobody asked for that: its code doesn't load, or its tenant has no space left."""

    at: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class StepStarted:
    """An attempt's body runs in the guest; `timeout_ms` is the attempt's own, 0 for none."""

    at: int
    key: StepKey
    attempt: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class StepSucceeded:
    at: int
    key: StepKey
    attempt: int
    elapsed_ms: int
    result: Payload


@dataclass(frozen=True, slots=True)
class StepAttemptFailed:
    at: int
    key: StepKey
    attempt: int
    elapsed_ms: int
    retryable: bool
    policy: RetryPolicy
    failure: Failure


@dataclass(frozen=True, slots=True)
class SleepAsked:
    """Exactly one of the two is given; `until` is ms since the epoch. Timers of `run` use `until`."""

    at: int
    key: StepKey
    duration_ms: int | None
    until: int | None


@dataclass(frozen=True, slots=True)
class WaitAsked:
    """`timeout_ms` None waits for ever."""

    at: int
    key: StepKey
    event_type: str
    timeout_ms: int | None


@dataclass(frozen=True, slots=True)
class KeyCancelled:
    """`run` no longer waits for the key, and had not been given its completion."""

    at: int
    key: StepKey


@dataclass(frozen=True, slots=True)
class GuestIdle:
    """After `entered` completions nothing is ready in `run` and no body runs."""

    at: int
    entered: int


@dataclass(frozen=True, slots=True)
class GuestQuiet:
    """No body runs, and none starts: answers the TellHold of that number."""

    at: int
    hold: int


@dataclass(frozen=True, slots=True)
class RunReturned:
    at: int
    output: Payload


@dataclass(frozen=True, slots=True)
class RunRaised:
    """Steps that have rollback handlers were rolled back before it was said."""

    at: int
    failure: Failure
    rolled_back: RolledBack | None = None


@dataclass(frozen=True, slots=True)
class ReplayMismatched:
    """The code asked for something else than the journal has, at the completion `position`, from 0."""

    at: int
    position: int
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class GuestLost:
    """The sandbox died under the instance."""

    at: int
    reason: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """The node gives the instance up in good order; another activation goes on with it."""

    at: int


@dataclass(frozen=True, slots=True)
class Tick:
    """The time is `at`: whatever is due by then happens."""

    at: int


@dataclass(frozen=True, slots=True)
class EventSent:
    """`event_id` is the sender's own name for it: the same one again is the same event, whatever the request_id.
    `only_if_waiting`: not to be kept for a wait that may come."""

    at: int
    event_type: str
    payload: Payload
    request_id: str
    event_id: str = ""
    only_if_waiting: bool = False


@dataclass(frozen=True, slots=True)
class PauseRequested:
    at: int
    request_id: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    at: int
    request_id: str


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """From the beginning, or from that step."""

    at: int
    step: StepKey | None
    request_id: str


@dataclass(frozen=True, slots=True)
class CancelInstanceRequested:
    at: int
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class MigrateRequested:
    """To that version, whose code was found to do all that the journal has by now."""

    at: int
    digest: Digest
    entrypoint: str
    request_id: str
    limits: WorkflowLimits = UNLIMITED


@dataclass(frozen=True, slots=True)
class TerminateRequested:
    """With `rollback`, once the handlers of its steps have run."""

    at: int
    request_id: str
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class ChildAsked:
    """Its code is about to create this one."""

    at: int
    child: str


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """One that it created has ended. `request_id` names that end: the word of it may come more than once."""

    at: int
    child: str
    payload: Payload
    request_id: str


@dataclass(frozen=True, slots=True)
class ParentHeard:
    """Its parent has the word of its end."""

    at: int


@dataclass(frozen=True, slots=True)
class DeleteRequested:
    at: int
    request_id: str


Event = (
    StepSucceeded
    | StepStarted
    | SleepAsked
    | WaitAsked
    | StepAttemptFailed
    | KeyCancelled
    | GuestIdle
    | Tick
    | RunReturned
    | RunRaised
    | ActivationStarted
    | GuestQuiet
    | GuestLost
    | Suspended
    | ReplayMismatched
    | DrainRequested
    | CreateRequested
    | EventSent
    | PauseRequested
    | ResumeRequested
    | RestartRequested
    | CancelInstanceRequested
    | MigrateRequested
    | TerminateRequested
    | ChildAsked
    | ChildEnded
    | ParentHeard
    | DeleteRequested
)
