"""Cron expressions: what they say, and when their times come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.cron import CRON_LENGTH_MAX, CronError, newest, next_after, parsed, times_after, zone
from stepwell.names import TooLongError

BERLIN = "Europe/Berlin"


def ms(at: str) -> int:
    return round(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)


def times(text: str, at: str, count: int, place: str = "UTC") -> list[str]:
    """Its first times after that one, as clocks in that zone show them."""
    found = islice(times_after(parsed(text), zone(place), ms(at)), count)
    return [datetime.fromtimestamp(each / 1000, zone(place)).isoformat(timespec="minutes") for each in found]


def days(text: str, at: str, count: int) -> list[str]:
    return [each[:10] for each in times(text, at, count)]


def test_an_expression_has_numbers_ranges_steps_lists_and_names() -> None:
    assert times("*/20 8-10/2 * * *", "2027-01-01", 4) == [
        "2027-01-01T08:00+00:00", "2027-01-01T08:20+00:00", "2027-01-01T08:40+00:00", "2027-01-01T10:00+00:00",
    ]  # fmt: skip
    assert times("5,50/5 0 * * *", "2027-01-01", 3) == [
        "2027-01-01T00:05+00:00", "2027-01-01T00:50+00:00", "2027-01-01T00:55+00:00",
    ]  # fmt: skip
    assert days("0 0 1 jan,Jun-AUG *", "2027-01-01", 4) == ["2027-06-01", "2027-07-01", "2027-08-01", "2028-01-01"]
    assert days("0 0 * * mon-fri", "2027-01-01", 2) == ["2027-01-04", "2027-01-05"]
    assert days("0 0 * * SAT-MON", "2027-01-01", 4) == ["2027-01-02", "2027-01-03", "2027-01-04", "2027-01-09"]


def test_either_of_two_days_will_do() -> None:
    assert days("0 0 13 * FRI", "2027-08-01", 4) == ["2027-08-06", "2027-08-13", "2027-08-20", "2027-08-27"]
    assert days("0 0 14 * FRI", "2027-08-07", 2) == ["2027-08-13", "2027-08-14"]


def test_a_month_has_last_days_and_working_days() -> None:
    assert days("0 0 L * *", "2028-01-01", 3) == ["2028-01-31", "2028-02-29", "2028-03-31"]
    assert days("0 0 LW * *", "2027-01-01", 2) == ["2027-01-29", "2027-02-26"]
    assert days("0 0 1W,16W,31W 5 *", "2027-05-01", 3) == ["2027-05-03", "2027-05-17", "2027-05-31"]
    assert days("0 0 30W * *", "2027-05-01", 1) == ["2027-05-31"]
    assert days("0 0 31W 10 *", "2027-01-01", 1) == ["2027-10-29"]  # the 31st is a Sunday, and the month ends there
    assert days("0 0 * * FRIL,MON#2", "2027-01-01", 3) == ["2027-01-11", "2027-01-29", "2027-02-08"]


def test_the_29_of_february_comes_when_it_is_there() -> None:
    assert days("0 0 29 2 *", "2096-03-01", 1) == ["2104-02-29"]


def test_what_is_no_expression_is_refused_with_what_to_write() -> None:
    for text, told in (
        ("", "needs 5"),
        ("* * * *", "it has 4 fields"),
        ("* * * * * *", "it has 6 fields"),
        ("60 * * * *", "minute: '60' is none of 0 to 59"),
        ("٣ * * * *", "minute"),
        ("* 24 * * *", "hour: '24'"),
        ("* * 0 * *", "day of the month: '0'"),
        ("* * 32W * *", "day of the month: '32'"),
        ("* * * 13 *", "1 to 12 or JAN"),
        ("* * * * 1-5", "write names, as in MON-FRI"),
        ("* * * * 7", "write names"),
        ("* * * * MON#6", "MON#1 to MON#5"),
        ("* * * * NOW", "none of SUN, MON"),
        ("*/0 * * * *", "'0' is no step"),
        ("*/x * * * *", "'x' is no step"),
        ("30-10 * * * *", "ends before it begins"),
        ("1,,2 * * * *", "minute: ''"),
        ("@daily", "needs 5"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 2,4,6,9,11 *", "never comes"),
    ):
        with pytest.raises(CronError) as refused:
            parsed(text)
        assert told in str(refused.value), text
    with pytest.raises(TooLongError, match="may have 100") as too_long:
        parsed("*" * (CRON_LENGTH_MAX + 1))
    assert too_long.value.metadata["limit"] == "cron_length_max"


def test_a_time_zone_is_one_of_the_database() -> None:
    for name in ("", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe/", "x" * 65, "UTC\n", "Europe"):
        with pytest.raises(CronError, match="no time zone"):
            zone(name)


def test_a_given_hour_that_does_not_exist_comes_when_the_clock_has_moved_on() -> None:
    assert times("30 2 * * *", "2027-03-27T12:00", 2, BERLIN) == ["2027-03-28T03:00+02:00", "2027-03-29T02:30+02:00"]
    # Of several that it skipped, one is left.
    assert times("*/15 2,3 * * *", "2027-03-27T12:00", 5, BERLIN) == [
        "2027-03-28T03:00+02:00", "2027-03-28T03:15+02:00", "2027-03-28T03:30+02:00", "2027-03-28T03:45+02:00",
        "2027-03-29T02:00+02:00",
    ]  # fmt: skip


def test_a_given_hour_that_is_there_twice_comes_the_first_time() -> None:
    assert times("30 2 * * *", "2027-10-30T12:00", 2, BERLIN) == ["2027-10-31T02:30+02:00", "2027-11-01T02:30+01:00"]


def test_every_hour_follows_the_time_that_passes() -> None:
    assert times("30 * * * *", "2027-03-28T00:00", 3, BERLIN) == [
        "2027-03-28T01:30+01:00", "2027-03-28T03:30+02:00", "2027-03-28T04:30+02:00",
    ]  # fmt: skip
    assert times("30 * * * *", "2027-10-30T23:45", 4, BERLIN) == [
        "2027-10-31T02:30+02:00", "2027-10-31T02:30+01:00", "2027-10-31T03:30+01:00", "2027-10-31T04:30+01:00",
    ]  # fmt: skip


def test_a_clock_that_moves_by_half_an_hour_or_a_day_is_followed() -> None:
    assert times("20 2 * * *", "2027-10-02T12:00", 1, "Australia/Lord_Howe") == ["2027-10-03T02:30+11:00"]
    # Samoa had no 30 December 2011.
    assert times("0 12 * * *", "2011-12-30T00:00", 2, "Pacific/Apia") == [
        "2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00",
    ]  # fmt: skip


@settings(deadline=None)
@given(
    at=st.integers(1_700_000_000_000, 2_500_000_000_000),
    text=st.sampled_from(("* * * * *", "*/7 * * * *", "30 2 * * *", "*/15 2 * * SUN", "0 0 L * *", "59 23 * * *")),
    place=st.sampled_from(("UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Havana")),
)
def test_times_rise_by_a_minute_at_least_and_do_not_depend_on_where_the_look_began(
    at: int, text: str, place: str
) -> None:
    cron, where = parsed(text), zone(place)
    found = list(islice(times_after(cron, where, at), 60))
    assert all(before + 60_000 <= after for before, after in zip([at - 60_000, *found], found, strict=False))
    assert found[0] > at
    for before, after in pairwise(found):
        assert next_after(cron, where, before) == after
        assert next_after(cron, where, after - 1) == after


@given(st.integers(1_700_000_000_000, 2_500_000_000_000))
def test_every_minute_is_every_minute_wherever_it_is(at: int) -> None:
    begin = at - at % 60_000
    for place in (BERLIN, "Australia/Lord_Howe", "America/Sao_Paulo"):
        found = list(islice(times_after(parsed("* * * * *"), zone(place), begin), 200))
        assert found == [begin + 60_000 * number for number in range(1, 201)]


@given(
    st.integers(1_700_000_000_000, 1_800_000_000_000),
    st.integers(0, 3 * 86_400_000),
    st.integers(1, 30),
    st.sampled_from(("* * * * *", "*/7 3 * * *", "0 0 * * *", "0 0 1 1 *")),
)
def test_the_newest_times_are_the_last_of_all(after: int, span: int, count: int, text: str) -> None:
    cron, where = parsed(text), zone(BERLIN)
    all_ = list(takewhile(lambda at: at <= after + span, times_after(cron, where, after)))
    assert newest(cron, where, after, after + span, count) == all_[-count:]


def test_the_newest_times_of_many_years_are_found_in_little_time() -> None:
    began = datetime.now(UTC)
    assert len(newest(parsed("* * * * *"), zone(BERLIN), 0, ms("2027-01-01"), 100)) == 100
    assert newest(parsed("0 0 29 2 *"), zone("UTC"), 0, ms("2027-01-01"), 1) == [ms("2024-02-29")]
    assert datetime.now(UTC) - began < timedelta(seconds=1)


def test_a_time_far_away_is_found_in_little_time() -> None:
    began = datetime.now(UTC)
    assert next_after(parsed("0 0 29 2 *"), zone("UTC"), ms("2096-03-01")) is not None
    assert datetime.now(UTC) - began < timedelta(seconds=1)
