"""When a schedule's times come, which of them are made up for, and which instance each of them creates. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Final

from cluster.records import Active, CatchUp, Schedule, TickDone
from data_plane.assignment import together
from data_plane.journal.store import InstanceKey
from stepwell.cron import MINUTE_MS, Cron, newest, next_after, parsed, zone
from stepwell.names import InstanceId, TenantUid, WorkflowId

TICK_JITTER_MS_MAX: Final = 30_000
"""A tenant's instances come so much after their time at most, always by the same: not all tenants at once."""

TICK_LATE_MS_MAX: Final = 5 * MINUTE_MS
"""A time of which nobody could create the instance for so long was missed; what becomes of it is the schedule's to
say. Earlier ones are created in any case: a node's end is no reason to skip one."""

CATCH_UP_TICKS_MAX: Final = 100
"""Missed times of one schedule that are made up for."""

ID_CRON_LENGTH: Final = 36
"""Characters of the expression in an instance's id: it is the request id of its create too, which may have 64."""

EXPRESSIONS_REMEMBERED: Final = 4_096


def jitter_ms(tenant: TenantUid) -> int:
    """How much later than their times a tenant's instances are created."""
    return int.from_bytes(_digest(tenant), "big") % TICK_JITTER_MS_MAX


def due(active: Active, done: TickDone | None, now_ms: int) -> list[int]:
    """Times whose instances are to be created now, in their order. `now_ms` is without the tenant's jitter."""
    cron, (schedule, since_ms) = expression(active.schedule.cron), active
    place = zone(schedule.timezone)
    begin = max(since_ms, 0 if done is None else done.done_ms)
    missed_to = max(begin, now_ms - TICK_LATE_MS_MAX)
    in_time = newest(cron, place, missed_to, now_ms, TICK_LATE_MS_MAX // MINUTE_MS)
    if schedule.catch_up == CatchUp.NONE or missed_to == begin:
        return in_time
    most = 1 if schedule.catch_up == CatchUp.LAST else CATCH_UP_TICKS_MAX
    return newest(cron, place, begin, missed_to, most) + in_time


def next_due(active: Active, after_ms: int) -> int | None:
    """The next time, without the tenant's jitter; None for never."""
    schedule, since_ms = active
    return next_after(expression(schedule.cron), zone(schedule.timezone), max(since_ms, after_ms))


def tick_id(tenant: TenantUid, workflow: WorkflowId, schedule: Schedule, at_ms: int) -> InstanceId:
    """The id of the instance that is created for that time: the same whoever creates it, and in the shard of
    `driver_key`, so that only the shard's owner can.

    Cloudflare's is `<cron>-<ms since the epoch>`, which can't be an id here. This one has the expression's characters
    as far as ids may, a checksum that tells schedules apart, and ends as theirs.
    """
    shown = re.sub(r"[^A-Za-z0-9-]", "_", schedule.cron.replace("*", "x").replace("/", "-"))[:ID_CRON_LENGTH]
    driver = driver_key(tenant, workflow).instance
    candidates = (
        InstanceId(f"{shown}-{_digest(f'{schedule.cron} {schedule.timezone} {salt}').hex()[:12]}-{at_ms}")
        for salt in count()
    )
    return next(each for each in candidates if together(tenant, each, driver))


def driver_key(tenant: TenantUid, workflow: WorkflowId) -> InstanceKey:
    """Whoever owns the shard of this, which is no instance, creates those of the workflow's schedules."""
    return InstanceKey(tenant, workflow, InstanceId(workflow))


@lru_cache(EXPRESSIONS_REMEMBERED)
def expression(text: str) -> Cron:
    """Parsed; expressions are few, and each comes again."""
    return parsed(text)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
