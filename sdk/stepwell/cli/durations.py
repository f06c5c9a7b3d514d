"""Times for people: how long something took, and how long ago it was."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def took(seconds: float) -> str:
    """A duration in its two largest units: 340 ms, 2.5 s, 3 m 12 s, 2 d 4 h."""
    if seconds < 0:
        return "0 ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def ago(then: datetime, now: datetime) -> str:
    """How far a time is from now: just now, 3 m 12 s ago, in 2 h."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    return f"{_whole(seconds)} ago" if seconds > 0 else f"in {_whole(-seconds)}"


def clock(then: datetime) -> str:
    """A time to the second, in UTC."""
    return then.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _whole(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else took(seconds)
