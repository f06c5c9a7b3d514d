"""Choices out of a number, and out of choices any event at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar, get_args

from stepwell.engine import events as e
from stepwell.engine.family import Parent
from stepwell.engine.records import BlobRef, Kind, Payload, RolledBack, StepKey
from stepwell.engine.schedule import Schedule
from stepwell.names import InstanceId, InstanceUid, WorkflowId
from stepwell.retention import NOT_SAID, Retention
from stepwell.workflow_limits import UNLIMITED, WorkflowLimits
from tests.unit.engine.driven import BOOM, LET_OUT

T = TypeVar("T")

LENGTHS: Final = (0, 400, 1_000, 9_000, 90_000)
TYPES: Final = ("x", "y")
REQUEST_IDS: Final = ("", "", "r1", "r2")
CHILDREN: Final = ("c/1", "c/2", "c/3")
PARENT: Final = Parent(WorkflowId("p"), InstanceId("1"), InstanceUid("pu"))
EVENT_IDS: Final = ("", "", "e1", "e2")
PAYLOADS: Final[tuple[Payload, ...]] = (b"1", b"22", BlobRef("b", 5), b"x" * 700)
POLICIES: Final = tuple(
    e.RetryPolicy(limit, delay_ms, backoff)
    for limit in (4, 2, 0)
    for delay_ms in (500, 3_000, 90_000)
    for backoff in ("constant", "linear", "exponential")
)

RETENTIONS: Final = (NOT_SAID, Retention(5_000, 61_000), Retention(success_ms=61_000), Retention(error_ms=1_000))

_VALUES: Final[dict[str, Sequence[Any]]] = {
    "uid": ("u",),
    "digest": ("d", "other"),
    "entrypoint": ("m:C",),
    "runtime": ("cpython-3.11",),
    "trace": (b"t" * 24,),
    "schedule": (None, Schedule("0 9 * * *", 999_000)),
    "origin": (None,),
    "params": PAYLOADS,
    "child": CHILDREN,
    "parent": (None, PARENT),
    "depth": (0, 1, 2),
    "result": PAYLOADS,
    "payload": PAYLOADS,
    "output": PAYLOADS,
    "request_id": REQUEST_IDS,
    "event_id": EVENT_IDS,
    "only_if_waiting": (False, True),
    "failure": (BOOM, LET_OUT),
    "attempt": (1, 2, 3, 0),
    "elapsed_ms": (0, 50),
    "retryable": (True, False),
    "policy": POLICIES,
    "timeout_ms": LENGTHS,
    "event_type": TYPES,
    "entered": (0, 1, 2),
    "hold": (0, 1, 2),
    "position": (0, 1),
    "expected": ("this",),
    "got": ("that",),
    "reason": ("gone", ""),
    "rolled_back": (None, RolledBack(), RolledBack(BOOM)),
    "rollback": (False, True),
    "retention": RETENTIONS,
    "limits": (UNLIMITED, WorkflowLimits(steps=2), WorkflowLimits(concurrency=1)),
}
"""By the name of an event's field."""

_KINDS: Final[dict[type[e.Event], tuple[Kind, ...]]] = {
    e.SleepAsked: ("sleep", "timer"),
    e.WaitAsked: ("waitForEvent",),
    e.KeyCancelled: get_args(Kind),
    e.StepStarted: ("do", "rollback"),
    e.StepSucceeded: ("do", "rollback"),
    e.StepAttemptFailed: ("do", "rollback"),
}
"""What an event's key may be; the keys of all others are those of steps."""


class Dice:
    """What is left of the number after a choice makes the next one; nothing, always the first."""

    def __init__(self, number: int) -> None:
        self._number = number

    def pick(self, options: Sequence[T]) -> T:
        self._number, place = divmod(self._number, len(options))
        return options[place]

    def event(self, at: int) -> e.Event:
        """Any of any kind, of the few names and values that a walk uses itself."""
        kind = self.pick(get_args(e.Event))
        values = {field.name: self._value(kind, field.name) for field in fields(kind) if field.name != "at"}
        if kind is e.SleepAsked:
            values |= self.pick(({"until": None}, {"duration_ms": None}))
        event: e.Event = kind(at=at, **values)
        return event

    def _value(self, kind: type[e.Event], name: str) -> Any:
        match name:
            case "key":
                return StepKey(self.pick(_KINDS.get(kind, ("do",))), self.pick(("a", "b")), self.pick((1, 2, 3)))
            case "step":
                return self.pick(
                    (None, StepKey(self.pick(get_args(Kind)), self.pick(("a", "b")), self.pick((1, 2, 3))))
                )
            case "duration_ms":
                return self.pick(LENGTHS)
            case "until":
                return self.pick((1_000_500, 0, 2_000_000))
            case "timeout_ms" if kind is e.WaitAsked:
                return self.pick((None, *LENGTHS))
            case _:
                return self.pick(_VALUES[name])
