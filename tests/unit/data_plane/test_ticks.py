"""Which times of a schedule are due, what is made up for, and which instance each creates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.records import Active, CatchUp, Schedule, TickDone
from cluster.tenant_uids import tenant_uid
from data_plane.assignment import shard_of
from data_plane.ticks import (
    CATCH_UP_TICKS_MAX,
    TICK_JITTER_MS_MAX,
    TICK_LATE_MS_MAX,
    driver_key,
    due,
    jitter_ms,
    next_due,
    tick_id,
)
from stepwell.cron import MINUTE_MS
from stepwell.names import REQUEST_ID_LENGTH_MAX, TenantUid, WorkflowId, instance_id

DAY_MS = 24 * 60 * MINUTE_MS
NOW = 20_000 * DAY_MS
FLOW = WorkflowId("flow")


def minutes(since_ms: int, catch_up: CatchUp = CatchUp.LAST) -> Active:
    return Active(Schedule("* * * * *", catch_up=catch_up), since_ms)


def done(at_ms: int) -> TickDone:
    return TickDone("* * * * *", "UTC", at_ms, at_ms)


def test_what_is_due_is_what_came_since_it_is_in_force_and_since_the_mark() -> None:
    assert due(minutes(NOW), None, NOW + MINUTE_MS - 1) == []
    assert due(minutes(NOW), None, NOW + MINUTE_MS) == [NOW + MINUTE_MS]
    assert due(minutes(NOW), done(NOW + MINUTE_MS), NOW + 2 * MINUTE_MS) == [NOW + 2 * MINUTE_MS]
    assert due(minutes(NOW + MINUTE_MS), done(NOW - DAY_MS), NOW + 2 * MINUTE_MS) == [NOW + 2 * MINUTE_MS]


def test_nothing_that_is_a_little_late_is_skipped() -> None:
    late = [NOW - minute * MINUTE_MS for minute in (3, 2, 1, 0)]
    for catch_up in CatchUp:
        assert due(minutes(NOW - 4 * MINUTE_MS, catch_up), None, NOW) == late


def test_of_what_was_missed_as_much_is_made_up_for_as_the_schedule_says() -> None:
    in_time = [NOW - minute * MINUTE_MS for minute in (4, 3, 2, 1, 0)]
    missed_to = NOW - TICK_LATE_MS_MAX
    for since in (NOW - DAY_MS, 0):
        assert due(minutes(since, CatchUp.NONE), None, NOW) == in_time
        assert due(minutes(since, CatchUp.LAST), None, NOW) == [missed_to, *in_time]
        every = due(minutes(since, CatchUp.ALL), None, NOW)
        assert every[: -len(in_time)] == [missed_to - n * MINUTE_MS for n in reversed(range(CATCH_UP_TICKS_MAX))]
    assert due(minutes(missed_to - 2 * MINUTE_MS, CatchUp.ALL), None, NOW)[:3] == [
        missed_to - MINUTE_MS, missed_to, in_time[0],
    ]  # fmt: skip


def test_what_comes_seldom_is_made_up_for_long_after() -> None:
    leap = Active(Schedule("0 0 29 2 *"), 0)
    at = 19_782 * DAY_MS  # 29 February 2024
    assert due(leap, None, at + 100 * DAY_MS) == [at]
    assert next_due(leap, at) == at + (4 * 365 + 1) * DAY_MS


@given(st.integers(0, 9), st.integers(0, 12), st.sampled_from(CatchUp))
def test_doing_one_after_the_other_does_what_was_due_at_first(since: int, late: int, catch_up: CatchUp) -> None:
    """A mark after each leaves the others due, in whatever order a crash cuts it."""
    active, mark = minutes(NOW - (since + late) * MINUTE_MS, catch_up), None
    first = due(active, None, NOW)
    for at in first:
        assert due(active, mark, NOW)[0] == at
        mark = done(at)
    assert due(active, mark, NOW) == []


@given(st.binary(min_size=8, max_size=8), st.sampled_from((1, 2, 64, 1_024)), st.integers(0, 4_102_444_800_000))
def test_an_instance_of_a_schedule_lies_where_its_driver_is(random: bytes, spread: int, at: int) -> None:
    tenant = tenant_uid(random, spread)
    schedule = Schedule("*/5 0-7/2 1,15 JAN-MAR MON#2,FRIL", "Europe/Berlin")
    made = tick_id(tenant, FLOW, schedule, at)
    assert instance_id(made) == made
    for count in (1, 3, 1_024):
        assert shard_of(tenant, made, count) == shard_of(tenant, driver_key(tenant, FLOW).instance, count)


def test_ids_end_as_cloudflares_and_tell_schedules_apart() -> None:
    tenant = TenantUid("00")
    made = tick_id(tenant, FLOW, Schedule("*/5 * * * MON-FRI"), 1_786_599_900_000)
    assert made.startswith("x-5_x_x_x_MON-FRI-")
    assert made.endswith("-1786599900000")
    alike = [Schedule("0 9 1 * *"), Schedule("0 9 1 * *", "Europe/Berlin"), Schedule("0,9 1 * * *")]
    assert len({tick_id(tenant, FLOW, each, NOW) for each in alike}) == 3
    assert tick_id(tenant, FLOW, alike[0], NOW) == tick_id(tenant, FLOW, alike[0], NOW)
    longest = Schedule("0 0 1 1 " + ",".join(["MON"] * 23))
    assert len(tick_id(tenant, FLOW, longest, 9_999_999_999_999)) <= REQUEST_ID_LENGTH_MAX


def test_tenants_come_apart_and_each_always_as_late() -> None:
    delays = [jitter_ms(TenantUid(f"{number:016x}")) for number in range(2_000)]
    assert max(delays) < TICK_JITTER_MS_MAX
    seconds = [sum(delay // 1_000 == second for delay in delays) for second in range(TICK_JITTER_MS_MAX // 1_000)]
    assert min(seconds) > 40
    assert max(seconds) < 110
    assert jitter_ms(TenantUid("00")) == jitter_ms(TenantUid("00"))
