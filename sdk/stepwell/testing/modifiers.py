"""What a test changes about an instance: Cloudflare's modifiers, by their names in snake_case.

They work where guest and host meet: what a body is, and what the host hears. The engine and the journal are as always,
so that a replay or a crash meets the same. A step is named by its name and, from 1, which of its calls is meant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stepwell.calls import Call
from stepwell.engine.events import Event, SleepAsked, StepAttemptFailed, WaitAsked
from stepwell.engine.records import StepKey
from stepwell.errors import StepTimeoutError
from stepwell.values import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.guest.asks import Ask

_Named = tuple[str, int]
StepName = str | tuple[str, int]
"""A name alone is its first call; (name, count) another one, from 1."""


def _named(step: StepName) -> _Named:
    return (step, 1) if isinstance(step, str) else step


class Modifiers:
    """Of one instance, or of all that are started after it was set."""

    def __init__(self, send: Callable[[str, Any], None] | None = None) -> None:
        self._send = send
        self._awake: set[_Named] | None = set()
        """Sleeps that end at once; None for all."""
        self._undelayed: set[_Named] | None = set()
        self._plans: dict[_Named, list[tuple[Exception | None, int | None]]] = {}
        """What attempts end with instead, one after the other, each so many times; None is a timeout, or for ever."""
        self._results: dict[_Named, bytes] = {}
        self._expired: set[_Named] = set()
        self._events: list[tuple[str, Any]] = []

    def for_instance(self, send: Callable[[str, Any], None]) -> Modifiers:
        """The same ones, for an instance of its own, to which `send` sends events."""
        made = Modifiers(send)
        made._awake = None if self._awake is None else set(self._awake)
        made._undelayed = None if self._undelayed is None else set(self._undelayed)
        made._plans = {step: list(plan) for step, plan in self._plans.items()}
        made._results, made._expired = dict(self._results), set(self._expired)
        return made

    # ---------------------------------------------------------------- what a test asks for
    def disable_sleeps(self, *steps: StepName) -> None:
        """These sleeps, or all of them, end at once: the clock does not move, where it would jump otherwise."""
        self._awake = _more(self._awake, steps)

    def disable_retry_delays(self, *steps: StepName) -> None:
        """Failed attempts of these steps, or of all, are followed by the next at once: the clock does not move."""
        self._undelayed = _more(self._undelayed, steps)

    def mock_step_result(self, step: StepName, result: Any) -> None:
        """The step's body is not run: this is its result. Raises StepValueError for what can't be kept."""
        self._results[_named(step)] = encode(result)

    def mock_step_error(self, step: StepName, error: Exception, times: int | None = None) -> None:
        """The next `times` attempts of the step raise the error; without a number, all do."""
        self._plans.setdefault(_named(step), []).append((error, times))

    def force_step_timeout(self, step: StepName, times: int | None = None) -> None:
        """The next `times` attempts of the step time out at once, without running; without a number, all do."""
        self._plans.setdefault(_named(step), []).append((None, times))

    def mock_event(self, type: str, payload: Any = None) -> None:
        """Send the event: to this instance now, or to each that is started from here on, at its start."""
        if self._send is not None:
            self._send(type, payload)
        else:
            self._events.append((type, payload))

    def send_events(self, modifiers: Modifiers) -> None:
        """Send an instance's modifiers the events that were set for all."""
        for type, payload in self._events:
            modifiers.mock_event(type, payload)

    def force_event_timeout(self, step: StepName) -> None:
        """This `wait_for_event` times out at once, whatever events there are."""
        self._expired.add(_named(step))

    # ---------------------------------------------------------------- what becomes of it
    def applied(self, event: Event) -> Event:
        """What the engine is to hear instead of what the guest said."""
        match event:
            case SleepAsked(key=StepKey(kind="sleep")) if _has(self._awake, event.key):
                return replace(event, duration_ms=0, until=None)
            case StepAttemptFailed() if _has(self._undelayed, event.key):
                return replace(event, policy=event.policy._replace(delay_ms=0))
            case WaitAsked() if (event.key.name, event.key.count) in self._expired:
                # No event can be of such a type, so that none that is there already is given to this wait.
                return replace(event, event_type=f"!{event.event_type}", timeout_ms=0)
            case _:
                return event

    def replaced(self, ask: Ask, attempt: int) -> Call | None:
        """What this attempt calls instead of its body; None to run it, as rollback handlers always are."""
        if ask.key[0] != "do":
            return None
        step = (ask.key[1], ask.key[2])
        left = attempt
        for error, times in self._plans.get(step, ()):
            if times is None or left <= times:
                return Call(_raising(error if error is not None else _timeout(ask, attempt)))
            left -= times
        result = self._results.get(step)
        return None if result is None else Call(_returning(result))


def _more(before: set[_Named] | None, steps: tuple[StepName, ...]) -> set[_Named] | None:
    return None if before is None or not steps else before | {_named(step) for step in steps}


def _has(steps: set[_Named] | None, key: StepKey) -> bool:
    return steps is None or (key.name, key.count) in steps


def _timeout(ask: Ask, attempt: int) -> StepTimeoutError:
    timeout_ms = ask.config.timeout_ms if ask.config is not None else 0
    return StepTimeoutError(f"step {ask.key[1]!r}: attempt {attempt} ran longer than its timeout of {timeout_ms} ms")


def _raising(error: Exception) -> Any:
    async def mocked() -> Any:
        raise error.with_traceback(None)

    return mocked


def _returning(result: bytes) -> Any:
    async def mocked() -> Any:
        return decode(result)

    return mocked
