"""What came of an event that was sent to all instances of a workflow that wait for its type."""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.client.errors import error_by
from stepwell.errors import ApiError
from stepwell.v1 import instances_pb2 as pb

FAILURES_MAX = 100
"""Of a whole broadcast, that are kept; the others are counted."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """`sent` counts the instances whose wait took it, those too that had it before; `skipped` those that did not wait
    for it; `failed` those that could not be sent to, of which `failures` has the first, by name."""

    event_id: str
    sent: int = 0
    skipped: int = 0
    failed: int = 0
    failures: tuple[tuple[str, ApiError], ...] = ()

    def and_then(self, page: pb.BroadcastEventResponse) -> Broadcast:
        """With what came of one more page."""
        told = (
            (each.name, error_by(each.error.reason, each.error.code, each.error.message, each.error.metadata))
            for each in page.failures
        )
        return Broadcast(
            self.event_id,
            self.sent + page.sent,
            self.skipped + page.skipped,
            self.failed + page.failed,
            (*self.failures, *told)[:FAILURES_MAX],
        )
