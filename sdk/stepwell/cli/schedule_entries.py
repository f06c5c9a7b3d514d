"""What a manifest says of a workflow's schedules: cron expressions, as texts or as tables with a time zone.

schedules = ["0 * * * *", { cron = "0 9 * * MON-FRI", timezone = "Europe/Berlin", catch_up = "all" }]
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from stepwell import cron
from stepwell.cli.clean import clean, shortened

CATCH_UPS: Final = ("none", "last", "all")
EXAMPLE: Final = 'schedules = [{ cron = "0 9 * * MON-FRI", timezone = "Europe/Berlin" }]'
_KEYS: Final = ("cron", "timezone", "catch_up")


class ScheduleEntry(NamedTuple):
    """One schedule. The server knows time zones, and says what is none."""

    cron: str
    timezone: str = "UTC"
    catch_up: str = "last"


def schedule_entries(declared: Any) -> tuple[ScheduleEntry, ...]:
    """Raises ValueError, saying what is wrong and what to write."""
    if isinstance(declared, str):
        declared = [declared]  # Cloudflare takes one without a list around it
    if not isinstance(declared, list):
        raise ValueError(f"schedules is a list: {EXAMPLE}")
    return tuple(_entry(each) for each in declared)


def _entry(declared: Any) -> ScheduleEntry:
    table = {"cron": declared} if isinstance(declared, str) else declared
    if not isinstance(table, dict) or not isinstance(table.get("cron"), str):
        raise ValueError(f"a schedule is a cron expression, or a table that has one: {EXAMPLE}")
    for key, text in table.items():
        if key not in _KEYS:
            raise ValueError(f"unknown key {_shown(key)} in a schedule; known are {', '.join(_KEYS)}")
        if not isinstance(text, str):
            raise ValueError(f"{key} of a schedule is a text: {EXAMPLE}")
    entry = ScheduleEntry(**table)
    if entry.catch_up not in CATCH_UPS:
        raise ValueError(f"catch_up {_shown(entry.catch_up)} is none of {', '.join(CATCH_UPS)}")
    try:
        cron.parsed(entry.cron)
    except ValueError as error:
        raise ValueError(f"the schedule {_shown(entry.cron)} can't be used: {error}") from None
    return entry


def _shown(text: str) -> str:
    return repr(shortened(clean(text), 60))
