"""Journals as this version writes them, kept for later versions, and read back.

`tests/replay/kept/<number>/` has the journals of one recording, and the code that they ran. What was recorded is never
recorded again: installations have such journals. A new kind of record, or of what an instance is created with, needs a
new recording, of its own number:

    python -m tests.replay.record_journals <number>
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data_plane.journal.chain import chain
from data_plane.journal.codec import RowCodec
from data_plane.journal.store import Position
from stepwell.engine.instance import Instance
from stepwell.engine.records import BlobRef, Payload, Record
from stepwell.engine.status import status_of
from stepwell.retention import NOT_SAID
from stepwell.workflow_limits import UNLIMITED

FOLDER: Final = Path(__file__).parent / "kept"


@dataclass(frozen=True, slots=True)
class KeptJournal:
    """One instance's rows, as they were stored, and what was payload apart from them, by id."""

    instance: str
    rows: tuple[tuple[int, int, bytes], ...]
    blobs: Mapping[str, bytes]
    told: Mapping[str, Any]
    """What people were told of it when it was recorded."""
    code: Path

    @staticmethod
    def all() -> Iterator[KeptJournal]:
        for path in sorted(FOLDER.glob("*/*.json")):
            kept = json.loads(path.read_text())
            rows = tuple((epoch, seq, base64.b64decode(data)) for epoch, seq, data in kept["rows"])
            blobs = {id: base64.b64decode(data) for id, data in kept["blobs"].items()}
            yield KeptJournal(kept["instance"], rows, blobs, kept["told"], path.parent / "code")

    def write(self, folder: Path) -> None:
        kept = {
            "instance": self.instance,
            "told": self.told,
            "rows": [[epoch, seq, base64.b64encode(data).decode()] for epoch, seq, data in self.rows],
            "blobs": {id: base64.b64encode(data).decode() for id, data in self.blobs.items()},
        }
        (folder / f"{self.instance}.json").write_text(json.dumps(kept, indent=1) + "\n")

    def records(self) -> list[Record]:
        codec = RowCodec()
        rows = [codec.decode(Position(epoch, seq), data) for epoch, seq, data in self.rows]
        return [record for row in chain(rows) for record in row.records]

    def bytes_of(self, payload: Payload) -> bytes:
        return self.blobs[payload.id] if isinstance(payload, BlobRef) else payload


def told_of(instance: Instance) -> dict[str, Any]:
    """What must stay true of an instance, as plain values; of what it was created with, only what somebody said."""
    told: dict[str, Any] = {
        "status": status_of(instance),
        "steps": [[*step.key, step.status, step.attempts] for step in instance.steps.values()],
        "completions": [[*completion.key, completion.outcome] for completion in instance.completions],
        "bufferedEvents": instance.buffered_events,
    }
    if instance.schedule is not None:
        told["schedule"] = [instance.schedule.cron, instance.schedule.scheduled_at]
    if instance.retention != NOT_SAID:
        told["retention"] = [*instance.retention, instance.expires_at]
    if instance.limits != UNLIMITED:
        told["limits"] = [*instance.limits]
    return told
