"""What the engine wants done, in order.

Append, then act: the node performs nothing that stands behind an `Append` before that record is durable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from stepwell.engine.records import Failure, Payload, Record, StepKey

TERMINATE: Final = StepKey("rollback", "", 1)
"""The key of the completion that ends `run` by a call. No step has an empty name."""


class Completion(NamedTuple):
    """What `run` waited for, as it enters `run`'s scheduler, live and on replay alike."""

    key: StepKey
    at: int
    outcome: Literal["value", "error", "fired", "event", "timeout", "cancelled", "terminate"]
    payload: Payload = b""
    failure: Failure | None = None
    event_type: str = ""
    event_at: int = 0
    reason: str = ""
    """Of a cancel."""


@dataclass(frozen=True, slots=True)
class Append:
    record: Record


@dataclass(frozen=True, slots=True)
class WakeNow:
    """Before the next record becomes durable, a wake that is due now must be."""


@dataclass(frozen=True, slots=True)
class TellStart:
    """Begin the activation: the first `recorded` completions of the instance, and what is open."""

    recorded: int
    opened: tuple[StepKey, ...]


@dataclass(frozen=True, slots=True)
class TellCompletion:
    """`held`: the guest has the payload itself, since it sent it."""

    completion: Completion
    held: bool


@dataclass(frozen=True, slots=True)
class TellGo:
    key: StepKey
    attempt: int


@dataclass(frozen=True, slots=True)
class TellHold:
    """`number` comes back with the guest's word that it is quiet."""

    number: int


@dataclass(frozen=True, slots=True)
class TellRelease:
    pass


@dataclass(frozen=True, slots=True)
class TellStop:
    """End the activation in the guest; nothing that it says of it counts any more."""


@dataclass(frozen=True, slots=True)
class Activate:
    """The instance is runnable and no guest runs it."""


@dataclass(frozen=True, slots=True)
class EndGuest:
    """Kill the sandbox: it broke a limit. The node then reports it lost."""

    reason: str


Action = (
    Append | TellCompletion | WakeNow | TellStart | TellGo | TellHold | TellRelease | TellStop | Activate | EndGuest
)
Actions = list[Action]
