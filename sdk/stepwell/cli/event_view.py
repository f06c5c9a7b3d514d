"""An instance's events as people read them."""

from __future__ import annotations

from datetime import datetime

from stepwell.cli.clean import clean, shortened
from stepwell.cli.documents import datetime_of, event_state_text
from stepwell.cli.durations import ago
from stepwell.cli.json_text import pretty
from stepwell.cli.screen import Cell, Screen
from stepwell.v1.instances_pb2 import ReceivedEvent

PAYLOAD_SHOWN_MAX = 120

HEADERS = ("#", "TYPE", "STATE", "RECEIVED", "TAKEN BY", "EVENT ID", "PAYLOAD")


def event_row(screen: Screen, event: ReceivedEvent, now: datetime) -> list[Cell | str]:
    """One line of `instances events`."""
    taker = f"{event.step_name} #{event.step_count}" if event.step_count > 1 else event.step_name
    return [
        Cell(str(event.number), "dim"),
        event.type,
        screen.marked(event_state_text(event.state)),
        ago(datetime_of(event.receive_time), now),
        shortened(clean(taker), PAYLOAD_SHOWN_MAX),
        event.event_id,
        _payload(event),
    ]


def _payload(event: ReceivedEvent) -> Cell:
    if event.payload_truncated:
        return Cell("(large: left out)", "dim")
    return Cell(shortened(clean(pretty(event.payload)), PAYLOAD_SHOWN_MAX))
