"""How long an instance is kept once it has ended, as its create says, or else its workflow.

The words are Cloudflare's: `retention` with `successRetention` and `errorRetention` of a create, `default_retention` of
a workflow in wrangler's file. Standard library only.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stepwell.durations import DURATION_MS_MAX, Duration, duration_ms

RETENTION_MS_MIN: Final = 60_000
"""A minute: twice as long as a client makes a create again that was not answered. One that came again after the
instance is gone would be another instance."""

RETENTION_MS_MAX: Final = DURATION_MS_MAX
"""365 days, as for every duration. What is to be kept for longer is kept for ever: say nothing."""


class Retention(NamedTuple):
    """In ms; None where nothing is said: then it is kept for ever."""

    success_ms: int | None = None
    """Of one that is complete."""
    error_ms: int | None = None
    """Of one that errored or was terminated."""

    @classmethod
    def of(cls, *, success: Duration | None = None, error: Duration | None = None) -> Retention:
        """Of durations, such as "7 days". Raises ValueError saying what would be valid."""
        return cls(*(None if each is None else _kept_ms(each) for each in (success, error)))

    def or_else(self, other: Retention) -> Retention:
        """This, and of the other what this does not say."""
        return Retention(
            other.success_ms if self.success_ms is None else self.success_ms,
            other.error_ms if self.error_ms is None else self.error_ms,
        )


NOT_SAID: Final = Retention()


def _kept_ms(duration: Duration) -> int:
    ms = duration_ms(duration)
    refuse_unusual(ms)
    return ms


def refuse_unusual(ms: int) -> None:
    """Raises ValueError for a retention that can't be."""
    if not RETENTION_MS_MIN <= ms <= RETENTION_MS_MAX:
        raise ValueError(
            f"{ms:,} ms is no retention: 1 minute to 365 days, and nothing where an instance is to be kept for ever"
        )
