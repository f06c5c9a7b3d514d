"""A step's config: how often, how long, how patiently. Keys and defaults are Cloudflare's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict

from stepwell.delays import Delay, delay_of
from stepwell.durations import Duration, duration_ms

RETRIES_MAX = 10_000


class Retries(TypedDict, total=False):
    """How a step is tried again, as authors write it."""

    limit: int | float
    """Retries after the first attempt; infinity for as many as there may be."""
    delay: Duration | Callable[..., Duration]
    """Before the next attempt; or a function that says so, of `error` and `ctx`, those that it has parameters for."""
    backoff: Literal["constant", "linear", "exponential"]


class StepOptions(TypedDict, total=False):
    """A step's config, as authors write it. What is left out has its default."""

    retries: Retries | None
    timeout: Duration | None
    """Of one attempt."""


class StepConfig(NamedTuple):
    """Checked and complete."""

    limit: int = 5
    """Retries after the first attempt."""
    delay_ms: int = 10_000
    backoff: str = "exponential"
    """constant, linear or exponential; without jitter."""
    timeout_ms: int = 600_000
    """Of one attempt."""
    delay: Delay | None = None
    """What says `delay_ms` anew after each failed attempt."""

    def shown(self) -> dict[str, object]:
        """As `ctx.config`: the shape that authors write, durations in ms."""
        delay = self.delay_ms if self.delay is None else self.delay.function
        return {
            "retries": {"limit": self.limit, "delay": delay, "backoff": self.backoff},
            "timeout": self.timeout_ms,
        }


DEFAULT = StepConfig()


def step_config(config: Any) -> StepConfig:
    """The config with its defaults. Raises ValueError naming the key and what would be valid."""
    if config is None:
        return DEFAULT
    if isinstance(config, StepConfig):
        return config
    _refuse_unknown("config", config, ("retries", "timeout"))
    retries = config.get("retries")
    limit, delay_ms, backoff, timeout_ms, delay = DEFAULT
    if retries is not None:
        _refuse_unknown("config['retries']", retries, ("limit", "delay", "backoff"))
        limit = _limit(retries.get("limit", limit))
        given = retries.get("delay", delay_ms)
        if callable(given):
            delay = delay_of("config['retries']['delay']", given)
        else:
            delay_ms = _duration("config['retries']['delay']", given)
        backoff = retries.get("backoff", backoff)
        if backoff not in ("constant", "linear", "exponential"):
            raise ValueError(
                f"config['retries']['backoff'] is {backoff!r}; write 'constant', 'linear' or 'exponential'"
            )
    if config.get("timeout") is not None:
        timeout_ms = _duration("config['timeout']", config["timeout"])
        if timeout_ms < 1:
            raise ValueError("config['timeout'] is 0; leave it out for the default, 10 minutes")
    return StepConfig(limit, delay_ms, backoff, timeout_ms, delay)


def _refuse_unknown(where: str, value: Any, known: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is a {type(value).__name__}; write a dict with {' and '.join(map(repr, known))}")
    for key in value:
        if key not in known:
            raise ValueError(f"{where} has an unknown key {key!r}; known are {', '.join(map(repr, known))}")


def _limit(limit: object) -> int:
    if type(limit) is float and limit == float("inf"):
        return RETRIES_MAX
    if type(limit) is not int or not 0 <= limit <= RETRIES_MAX:
        raise ValueError(f"config['retries']['limit'] is {limit!r}; write the number of retries, 0 to {RETRIES_MAX}")
    return limit


def _duration(where: str, value: object) -> int:
    try:
        return duration_ms(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
