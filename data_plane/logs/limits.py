"""How much of what tenants print is kept, and for how long: one value, read once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Operator-set. Bytes are those of text and step names, and LINE_OVERHEAD_BYTES a line."""

    instance_bytes_max: int = 1024 * 1024
    """Of one instance; its oldest lines make room."""

    tenant_bytes_max: int = 64 * 1024 * 1024
    """Of one tenant; all lines of the instance that has been quiet longest make room."""

    age_days_max: float = 7.0
    """Older lines are removed."""

    waiting_bytes_max: int = 8 * 1024 * 1024
    """In memory, on their way to the store, a few times a second; once it is full, whoever has more than an equal share
    of it has lines dropped and counted."""

    waiting_bytes_per_tenant_max: int = 2 * 1024 * 1024
    """Of these, one tenant's."""

    in_operator_log: bool = False
    """Whether the server's own log has every line too: for one's own machine."""


LINE_OVERHEAD_BYTES = 100
"""What a line takes beside its text and its step's name, about: measured with SQLite."""
