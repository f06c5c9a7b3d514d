"""What authors printed as people read it: one line a line, with its time and the step that it came from."""

from __future__ import annotations

from datetime import UTC

from stepwell.cli.documents import datetime_of, log_stream_text
from stepwell.cli.screen import Cell, Screen
from stepwell.v1.instances_pb2 import LogEntry

RUN = "run"


def show(screen: Screen, entry: LogEntry) -> None:
    """The line, below how many are missing before it."""
    if entry.dropped:
        lines = "1 line is" if entry.dropped == 1 else f"{entry.dropped:,} lines are"
        screen.line(Cell(f"… {lines} missing here", "waiting"))
    stream = log_stream_text(entry.stream)
    if stream is None:
        return
    clock = datetime_of(entry.log_time).astimezone(UTC).strftime("%H:%M:%S")
    text = Cell(entry.text.expandtabs(4), "plain" if stream == "stdout" else "waiting")
    screen.line(Cell(f"{clock}  ", "dim"), Cell(f"{_source(entry)}  ", "bold"), text)


def _source(entry: LogEntry) -> str:
    if not entry.step_name:
        return RUN
    count = f" #{entry.count}" if entry.count > 1 else ""
    attempt = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
    return f"{entry.step_name}{count}{attempt}"
