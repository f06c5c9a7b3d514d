"""What `run` waits for, between its asking and its completion."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextvars import Context

    from stepwell.calls import Call
    from stepwell.config import StepConfig
    from stepwell.guest.bodies import Attempt

Key = tuple[str, str, int]
"""(kind, name, count)."""


class Ask:
    """One key that `run` has asked for and that has not completed.

    `target` is the future that its completion settles, or the timer that it fires. `envelope` is what tells the host
    of it; a step tells by its attempts instead, and has a `call`.
    """

    __slots__ = (
        "attempt",
        "call",
        "config",
        "context",
        "envelope",
        "key",
        "kind",
        "quoted",
        "result",
        "target",
        "told",
    )

    def __init__(self, key: Key, target: Any, envelope: str = "") -> None:
        self.key = key
        self.target = target
        self.envelope = envelope
        self.quoted = ""
        self.kind = ""
        """What ends an envelope that tells of its body: nothing for a step's."""
        self.told = False
        """Whether the host may know of it, so that it must hear of a cancellation."""
        self.call: Call | None = None
        self.config: StepConfig | None = None
        self.context: Context | None = None
        self.attempt: Attempt | None = None
        """The attempt that runs, or waits to."""
        self.result: bytes | None = None
        """A result that was sent and is not known to be durable."""


def body_ask(key: Key, target: Any, call: Call, config: StepConfig, context: Context) -> Ask:
    """The ask of a step or a rollback, whose body runs in (copies of) this context."""
    ask = Ask(key, target)
    ask.quoted = encode_basestring_ascii(key[1])
    if key[0] != "do":
        ask.kind = f',"{key[0]}"'
    ask.call = call
    ask.config = config
    ask.context = context
    return ask


def shown(key: Key) -> str:
    """The key for people."""
    kind, name, count = key
    if kind == "timer":
        return f"asyncio's timer {count}"
    if len(name) > 80:
        name = f"{name[:77]}..."
    return f"{_WORDS.get(kind, kind)} {name!r} (call {count})"


_WORDS = {"do": "step", "sleep": "sleep", "waitForEvent": "wait_for_event", "rollback": "rollback of step"}
