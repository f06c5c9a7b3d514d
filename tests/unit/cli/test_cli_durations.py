from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stepwell.cli.durations import ago, took


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"), (-1, "0 ms"), (0.0421, "42 ms"), (2.54, "2.5 s"), (60, "1 m"), (192, "3 m 12 s"),
        (3600, "1 h"), (7384, "2 h 3 m"), (86_400 * 365, "365 d"), (90_061, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_shows_its_two_largest_units(seconds: float, shown: str) -> None:
    assert took(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "just now"), (-0.4, "just now"), (5, "5 s ago"), (192, "3 m 12 s ago"), (-60, "in 1 m")],
)
def test_a_time_is_told_from_now(seconds: float, shown: str) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == shown
