"""How large an instance may grow, and what becomes of one that grows past that.

Whoever loads an instance reads all of its journal, so one without a bound would in time harm whatever shares its node.
"""

from __future__ import annotations

from stepwell.engine.instance import Phase
from stepwell.engine.records import Errored, Failure
from stepwell.engine.transition import Turn


def end_as_too_large(turn: Turn, at: int) -> None:
    """Let an instance that has grown past a limit fail: whatever it did next would only make it grow."""
    instance, limits = turn.instance, turn.limits
    if instance.phase not in (Phase.LIVE, Phase.PAUSED):
        return
    if instance.records > limits.records_max:
        limit, seen, of = "records_max", instance.records, "records"
    else:
        limit, seen, of = "instance_bytes_max", instance.stored_bytes, "bytes"
    message = (
        f"its journal has {seen:,} {of}, over the limit {limit} of {getattr(limits, limit):,}; "
        "keep large data elsewhere and return references, or continue in a new instance"
    )
    turn.end(Errored(at, Failure("stepwell.errors", "LimitExceededError", message), expires_at=turn.expiry(at)))
    turn.end_activation()
