"""Stories of one instance as text: what happens at what time, and, indented below it, what the engine wants done.

    10s: sleep nap for 1m
        append SleepStarted sleep nap, due 70s

`run` carries a script out and gives it back as it should read; `python -m tests.unit.engine.scenario FILE …`
writes that into the files, for a person to read before it is kept. Times are from the create on. `#` begins a remark.
"""

from __future__ import annotations

import copy
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from stepwell.engine import actions as a
from stepwell.engine import events as e
from stepwell.engine.limits import EngineLimits
from stepwell.engine.records import Failure, Kind, Record, StepKey
from stepwell.engine.status import status_of
from stepwell.errors import ApiError
from stepwell.names import Digest, InstanceUid
from tests.unit.engine.driven import REFUSALS, T0, Driven

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def run(script: str) -> str:
    """The script with what the engine really wants done."""
    story = Story()
    lines: list[str] = []
    for line in script.splitlines():
        if line.startswith("    "):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            lines.extend("    " + said for said in story.carry_out(line))
    return "\n".join(lines) + "\n"


def ms(text: str) -> int:
    number, unit = text.rstrip("mhs"), text.lstrip("0123456789")
    return int(number) * UNITS[unit]


def shown(at: int) -> str:
    seconds = (at - T0) / 1000
    return f"{seconds:g}s"


class Story:
    """A driven instance that understands sentences."""

    def __init__(self) -> None:
        self.run = Driven(EngineLimits(buffered_events_max=3))

    def carry_out(self, line: str) -> list[str]:
        time, _, rest = line.partition(": ")
        self.run.at = T0 + ms(time)
        verb, *words = shlex.split(rest)
        if verb == "crash":
            self.run.crash()
            return self.status()
        if verb == "show":
            return self.status()
        event = VERBS[verb](self.run.at, words, self.run)
        before = copy.deepcopy(self.run.instance)
        try:
            actions = self.run.handle(event)
        except REFUSALS as refusal:
            assert self.run.instance == before, "what is refused changes nothing"
            kind = "refused" if isinstance(refusal, ApiError) else "illegal"
            return [f"{kind}: {refusal}"]
        return [describe(action) for action in actions] or ["nothing"]

    def status(self) -> list[str]:
        instance = self.run.instance
        due = instance.next_due()
        when = {None: "never", 0: "now"}.get(due) or shown(cast(int, due))
        lines = [f"{status_of(instance)}, due {when}"]
        for step in instance.steps.values():
            lines.append(f"{words_of(step.key)}: {step.status}, attempts {step.attempts}")
        return lines


def describe(action: a.Action) -> str:
    match action:
        case a.Append():
            return f"append {recorded(action.record)}"
        case a.TellStart():
            opened = ", ".join(words_of(key) for key in action.opened) or "nothing"
            return f"tell start, recorded {action.recorded}, open: {opened}"
        case a.TellCompletion():
            told = action.completion
            what = told.failure.message if told.failure is not None else str(told.payload)[2:-1]
            held = " (held)" if action.held else ""
            return f"tell {told.outcome} {words_of(told.key)} {what}".rstrip() + held
        case a.TellGo():
            return f"tell go {words_of(action.key)}, attempt {action.attempt}"
        case a.EndGuest():
            return f"end guest: {action.reason}"
        case _:
            return {
                a.WakeNow: "wake now",
                a.Activate: "activate",
                a.TellHold: "tell hold",
                a.TellRelease: "tell release",
                a.TellStop: "tell stop",
            }[type(action)]


def words_of(key: StepKey) -> str:
    return f"{key.kind} {key.name}" + (f" ({key.count})" if key.count > 1 else "")


def recorded(record: Record) -> str:
    parts: list[str] = []
    for field in fields(record):
        value: Any = getattr(record, field.name)
        if field.name == "key":
            parts.insert(0, words_of(value))
        elif field.name in ("due", "retry_at") and value is not None:
            parts.append(f"{field.name.replace('_', ' ')} {shown(value)}")
        elif isinstance(value, Failure):
            parts.append(f"{value.type}: {value.message}")
        elif isinstance(value, bytes) and field.name != "trace":
            parts.append(value.decode())
        elif field.name == "paused_for":
            parts.append(f"paused for {value / 1000:g}s")
        elif field.name in ("attempt", "number", "runnable", "event_type", "reason"):
            parts.append(f"{field.name.replace('_', ' ')} {value}")
    return f"{type(record).__name__} {', '.join(parts)}".rstrip()


# -------------------------------------------------------------------- the sentences
def named(words: list[str], kind: Kind) -> StepKey:
    name, _, count = words[0].partition("#")
    return StepKey(kind, name, int(count or 1))


def option(words: list[str], name: str, default: str = "") -> str:
    return words[words.index(name) + 1] if name in words else default


def failed(at: int, words: list[str], run: Driven) -> e.Event:
    policy = e.RetryPolicy(
        int(option(words, "limit", "5")),
        ms(option(words, "delay", "10s")),
        cast(Any, option(words, "backoff", "constant")),
    )
    failure = Failure("builtins", "ValueError", "boom")
    attempt = int(option(words, "attempt", "1"))
    return e.StepAttemptFailed(at, named(words, "do"), attempt, 0, "fatally" not in words, policy, failure)


def created(at: int, words: list[str], run: Driven) -> e.Event:
    return e.CreateRequested(at, InstanceUid("u"), Digest("d"), "main:Flow", b"null", "")


def started(at: int, words: list[str], run: Driven) -> e.Event:
    return e.StepStarted(at, named(words, "do"), int(option(words, "attempt", "1")), ms(option(words, "timeout", "0s")))


def succeeded(at: int, words: list[str], run: Driven) -> e.Event:
    attempt = int(option(words, "attempt", "1"))
    return e.StepSucceeded(at, named(words, "do"), attempt, 0, option(words, "with", "null").encode())


def waits(at: int, words: list[str], run: Driven) -> e.Event:
    timeout = option(words, "timeout")
    return e.WaitAsked(at, named(words, "waitForEvent"), option(words, "for"), ms(timeout) if timeout else None)


def idle(at: int, words: list[str], run: Driven) -> e.Event:
    return e.GuestIdle(at, int(words[0]) if words else run.instance.live.told if run.instance.live else 0)


def quiet(at: int, words: list[str], run: Driven) -> e.Event:
    return e.GuestQuiet(at, int(words[0]) if words else run.instance.live.holds if run.instance.live else 0)


VERBS: dict[str, Callable[[int, list[str], Driven], e.Event]] = {
    "create": created,
    "activate": lambda at, words, run: e.ActivationStarted(at, "cpython-3.11"),
    "suspend": lambda at, words, run: e.Suspended(at, Failure("stepwell.errors", "BundleRefusedError", words[0])),
    "start": started,
    "succeed": succeeded,
    "fail": failed,
    "sleep": lambda at, words, run: e.SleepAsked(at, named(words, "sleep"), ms(option(words, "for")), None),
    "wait": waits,
    "cancel-step": lambda at, words, run: e.KeyCancelled(at, named(words, "do")),
    "cancel-sleep": lambda at, words, run: e.KeyCancelled(at, named(words, "sleep")),
    "cancel-wait": lambda at, words, run: e.KeyCancelled(at, named(words, "waitForEvent")),
    "idle": idle,
    "quiet": quiet,
    "return": lambda at, words, run: e.RunReturned(at, words[0].encode()),
    "raise": lambda at, words, run: e.RunRaised(at, Failure("builtins", words[0], words[1])),
    "mismatch": lambda at, words, run: e.ReplayMismatched(at, int(words[0]), words[1], words[2]),
    "lose": lambda at, words, run: e.GuestLost(at, words[0]),
    "drain": lambda at, words, run: e.DrainRequested(at),
    "tick": lambda at, words, run: e.Tick(at),
    "send": lambda at, words, run: e.EventSent(at, words[0], words[1].encode(), option(words, "as")),
    "pause": lambda at, words, run: e.PauseRequested(at, option(words, "as")),
    "resume": lambda at, words, run: e.ResumeRequested(at, option(words, "as")),
    "cancel": lambda at, words, run: e.CancelInstanceRequested(at, option(words, "for"), option(words, "as")),
    "terminate": lambda at, words, run: e.TerminateRequested(at, option(words, "as")),
    "delete": lambda at, words, run: e.DeleteRequested(at, option(words, "as")),
}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(run(Path(name).read_text()))
