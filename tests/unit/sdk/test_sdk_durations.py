from __future__ import annotations

from datetime import timedelta

import pytest

from stepwell.config import RETRIES_MAX, StepConfig, step_config
from stepwell.durations import DURATION_MS_MAX, duration_ms


@pytest.mark.parametrize(
    ("duration", "ms"),
    [
        (0, 0),
        (1500, 1500),
        (0.2, 1),
        ("1 second", 1000),
        ("10 seconds", 10_000),
        (" 1.5 minutes ", 90_000),
        ("2 hours", 7_200_000),
        ("1 day", 86_400_000),
        ("1 week", 604_800_000),
        ("1 month", 30 * 86_400_000),
        ("1 year", DURATION_MS_MAX),
        (timedelta(seconds=1, microseconds=1), 1001),
    ],
)
def test_durations_are_whole_milliseconds_rounded_up(duration: object, ms: int) -> None:
    assert duration_ms(duration) == ms


@pytest.mark.parametrize(
    "duration", [-1, DURATION_MS_MAX + 1, "366 days", "ten seconds", "10s", "", True, None, float("nan"), float("inf")]
)
def test_anything_else_is_refused(duration: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_ms(duration)


def test_a_config_is_completed_with_cloudflares_defaults() -> None:
    assert step_config(None) == StepConfig(5, 10_000, "exponential", 600_000)
    assert step_config({"retries": {"limit": 0}, "timeout": "1 minute"}) == StepConfig(0, 10_000, "exponential", 60_000)
    assert step_config({"retries": {"limit": float("inf"), "delay": 5}}) == StepConfig(RETRIES_MAX, 5)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([], "config is a list"),
        ({"retry": {}}, "unknown key 'retry'"),
        ({"retries": {"max": 1}}, r"config\['retries'\] has an unknown key 'max'"),
        ({"retries": {"limit": -1}}, "limit'] is -1"),
        ({"retries": {"limit": True}}, "limit'] is True"),
        ({"retries": {"backoff": "quadratic"}}, "write 'constant', 'linear' or 'exponential'"),
        ({"retries": {"delay": "soon"}}, r"config\['retries'\]\['delay'\]: 'soon' is not a duration"),
        ({"timeout": 0}, "timeout'] is 0"),
    ],
)
def test_a_wrong_config_is_refused_naming_its_key(config: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        step_config(config)
