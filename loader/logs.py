"""A tenant's log lines on their way to whoever keeps them: bounded in length and in rate, never read.

What is over the rate is dropped and counted, by whoever printed it, so that its author can be told that lines are
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from loader.limits import LOG_BURST_SECONDS_MAX, LOG_LINE_BYTES_MAX

Stream = Literal[0, 1, 2]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line without its end, or a part of one that is too long. `text` is the tenant's bytes, not checked at all;
    None where there is only to say that lines are missing.

    `source` is what was given to `Guest.open` for the activation, None outside of one. `stream` is 1 or 2 for what went
    through `sys.stdout` and `sys.stderr`, 0 for what was written around them. `dropped` lines of that source before
    this one are missing.
    """

    source: object
    name: str
    count: int
    attempt: int
    stream: Stream
    text: bytes | None
    dropped: int = 0


LogSink = Callable[[LogLine], None]
"""Takes a line of one sandbox's tenant. Called on the loop; must not block or raise."""


def ignore_log(line: LogLine) -> None:
    """A `LogSink` that keeps nothing."""


class LogGate:
    """Lets a sandbox's lines through to a sink as long as they keep to the rate, or have kept to it before: a burst of
    LOG_BURST_SECONDS_MAX seconds' worth passes.

    Over the rate, whoever has had less than an equal share of it may still print: of many instances in a sandbox, one
    that floods loses its own lines.
    """

    def __init__(
        self, sink: LogSink, monotonic: Callable[[], float], *, lines_a_second: int, bytes_a_second: int
    ) -> None:
        self.sink = sink
        self._monotonic = monotonic
        self._lines_a_second = lines_a_second
        self._bytes_a_second = bytes_a_second
        self._window = int(monotonic())
        self._lines = lines_a_second * LOG_BURST_SECONDS_MAX
        self._bytes = bytes_a_second * LOG_BURST_SECONDS_MAX
        """What is left of the rate; below 0 where shares were taken."""
        self._by_source: dict[int, tuple[int, int]] = {}
        """Lines and bytes of this second, by whose they were; ids, which keep nobody in memory."""

    def put(self, source: object, name: str, count: int, attempt: int, stream: Stream, text: bytes) -> None:
        """Cut the text into lines and pass them on; those over the rate as a number alone."""
        window = int(self._monotonic())
        if window != self._window:
            self._renew(window)
        lines, size = self._by_source.setdefault(id(source), (0, 0))
        sources = len(self._by_source)
        lines_left = max(self._lines, self._lines_a_second // sources - lines)
        bytes_left = max(self._bytes, self._bytes_a_second // sources - size)
        text = text.removesuffix(b"\n")
        begin, end = 0, len(text)
        passed = passed_bytes = 0
        while begin <= end and passed < lines_left:
            cut, following = _line_at(text, begin)
            if passed_bytes + cut - begin > bytes_left:
                break
            passed += 1
            passed_bytes += cut - begin
            self.sink(LogLine(source, name, count, attempt, stream, text[begin:cut]))
            begin = following
        self._lines -= passed
        self._bytes -= passed_bytes
        self._by_source[id(source)] = (lines + passed, size + passed_bytes)
        if begin <= end:
            self.sink(LogLine(source, name, count, attempt, stream, None, text.count(b"\n", begin) + 1))

    def _renew(self, window: int) -> None:
        passed = min(window - self._window, LOG_BURST_SECONDS_MAX)
        self._window = window
        lines, size = self._lines_a_second, self._bytes_a_second
        self._lines = min(max(self._lines, 0) + lines * passed, lines * LOG_BURST_SECONDS_MAX)
        self._bytes = min(max(self._bytes, 0) + size * passed, size * LOG_BURST_SECONDS_MAX)
        self._by_source.clear()


def _line_at(text: bytes, begin: int) -> tuple[int, int]:
    """Where the line ends, and where the next begins; a line over the limit is cut, between two characters."""
    newline = text.find(b"\n", begin, begin + LOG_LINE_BYTES_MAX + 1)
    if newline >= 0:
        return newline, newline + 1
    cut = begin + LOG_LINE_BYTES_MAX
    if cut >= len(text):
        return len(text), len(text) + 1
    for back in range(4):
        if text[cut - back] & 0xC0 != 0x80:
            return cut - back, cut - back
    return cut, cut


class LineCutter:
    """Cuts raw bytes where lines end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The lines that are whole now, with their ends; or all there is, once it is too long to wait for an end."""
        data = self._rest + data
        whole = data.rfind(b"\n") + 1
        if len(data) - whole >= LOG_LINE_BYTES_MAX:
            whole = len(data)
        self._rest = data[whole:]
        return data[:whole]

    def end(self) -> bytes:
        """What came after the last line's end."""
        rest, self._rest = self._rest, b""
        return rest
