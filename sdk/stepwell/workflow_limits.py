"""What a workflow says of how much its instances may do, beside what the operator says of everybody's.

`steps` is Cloudflare's `limits.steps` of a workflow in wrangler's file. Standard library only.
"""

from __future__ import annotations

from typing import Final, NamedTuple

STEPS_MAX: Final = 100_000
"""As many as an instance's journal has records, by default: no instance comes to more steps."""

CONCURRENCY_MAX: Final = 100_000
"""More than any node runs at once."""


class WorkflowLimits(NamedTuple):
    """None where nothing is said: then the operator's limits hold alone."""

    steps: int | None = None
    """Steps, sleeps and waits of one instance."""
    concurrency: int | None = None
    """Instances that run at once on one node; more are queued. One that waits for time or an event does not count."""


UNLIMITED: Final = WorkflowLimits()


def refuse_unusual(limits: WorkflowLimits) -> None:
    """Raises ValueError for a limit that can't be."""
    for name, value, most in (
        ("steps", limits.steps, STEPS_MAX),
        ("concurrency", limits.concurrency, CONCURRENCY_MAX),
    ):
        if value is not None and not 1 <= value <= most:
            raise ValueError(f"{name}: {value:,} is no limit of a workflow: 1 to {most:,}")
