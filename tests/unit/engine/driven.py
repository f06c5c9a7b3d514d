"""An instance driven by hand: events in, actions out, and every record kept, so that the journal can be read back."""

from __future__ import annotations

import copy

import pytest

from stepwell.engine import fold, machine
from stepwell.engine.actions import Action, Actions, Append, TellCompletion
from stepwell.engine.events import (
    ActivationStarted,
    CreateRequested,
    Event,
    EventSent,
    GuestIdle,
    GuestLost,
    RetryPolicy,
    SleepAsked,
    StepAttemptFailed,
    StepStarted,
    StepSucceeded,
    Tick,
    WaitAsked,
)
from stepwell.engine.instance import IllegalTransition, Instance
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Failure, Kind, Record, StepKey
from stepwell.errors import ApiError
from stepwell.names import Digest, InstanceUid

T0 = 1_000_000
"""When instances of these tests are created, in ms."""

BOOM = Failure("builtins", "ValueError", "boom")
LET_OUT = Failure("asyncio.exceptions", "CancelledError", "the instance was cancelled")
RETRY_IN_10_S = RetryPolicy(5, 10_000, "constant")


def key(name: str, count: int = 1, kind: Kind = "do") -> StepKey:
    return StepKey(kind, name, count)


class Driven:
    """`at` is the time of the next event; it moves only when a test moves it."""

    def __init__(self, limits: EngineLimits | None = None) -> None:
        self.limits = limits or EngineLimits()
        self.instance = Instance()
        self.records: list[Record] = []
        self.at = T0

    def handle(self, event: Event) -> Actions:
        actions = machine.handle(self.instance, event, self.limits)
        self.records.extend(action.record for action in actions if isinstance(action, Append))
        return actions

    def refused(self, event: Event, error: type[Exception], match: str | None = None) -> None:
        """The event raises, and nothing has changed."""
        before = copy.deepcopy(self.instance)
        with pytest.raises(error, match=match):
            machine.handle(self.instance, event, self.limits)
        assert self.instance == before

    def illegal(self, event: Event, match: str | None = None) -> None:
        self.refused(event, IllegalTransition, match)

    def no_effect(self, event: Event) -> None:
        """The event is allowed, and means nothing here."""
        before = copy.deepcopy(self.instance)
        assert self.handle(event) == []
        assert self.instance == before

    def replayed(self) -> Instance:
        return fold.replay(self.records)

    def crash(self) -> None:
        """The node dies: what only the activation knew is gone."""
        self.instance = self.replayed()

    # ---------------------------------------------------------------- the events that every test needs
    def create(self, request_id: str = "") -> Actions:
        event = CreateRequested(self.at, InstanceUid("uid-1"), Digest("sha256-1"), "main:Flow", b"null", request_id)
        return self.handle(event)

    def activate(self) -> Actions:
        return self.handle(ActivationStarted(self.at, "cpython-3.11"))

    def running(self) -> Driven:
        """Created and activated."""
        self.create()
        self.activate()
        return self

    def start(self, name: str, attempt: int = 1, timeout_ms: int = 0) -> Actions:
        return self.handle(StepStarted(self.at, key(name), attempt, timeout_ms))

    def succeed(self, name: str, attempt: int = 1, result: bytes = b"1") -> Actions:
        return self.handle(StepSucceeded(self.at, key(name), attempt, 7, result))

    def fail(
        self, name: str, attempt: int = 1, policy: RetryPolicy = RETRY_IN_10_S, *, retryable: bool = True
    ) -> Actions:
        return self.handle(StepAttemptFailed(self.at, key(name), attempt, 7, retryable, policy, BOOM))

    def sleep(self, name: str, duration_ms: int) -> Actions:
        return self.handle(SleepAsked(self.at, key(name, kind="sleep"), duration_ms, None))

    def wait(self, name: str, event_type: str, timeout_ms: int | None = None) -> Actions:
        return self.handle(WaitAsked(self.at, key(name, kind="waitForEvent"), event_type, timeout_ms))

    def send(self, event_type: str, payload: bytes = b"{}", request_id: str = "", event_id: str = "") -> Actions:
        return self.handle(EventSent(self.at, event_type, payload, request_id, event_id))

    def idle(self) -> Actions:
        assert self.instance.live is not None
        return self.handle(GuestIdle(self.at, self.instance.live.told))

    def tick(self) -> Actions:
        return self.handle(Tick(self.at))

    def lose(self, reason: str = "out of memory") -> Actions:
        return self.handle(GuestLost(self.at, reason))


def appended(actions: Actions) -> list[Record]:
    return [action.record for action in actions if isinstance(action, Append)]


def names(actions: Actions) -> list[str]:
    """What is asked for, in order: a record by its own name."""
    return [type(action.record if isinstance(action, Append) else action).__name__ for action in actions]


def told(actions: Actions) -> list[TellCompletion]:
    return [action for action in actions if isinstance(action, TellCompletion)]


def only(actions: Actions) -> Action:
    (action,) = actions
    return action


REFUSALS = (IllegalTransition, ApiError)
"""All that the engine may raise."""
