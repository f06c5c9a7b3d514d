"""A watch as people read it: one line an event, with the time since the first."""

from __future__ import annotations

from datetime import UTC, datetime

from stepwell.cli.clean import clean, shortened
from stepwell.cli.documents import datetime_of, status_text, step_status_text
from stepwell.cli.durations import took
from stepwell.cli.instance_view import VALUE_SHOWN_MAX, failure_line, step_label, step_took
from stepwell.cli.json_text import pretty
from stepwell.cli.screen import Cell, Screen, status
from stepwell.v1.instances_pb2 import InstanceEvent, Step

WORDS = {
    "created": "created",
    "started": "started",
    "eventReceived": "an event came",
    "paused": "paused",
    "resumed": "resumed",
    "restarted": "restarted",
    "completed": "completed",
    "errored": "failed",
    "terminated": "terminated",
    "deleted": "deleted",
}


class WatchView:
    """Remembers when the watch's first event was."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._first: datetime | None = None

    def show(self, event: InstanceEvent) -> None:
        """One event on one line."""
        time = datetime_of(event.event_time)
        self._first = first = self._first or time
        clock = time.astimezone(UTC).strftime("%H:%M:%S")
        since = f"+{took((time - first).total_seconds())}"
        now = status(status_text(event.status))
        self._screen.line(
            Cell(f"{clock} {since:>10}  ", "dim"), Cell(f"{now.text:<15}  ", now.tone), *self._what(event, time)
        )

    def _what(self, event: InstanceEvent, time: datetime) -> list[Cell]:
        if not event.HasField("step"):
            return [Cell(WORDS.get(event.type, event.type), "bold")]
        step = event.step
        told = self._screen.marked(step_status_text(step.status))
        return [told, Cell(f"  {step_label(step)}", "bold"), Cell(_attempt(step, time), "dim"), _outcome(step)]


def _attempt(step: Step, time: datetime) -> str:
    parts = [f"attempt {step.attempts}"] if step.attempts > 1 else []
    if step.HasField("end_time"):
        parts.append(step_took(step, time))
    return f"  ({', '.join(parts)})" if parts else ""


def _outcome(step: Step) -> Cell:
    if step.HasField("error"):
        return Cell(f"  {failure_line(step.error)}", "bad")
    if step.HasField("output") and step.output:
        return Cell(f"  {shortened(clean(pretty(step.output)), VALUE_SHOWN_MAX)}", "dim")
    return Cell("")
