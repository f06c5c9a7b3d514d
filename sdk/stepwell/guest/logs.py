"""What authors print: `sys.stdout` and `sys.stderr` send log frames that say who printed.

Lines are sent when they end, so that two steps that print at once do not mix within a line. What `run` prints while a
journal is replayed was sent before, and is dropped.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextvars import ContextVar
from json.encoder import encode_basestring_ascii
from typing import Any, Final, Protocol

LINE_BYTES_MAX: Final = 8192
"""A line that does not end is sent at this length."""


class Source(Protocol):
    """Who prints: an instance's `run`, or an attempt of a step."""

    act: int
    partial: dict[int, str]
    """Per stream, a line that has not ended."""
    left_out: int
    """Lines that could not be sent, and of which nothing has been said yet."""

    @property
    def silent(self) -> bool:
        """Whether what it prints is to be dropped."""
        ...

    def log_name(self) -> tuple[str, int, int]:
        """The step's name, count and attempt."""
        ...


SOURCE: Final[ContextVar[Source | None]] = ContextVar("stepwell_log_source", default=None)


def printing_alike(function: Callable[..., object]) -> Callable[..., object]:
    """The function for a new thread, which knows nothing of the context that starts it: it prints as that one does."""
    source = SOURCE.get()
    if source is None:
        return function

    def printing(*args: Any, **kwargs: Any) -> object:
        SOURCE.set(source)
        return function(*args, **kwargs)

    return printing


class Outside:
    """Whoever prints outside of any instance: a module that is imported, a thread that it started."""

    def __init__(self) -> None:
        self.act = 0
        self.silent = False
        self.partial: dict[int, str] = {}
        self.left_out = 0

    def log_name(self) -> tuple[str, int, int]:
        return ("", 0, 0)


class Logs:
    """Cuts what is printed into frames, which are an envelope and a payload. `offer` takes one in any thread and
    answers whether it is on its way; `send` takes one in the main thread, whatever else waits.
    """

    def __init__(self, offer: Callable[[bytes, bytes], bool], send: Callable[[bytes, bytes], None]) -> None:
        self._offer = offer
        self._send = send
        self._outside = Outside()
        self._lock = threading.Lock()
        self.write_length_max = 65_536

    def write(self, stream: int, text: str) -> None:
        """Take what was printed; send the lines that are whole."""
        source = SOURCE.get() or self._outside
        if source.silent or not text:
            return
        if len(text) > self.write_length_max:
            text = self._shortened(text)
        with self._lock:
            text = source.partial.pop(stream, "") + text
            lines, newline, rest = text.rpartition("\n")
            if len(rest) > LINE_BYTES_MAX:
                lines, newline, rest = text, "", ""
            if rest:
                source.partial[stream] = rest
        if lines or newline:
            self._frame(source, stream, lines + newline)

    def _shortened(self, text: str) -> str:
        """Its beginning and its end: where somebody prints much at once, the end often says how it went."""
        half = self.write_length_max // 2
        return f"{text[:half]}\n… ({len(text) - 2 * half} characters left out) …\n{text[-half:]}"

    def flush(self, source: Source) -> None:
        """Send the lines that have not ended, and how many were left out: whoever printed them is done. Main thread
        only.
        """
        while source.partial:
            stream, text = source.partial.popitem()
            self._frame(source, stream, text)
        if source.left_out:
            self._send(_envelope(source, 1), _left_out(source.left_out).encode())
            source.left_out = 0

    def _frame(self, source: Source, stream: int, text: str) -> None:
        left_out = source.left_out
        said = _left_out(left_out) + text if left_out else text
        if self._offer(_envelope(source, stream), said.encode("utf-8", "backslashreplace")):
            source.left_out -= left_out
        else:
            source.left_out += text.count("\n") or 1


def _envelope(source: Source, stream: int) -> bytes:
    name, count, attempt = source.log_name()
    return f'["log",{source.act},{encode_basestring_ascii(name)},{count},{attempt},{stream}]'.encode()


def _left_out(lines: int) -> str:
    return f"… ({lines} lines left out: printed faster than they could be sent) …\n"


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, text: LogStream) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)


class LogStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a guest."""

    def __init__(self, logs: Logs, stream: int) -> None:
        self._logs = logs
        self._stream = stream
        self.buffer: Any = _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """For children that inherit it: the sandbox's log pipe, whose lines are tagged with the version alone."""
        return self._stream

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._logs.write(self._stream, text)
        return len(text)
