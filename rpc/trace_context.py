"""The trace that a call is part of, as W3C Trace Context has it in the metadata `traceparent`.

What comes from outside is believed only as far as it is well formed; anything else is as if it had not come.
`tracestate` is not read: nothing here would write to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final, NamedTuple

HEADER: Final = "traceparent"

STORED_BYTES: Final = 24

_SAMPLED: Final = 0x01
_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_LENGTH_MAX: Final = 128
"""Of a header that is looked at: 55 characters today; a later version may have more, and begins alike."""


class TraceContext(NamedTuple):
    """A span within a trace; neither id is 0. `sampled` says that whoever made it keeps it."""

    trace_id: int
    span_id: int
    sampled: bool

    def header(self) -> str:
        """As `traceparent` for a call that is made within it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"

    def stored(self) -> bytes:
        """As journals keep it: nothing, unless it is sampled."""
        if not self.sampled:
            return b""
        return self.trace_id.to_bytes(16, "big") + self.span_id.to_bytes(8, "big")


def received(metadata: Sequence[tuple[str, str | bytes]]) -> TraceContext | None:
    """What a call's metadata say of its trace; None when that is nothing, twice, or malformed."""
    found = [value for key, value in metadata if key == HEADER]
    if len(found) != 1 or not isinstance(found[0], str) or len(found[0]) > _LENGTH_MAX:
        return None
    text = found[0]
    match = _PARENT.fullmatch(text)
    if match is None or (text.startswith("00") and len(text) != 55):
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    return TraceContext(trace_id, span_id, bool(flags & _SAMPLED)) if trace_id and span_id else None


def from_stored(stored: bytes) -> TraceContext | None:
    """What `stored` gave; None for nothing."""
    if len(stored) != STORED_BYTES:
        return None
    return TraceContext(int.from_bytes(stored[:16], "big"), int.from_bytes(stored[16:], "big"), True)


def current() -> TraceContext | None:
    """The span of the call that is being served, or that began what runs here; None without one."""
    return _current.get()


def set_current(context: TraceContext) -> None:
    """For the rest of this task, and the tasks that it begins."""
    _current.set(context)


_current: ContextVar[TraceContext | None] = ContextVar("stepwell_trace", default=None)
