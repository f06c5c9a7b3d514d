"""A tenant's log lines on their way to whoever keeps them: bounded in length and in rate, never read.

What is over the rate is dropped and counted; the count follows as a line of its own once there is room again, so that
an author sees that lines are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from loader.limits import LOG_BYTES_A_SECOND_MAX, LOG_LINE_BYTES_MAX, LOG_LINES_A_SECOND_MAX

Stream = Literal[0, 1, 2]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, or several that were printed together. `text` is the tenant's bytes, not checked at all.

    `source` is what was given to `Guest.open` for the activation, None outside of one. `stream` is 1 or 2 for what went
    through `sys.stdout` and `sys.stderr`, 0 for what was written around them. `dropped` lines before this one are
    missing.
    """

    source: object
    name: str
    count: int
    attempt: int
    stream: Stream
    text: bytes
    dropped: int = 0


LogSink = Callable[[LogLine], None]
"""Takes a line of one sandbox's tenant. Called on the loop; must not block or raise."""


def ignore_log(line: LogLine) -> None:
    """A `LogSink` that keeps nothing."""


class LogGate:
    """Lets a sandbox's lines through to a sink as long as they keep to the rate."""

    def __init__(self, sink: LogSink, monotonic: Callable[[], float]) -> None:
        self.sink = sink
        self._monotonic = monotonic
        self._window = 0
        self._lines_left = LOG_LINES_A_SECOND_MAX
        self._bytes_left = LOG_BYTES_A_SECOND_MAX
        self._dropped = 0

    def put(self, source: object, name: str, count: int, attempt: int, stream: Stream, text: bytes) -> None:
        """Pass the text on, or drop and count it."""
        window = int(self._monotonic())
        if window != self._window:
            self._window = window
            self._lines_left = LOG_LINES_A_SECOND_MAX
            self._bytes_left = LOG_BYTES_A_SECOND_MAX
        if self._lines_left <= 0 or self._bytes_left < len(text):
            self._dropped += 1
            return
        self._lines_left -= 1
        self._bytes_left -= len(text)
        dropped, self._dropped = self._dropped, 0
        self.sink(LogLine(source, name, count, attempt, stream, text, dropped))


class LineCutter:
    """Cuts raw bytes into lines, a line over the limit into several."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LOG_LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        return [
            line[at : at + LOG_LINE_BYTES_MAX] for line in lines for at in range(0, len(line) or 1, LOG_LINE_BYTES_MAX)
        ]

    def end(self) -> list[bytes]:
        """What came after the last line's end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []
