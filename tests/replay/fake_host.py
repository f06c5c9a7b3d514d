"""A host in memory: it drives one instance, journals its completions, and can say what a crash would have left.

`Recording` is what one live activation did: which frames it sent after each completion, and what it had traced by then.
`replayed` starts another activation from the first so many completions of it, as a host would after a crash: with the
asks open that the journal could have known of by then, up to a position in the stream of frames.
"""

from __future__ import annotations

import atexit
import random
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from loader.messages import (
    Cancel,
    Closed,
    Mismatch,
    Raised,
    Replayed,
    Returned,
    Sleep,
    Timer,
    Wait,
    decode_guest_message,
)
from stepwell.guest import determinism, restrictions
from stepwell.guest.asks import Ask
from stepwell.guest.bodies import Attempt
from stepwell.guest.instance import Instance
from stepwell.guest.limits import Limits
from stepwell.guest.loop import GuestLoop
from stepwell.guest.replaying import ReplayedInstance

Key = tuple[str, str, int]
CREATED_MS = 1_700_000_000_000
ACT = 1


class Completion(NamedTuple):
    """A record of the journal: `outcome` is as on a replay, so never "held"."""

    key: Key
    at_ms: int
    outcome: str
    detail: Any
    payload: bytes


class Said(NamedTuple):
    """What a guest told the host that matters to it: an ask, or a cancellation."""

    verb: str
    key: Key
    terms: tuple[Any, ...]


_installed = False


@cache
def guest_loop() -> GuestLoop:
    """The process's. It never runs here: drains pretend that it does."""
    loop = GuestLoop()
    atexit.register(loop.close)
    return loop


def install() -> None:
    """What `stepwell.guest.runtime.main` does to a process. Once is enough."""
    global _installed
    if not _installed:
        _installed = True
        determinism.install()
        restrictions.install()
    determinism.hold_generators(SimpleNamespace(_asyncgen_firstiter_hook=_nothing, _asyncgen_finalizer_hook=_nothing))


def _nothing(*args: object) -> None:
    """Async generators outside of `run` are of no interest here."""


class FakeHost:
    """Implements `InstanceHost`; runs bodies at once, as long as they wait for nothing. With `replay_of`, how `run` is
    said to have ended, it only replays."""

    def __init__(
        self,
        entrypoint: Callable[[], Any],
        recorded: int = 0,
        opened: list[Key] | None = None,
        limits: Limits | None = None,
        params: bytes = b"null",
        replay_of: str | None = None,
        steps_max: int | None = None,
    ) -> None:
        self.loop = guest_loop()
        self.payload_bytes_max = (limits or Limits()).payloadBytes
        self.said: list[Said] = []
        self.results: dict[Key, tuple[str, Any, bytes]] = {}
        """What bodies ended with, that the host may journal."""
        self.told: list[Any] = []
        """Every message, decoded as the host would."""
        self.outcome: tuple[str, Any] | None = None
        self.closed = False
        self._attempts: list[Attempt] = []
        info = {"id": "i", "uid": "u", "workflow": "w", "created": CREATED_MS, "now": CREATED_MS}
        info["stepsMax"] = steps_max
        listed = [list(key) for key in opened or []]
        of = (self, ACT, entrypoint, info, recorded, listed, params, limits or Limits())
        self.instance = Instance(*of) if replay_of is None else ReplayedInstance(*of, ended=replay_of)

    def begin(self) -> FakeHost:
        """Start the activation."""
        self.instance.begin()
        self.settle()
        return self

    def settle(self) -> None:
        """End the turn of the loop."""
        unwanted = [attempt for attempt in self._attempts if attempt.cancelled]
        if unwanted:
            self._attempts = [attempt for attempt in self._attempts if not attempt.cancelled and not attempt.over]
            for attempt in unwanted:
                if not attempt.over:
                    _to_its_end(attempt)
        self.instance.settle()

    def send(self, envelope: bytes, payload: bytes = b"") -> None:
        message = decode_guest_message(envelope)
        self.told.append(message)
        match message:
            case Sleep(name=name, count=count):
                self.said.append(Said("ask", ("sleep", name, count), (message.duration_ms, message.until_ms)))
            case Wait(name=name, count=count):
                self.said.append(Said("ask", ("waitForEvent", name, count), (message.type, message.timeout_ms)))
            case Timer(count=count):
                self.said.append(Said("ask", ("timer", "", count), (message.when_ms,)))
            case Cancel(kind=kind, name=name, count=count):
                self.said.append(Said("cancel", (kind, name, count), ()))
            case Returned():
                self.outcome = ("returned", payload.decode())
            case Raised(error=error):
                self.outcome = ("raised", (error.module, error.type, error.message))
            case Mismatch():
                self.outcome = ("mismatch", (message.position, message.expected, message.got))
            case Closed():
                self.closed = True
            case _:
                self._ended(message, payload)

    def _ended(self, message: Any, payload: bytes) -> None:
        key = ("do", getattr(message, "name", ""), getattr(message, "count", 0))
        if type(message).__name__ == "Result":
            self.results[key] = ("value", None, payload)
        elif type(message).__name__ == "Failed":
            error = message.error
            self.results[key] = ("error", [error.module, error.type, error.message, error.traceback, None], b"")

    def touch(self, instance: Instance) -> None:
        """Every turn is settled."""

    def flush_logs(self, source: Any) -> None:
        source.partial.clear()

    def start(self, instance: Instance, ask: Ask, number: int) -> None:
        self.said.append(Said("ask", ask.key, ()))
        attempt = ask.attempt = Attempt(self, instance, ask, number)  # type: ignore[arg-type]
        self._attempts.append(attempt)

    def run_body(self, key: Key) -> None:
        """Run the body of an ask that has begun, to its end."""
        ask = self.instance._asking.open[key]
        assert ask.attempt is not None
        _to_its_end(ask.attempt)

    def enter(self, completion: Completion, *, live: bool) -> None:
        """Let a completion in; `live` when this activation ran the body itself."""
        outcome = "held" if live and completion.outcome == "value" else completion.outcome
        self.instance.complete(completion.key, completion.at_ms, outcome, completion.detail, completion.payload)
        self.settle()


def _to_its_end(attempt: Attempt) -> None:
    body = attempt.run()
    try:
        body.send(None)
    except StopIteration:
        return
    raise AssertionError("a body waits; use a guest in a process for those")


class Recording(NamedTuple):
    """What a live activation did; all of it plain values."""

    completions: list[Completion]
    said: list[list[Said]]
    """After the start and after each completion."""
    traces: list[int]
    """The length of the trace at those points."""
    trace: list[str]
    outcome: tuple[str, Any] | None


COMPLETIONS_MAX = 60

CANCEL: Key = ("cancel", "", 1)

REPLAYED_ALONE_EVERY = 5
"""Of a program's prefixes, those that are also compared without going on."""


def recorded_live(run: Callable[[Any, Callable[..., Any]], Any], seed: int) -> Recording:
    """Run the program, completing what is open in a random order, several at a time now and then. Every second run is
    cancelled, early as a rule."""
    chance = random.Random(seed)
    cancelled_at = random.Random(f"cancel {seed}").choice([0, 1, 1, 2, 3, 5, 8, -1, -1, -1, -1, -1, -1, -1])
    trace: list[str] = []
    host = FakeHost(_entrypoint(run, trace)).begin()
    known: dict[Key, tuple[Any, ...]] = {}
    completions: list[Completion] = []
    said, traces, now, mark = [], [], CREATED_MS, 0

    def note() -> None:
        nonlocal mark
        fresh = host.said[mark:]
        mark = len(host.said)
        said.append(fresh)
        traces.append(len(trace))
        for verb, key, terms in fresh:
            if verb == "ask":
                known[key] = terms
            else:
                known.pop(key, None)

    note()
    while known and len(completions) < COMPLETIONS_MAX:
        batch = chance.sample(sorted(known), min(len(known), chance.choice([1, 1, 1, 2, 3])))
        records = []
        if len(completions) >= cancelled_at >= 0:
            cancelled_at = -1
            records.append(Completion(CANCEL, now, "cancelled", "enough", b""))
            batch = []
        for key in batch:
            terms = known.pop(key)
            now += chance.choice([0, 0, 1, 7, 900])
            completion = _completion(host, key, terms, now, chance)
            now = max(now, completion.at_ms)
            records.append(completion)
        for completion in records:
            host.enter(completion, live=True)
            completions.append(completion)
            note()
        if host.outcome is not None:
            break
    if host.outcome is None:
        host.instance.stop()
        host.settle()
    assert host.closed
    return Recording(completions, said, traces, trace, host.outcome)


def _completion(host: FakeHost, key: Key, terms: tuple[Any, ...], now: int, chance: random.Random) -> Completion:
    if key[0] == "do":
        if key in host.instance._asking.open:
            host.run_body(key)
        return Completion(key, now, *host.results.pop(key))
    if key[0] == "timer":
        return Completion(key, max(now, terms[0]), "fired", None, b"")
    if key[0] == "sleep":
        return Completion(key, now + (terms[0] or 0), "fired", None, b"")
    if chance.random() < 0.4 and terms[1] is not None:
        return Completion(key, now + terms[1], "timeout", None, b"")
    return Completion(key, now, "event", [terms[0], now], b'"news"')


def _entrypoint(run: Callable[[Any, Callable[..., Any]], Any], trace: list[str]) -> Callable[[], Any]:
    def log(*what: Any) -> str:
        trace.append(repr(what))
        return repr(what[:1])

    class Entrypoint:
        async def run(self, event: Any, step: Any) -> Any:
            return await run(step, log)

    return Entrypoint


def replayed(
    run: Callable[[Any, Callable[..., Any]], Any], live: Recording, count: int, chance: random.Random
) -> str | None:
    """Crash after `count` completions and go on; returns how it differs, or None."""
    stream = [each for batch in live.said[: count + 1] for each in batch]
    done = {completion.key for completion in live.completions[:count]}
    least = max([index + 1 for index, each in enumerate(stream) if each.verb == "ask" and each.key in done], default=0)
    position = chance.randint(least, len(stream))
    opened = [key for key in _open(stream[:position]) if key not in done]
    withdrawn = {each.key for each in stream if each.verb == "cancel"}
    given_back = [each.key for each in live.completions[:count] if each.outcome == "event" and each.key in withdrawn]
    expected = [Said("cancel", key, ()) for key in given_back] + _still_to_say(stream, position, opened, done)
    trace: list[str] = []
    host = FakeHost(_entrypoint(run, trace), count, opened).begin()
    for completion in live.completions[:count]:
        host.enter(completion, live=False)
    over = count == len(live.completions) and live.outcome is not None
    if trace[: live.traces[count]] != live.trace[: live.traces[count]] or (
        not over and len(trace) != live.traces[count]
    ):
        return f"trace after {count}: {_difference(live.trace[: live.traces[count]], trace)}"
    if count % REPLAYED_ALONE_EVERY == 0:
        alone = FakeHost(_entrypoint(run, []), count, opened, replay_of="").begin()
        for completion in live.completions[:count]:
            alone.enter(completion, live=False)
        if alone.said or [type(each) for each in alone.told] != [Replayed, Closed]:
            return f"only replayed up to {count}, crashed at {position}: {alone.told}"
    ended = live.outcome is not None and count >= _ended_at(live)
    if not ended and host.said != expected:
        return f"asks after {count}, crashed at {position}: expected {expected}, got {host.said}"
    for index in range(count, len(live.completions)):
        host.said.clear()
        completion = live.completions[index]
        host.enter(completion, live=False)
        if host.said != live.said[index + 1]:
            return f"asks after {index + 1}, replayed from {count}: expected {live.said[index + 1]}, got {host.said}"
    if host.outcome != live.outcome:
        return f"outcome from {count}: expected {live.outcome}, got {host.outcome}"
    if host.outcome is None:
        host.instance.stop()
        host.settle()
    if trace != live.trace:
        return f"trace from {count}: {_difference(live.trace, trace)}"
    return None if host.closed else "never closed"


def _ended_at(live: Recording) -> int:
    """After how many completions `run` had ended."""
    return next(
        (
            index
            for index, length in enumerate(live.traces)
            if length == live.traces[-1] and not any(live.said[index + 1 :])
        ),
        len(live.completions),
    )


def _open(said: list[Said]) -> dict[Key, None]:
    opened: dict[Key, None] = {}
    for verb, key, _ in said:
        if verb == "ask":
            opened[key] = None
        else:
            opened.pop(key, None)
    return opened


def _still_to_say(stream: list[Said], position: int, opened: list[Key], done: set[Key]) -> list[Said]:
    """What a guest must say at the end of its replay: what the journal does not know of yet, and nothing twice."""
    at_end = _open(stream)
    asks = [each for each in stream[position:] if each.verb == "ask" and each.key in at_end and each.key not in done]
    cancels = [Said("cancel", key, ()) for key in opened if key not in at_end]
    return asks + cancels


def _difference(expected: list[str], got: list[str]) -> str:
    for index, (one, other) in enumerate(zip(expected, got, strict=False)):
        if one != other:
            return f"at {index} expected {one}, got {other}"
    return f"expected {len(expected)} entries, got {len(got)}: {expected[len(got) :] or got[len(expected) :]}"
