"""How much is tried: a little and always the same among all tests, as much as FUZZ_EXAMPLES says in a long run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def tries(examples: int) -> settings:
    """For `@tries(100)` above `@given`: so many examples, chosen alike each time; in a long run more, at random."""
    return settings(
        max_examples=_EXAMPLES or examples,
        derandomize=not _EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
