"""What authors give to `step`, checked: each refusal is a StepDefinitionError that names the step."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from stepwell.config import StepConfig, step_config
from stepwell.durations import duration_ms
from stepwell.errors import StepDefinitionError
from stepwell.names import STEP_NAME_LENGTH_MAX

UNTIL_MS_MAX: Final = 253_402_300_799_999
"""The last ms of the year 9999."""


def step_name(what: str, name: object) -> str:
    if not isinstance(name, str):
        raise StepDefinitionError(
            f"step.{what}: the name is {name!r}, a {type(name).__name__}; give the step a text as its name"
        )
    if not 0 < len(name) <= STEP_NAME_LENGTH_MAX:
        raise StepDefinitionError(
            f"step.{what}: a name has 1 to {STEP_NAME_LENGTH_MAX} characters, this one {len(name)}: {name[:40]!r}"
        )
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise StepDefinitionError(
                f"step.{what}: the name {name!a} has a lone surrogate, which is no character"
            ) from None
    return str.__str__(name)


def config_of(name: str, config: object) -> StepConfig:
    try:
        return step_config(config)
    except ValueError as error:
        raise StepDefinitionError(f"step {name!r}: {error}") from None


def duration_of(what: str, name: str, duration: object) -> int:
    try:
        return duration_ms(duration)
    except ValueError as error:
        raise StepDefinitionError(f"{what} {name!r}: {error}") from None


def until_ms(name: str, when: object) -> int:
    if isinstance(when, datetime):
        ms: float = when.timestamp() * 1000
    elif isinstance(when, (int, float)) and not isinstance(when, bool):
        ms = when
    else:
        raise StepDefinitionError(f"sleep {name!r}: until {when!r} is no time: give a datetime, or ms since the epoch")
    if not ms <= UNTIL_MS_MAX:
        raise StepDefinitionError(
            f"sleep {name!r}: until {str(when)[:80]} is past the year 9999; is it in milliseconds?"
        )
    return max(0, -int(-ms // 1))
