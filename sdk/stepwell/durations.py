"""Durations as authors write them: milliseconds, "2 hours", or a timedelta.

The words are Cloudflare's; a month is 30 days and a year is 365, as theirs.
"""

from __future__ import annotations

import re
from datetime import timedelta

Duration = int | float | str | timedelta

DURATION_MS_MAX = 365 * 86_400_000
"""The longest sleep, delay, timeout or wait: 365 days, Cloudflare's."""

_TEXT = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*(second|minute|hour|day|week|month|year)s?\s*", re.ASCII)

_MS = {
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
    "month": 2_592_000_000,
    "year": 31_536_000_000,
}


def duration_ms(duration: object) -> int:
    """The duration in whole milliseconds, rounded up. Raises ValueError saying what would be valid."""
    if type(duration) is str:
        match = _TEXT.fullmatch(duration)
        if match is None:
            raise ValueError(
                f"{duration[:80]!r} is not a duration: write milliseconds as a number, or a number and one of "
                f"{', '.join(_MS)}, such as '10 seconds'"
            )
        ms: int | float = float(match[1]) * _MS[match[2]] if "." in match[1] else int(match[1]) * _MS[match[2]]
    elif isinstance(duration, timedelta):
        ms = duration / timedelta(milliseconds=1)
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        ms = duration
    else:
        raise ValueError(
            f"a {type(duration).__name__} is no duration: write milliseconds, text such as '10 seconds' or a timedelta"
        )
    if not 0 <= ms <= DURATION_MS_MAX:
        raise ValueError(f"{str(duration)[:80]} is not a duration from 0 to 365 days")
    return -int(-ms // 1)
