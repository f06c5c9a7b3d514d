"""The messages of `stepwell.frames` as the host knows them: typed, bounded, decoded once.

The decoder is msgspec's: a wrong shape, an unknown message or a number out of range raises here, before anything acts
on it, and ends the sandbox that sent it. Payloads stay bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stepwell.frames import frame
from stepwell.retention import RETENTION_MS_MAX, RETENTION_MS_MIN

Kind = Literal["do", "sleep", "waitForEvent", "timer", "rollback"]
BodyKind = Literal["do", "rollback"]
ToldKind = Kind | Literal["cancel"]
Backoff = Literal["constant", "linear", "exponential"]
Outcome = Literal["value", "held", "error", "fired", "event", "timeout", "cancelled", "terminate"]
Ended = Literal["", "returned", "raised"]

Name = Annotated[str, Meta(max_length=256)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Attempt = Annotated[int, Meta(ge=1, le=100_000)]
Number = Annotated[int, Meta(ge=0, le=2**53)]
KeptMs = Annotated[int, Meta(ge=RETENTION_MS_MIN, le=RETENTION_MS_MAX)]
MsSinceEpoch = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]


class GuestError(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """An exception as a guest describes it. All text is the tenant's."""

    module: Annotated[str, Meta(max_length=256)]
    type: Annotated[str, Meta(max_length=256)]
    message: Annotated[str, Meta(max_length=4096)]
    traceback: Annotated[str, Meta(max_length=16384)] = ""
    cause: GuestError | None = None


class _Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False, tag_field="message"):
    pass


class Hello(_Message, tag="hello", frozen=True):
    protocol: int
    runtime: Annotated[str, Meta(max_length=64)]
    python: Annotated[str, Meta(max_length=64)]


class Loaded(_Message, tag="loaded", frozen=True):
    pass


class Unloadable(_Message, tag="unloadable", frozen=True):
    error: GuestError


class Pong(_Message, tag="pong", frozen=True):
    pass


class Started(_Message, tag="started", frozen=True):
    act: Number
    name: Name
    count: Count
    attempt: Attempt
    timeout_ms: Number
    kind: BodyKind = "do"


class Result(_Message, tag="result", frozen=True):
    act: Number
    name: Name
    count: Count
    attempt: Attempt
    elapsed_us: Number
    kind: BodyKind = "do"


class Failed(_Message, tag="failed", frozen=True):
    act: Number
    name: Name
    count: Count
    attempt: Attempt
    elapsed_us: Number
    retryable: bool
    limit: Number
    delay_ms: Number
    backoff: Backoff
    error: GuestError
    kind: BodyKind = "do"


class Sleep(_Message, tag="sleep", frozen=True):
    act: Number
    name: Name
    count: Count
    duration_ms: Number | None
    until_ms: MsSinceEpoch | None


class Wait(_Message, tag="wait", frozen=True):
    act: Number
    name: Name
    count: Count
    type: Annotated[str, Meta(min_length=1, max_length=165)]
    timeout_ms: Number | None


class Timer(_Message, tag="timer", frozen=True):
    act: Number
    count: Count
    when_ms: MsSinceEpoch


class Cancel(_Message, tag="cancel", frozen=True):
    act: Number
    kind: Kind
    name: Name
    count: Count


class StepSaid(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The step that a restart is from."""

    kind: Literal["do", "sleep", "waitForEvent"]
    name: Name
    count: Count


class CallOptions(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A create's retention, a terminate's rollback, a restart's step."""

    success_ms: KeptMs | None = None
    error_ms: KeptMs | None = None
    rollback: bool = False
    from_step: StepSaid | None = None


class Call(_Message, tag="call", frozen=True):
    act: Number
    number: Number
    name: Name
    count: Count
    ordinal: Count
    binding: Annotated[str, Meta(max_length=128)]
    method: Literal[
        "create", "get", "status", "pause", "resume", "restart", "terminate", "cancel", "delete", "sendEvent"
    ]
    id: Annotated[str, Meta(max_length=100)]
    type: Annotated[str, Meta(max_length=100)]
    kind: BodyKind = "do"
    options: CallOptions = CallOptions()


class Idle(_Message, tag="idle", frozen=True):
    act: Number
    entered: Number


class Quiet(_Message, tag="quiet", frozen=True):
    act: Number
    hold: Number


class Returned(_Message, tag="returned", frozen=True):
    act: Number


class Raised(_Message, tag="raised", frozen=True):
    act: Number
    error: GuestError
    rolled_back: bool = False
    rollback_error: GuestError | None = None


class Mismatch(_Message, tag="mismatch", frozen=True):
    act: Number
    position: Number
    expected: Annotated[str, Meta(max_length=1024)]
    got: Annotated[str, Meta(max_length=1024)]


class Replayed(_Message, tag="replayed", frozen=True):
    act: Number
    next: Annotated[str, Meta(max_length=1024)]


class Closed(_Message, tag="closed", frozen=True):
    act: Number


class Log(_Message, tag="log", frozen=True):
    act: Number
    name: Name
    count: Annotated[int, Meta(ge=0, le=1_000_000)]
    attempt: Annotated[int, Meta(ge=0, le=100_000)]
    stream: Literal[1, 2]


ActivationMessage = (
    Started
    | Result
    | Failed
    | Sleep
    | Wait
    | Timer
    | Cancel
    | Call
    | Idle
    | Quiet
    | Returned
    | Raised
    | Mismatch
    | Replayed
    | Closed
    | Log
)
"""What a running instance says: each has `act`."""

GuestMessage = Hello | Loaded | Unloadable | Pong | ActivationMessage

decode_guest_message = msgspec.json.Decoder(GuestMessage).decode
"""Raises msgspec.DecodeError (ValidationError is one) for anything that is no message."""

_encode = msgspec.json.Encoder().encode


def completion(
    act: int,
    kind: ToldKind,
    name: str,
    count: int,
    at_ms: int,
    outcome: Outcome,
    detail: object = None,
    payload: bytes = b"",
) -> bytes:
    """One completion as a whole frame; `detail` as `stepwell.frames` says for the outcome."""
    return frame(_encode(("completion", act, kind, name, count, at_ms, outcome, detail)), payload)


def start(
    act: int,
    entrypoint: str,
    instance: dict[str, object],
    recorded: int,
    opened: list[tuple[ToldKind, str, int]],
    params: bytes,
) -> bytes:
    """The frame that begins an activation; exactly `recorded` completions must follow before any other."""
    return frame(_encode(("start", act, entrypoint, instance, recorded, opened)), params)


def replay(
    act: int,
    entrypoint: str,
    instance: dict[str, object],
    recorded: int,
    opened: list[tuple[ToldKind, str, int]],
    ended: Ended,
    params: bytes,
) -> bytes:
    """The same for a journal that is only compared with the code; `ended` is how it says that `run` ended."""
    return frame(_encode(("replay", act, entrypoint, instance, recorded, opened, ended)), params)


def load(
    path: str,
    entrypoints: list[str],
    variables: dict[str, str],
    limits: dict[str, int],
    bindings: Mapping[str, str] | None = None,
) -> bytes:
    """The frame that gives a warm guest its bundle; `bindings` are workflows by the names that it has for them."""
    return frame(_encode(("load", path, entrypoints, variables, limits, bindings or {})))


def answer(act: int, number: int, error: GuestError | None, payload: bytes = b"") -> bytes:
    """The frame that answers a call; with an error, its caller is to raise that."""
    return frame(_encode(("answer", act, number, error)), payload)


def go(act: int, kind: ToldKind, name: str, count: int, attempt: int) -> bytes:
    """The frame that starts an open step's next attempt."""
    return frame(_encode(("go", act, kind, name, count, attempt)))


PING = frame(_encode(("ping",)))
"""The frame that a guest answers as soon as its event loop turns."""


def hold(act: int, number: int) -> bytes:
    """The frame that lets no more bodies start; "quiet" answers with the number."""
    return frame(_encode(("hold", act, number)))


def order(kind: Literal["release", "stop"], act: int) -> bytes:
    """One of the orders that name only their activation."""
    return frame(_encode((kind, act)))
