"""What creates instances besides calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """What created an instance that no call did: a cron expression, and the time of it that had come."""

    cron: str
    scheduled_at: int
