"""The engine's limits, in one place, each with its unit and why it is what it is."""

from __future__ import annotations

from dataclasses import dataclass

EVENTS_LEAVE_RECORDS = 100
"""An event that would leave an instance's journal less room than this is refused, or room for so many records' bytes:
what wakes an instance takes some records, and so does what it does about it. At most a tenth of the limit."""

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Operator-set; the defaults are Cloudflare's where they publish one."""

    steps_max: int = 10_000
    """Steps, sleeps and waits of one instance; asyncio timers count apart, as many again."""

    records_max: int = 100_000
    """Records in one instance's journal: each load reads them all. 10,000 waits that hibernate need some 60,000."""

    instance_bytes_max: int = 1024 * 1024 * 1024
    """Of one instance, payloads and what surrounds them together; Cloudflare's limit is the same."""

    buffered_events_max: int = 1_000
    """Events kept for an instance that does not wait for them yet."""

    children_max: int = 1_000
    """Instances that one may create through its bindings, over all its life."""

    depth_max: int = 16
    """Parents above one another: what creates itself comes to an end."""

    buffered_event_bytes_max: int = 64 * 1024 * 1024
    """Of their payloads: some sixty of the largest."""

    delay_max_ms: int = 365 * _DAY_MS
    """The longest sleep, retry delay or timeout of a wait."""

    cancel_grace_ms: int = 5 * 60 * 1000
    """How long a cancelled `run` may take to clean up, before its instance is terminated; pauses don't count."""

    hibernate_after_ms: int = 1_000
    """Waits shorter than this keep the activation: replaying costs more."""

    attempt_grace_ms: int = 5_000
    """How long past its timeout an attempt may run before its sandbox is killed: the guest ends it well before."""

    sandbox_deaths_alone: int = 2
    """Sandbox deaths without progress after which an instance runs alone in its sandbox."""

    sandbox_deaths_max: int = 3
    """Sandbox deaths without progress that end the instance."""

    node_deaths_alone: int = 3
    node_deaths_max: int = 5
    """Node deaths without progress after which the instance is paused: they prove less, a node dies of many things."""
