"""Cron expressions: what they say, and when their times come, in a time zone with its changes of the clock.

Five fields: minute, hour, day of the month, month, day of the week. Each is `*`, numbers, ranges and lists, with steps
(`*/15`, `8-18/2`); months and days of the week have their English names. `L` is the last day of the month, `LW` its
last working day, `15W` the working day nearest to the 15th; `FRIL` is the last Friday, `MON#2` the second Monday. Where
both days are given, either will do. Days of the week have no numbers: 1 is Sunday to some and Monday to others.

Twice a year a local time may not exist, or be there twice. A schedule of every hour (`*` or `*/n` as the hour) follows
the time that passes: what does not exist is left out, what is there twice comes twice. One of given hours comes once a
day: what does not exist comes when the clock has moved on, what is there twice comes the first time.

Times are milliseconds since the epoch, UTC. No clock is read here.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stepwell.names import TooLongError

CRON_LENGTH_MAX: Final = 100
"""Characters of an expression."""

YEARS_AHEAD: Final = 9
"""How far ahead a time is looked for: from one 29 February to the next it is 8 years at most, in this century and its
neighbours. An expression with no time within it has none."""

MINUTE_MS: Final = 60_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_LAST_YEAR: Final = 9_990
_MONTHS: Final = {name: at for at, name in enumerate(
    ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), 1)}  # fmt: skip
_WEEKDAYS: Final = {name: at for at, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_ZONE: Final = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
"""The longest name that there is has 32 characters."""


class CronError(ValueError):
    """What is wrong with an expression or a time zone, and what to write."""


@dataclass(frozen=True, slots=True)
class Cron:
    """One expression. `text` is as it was written, with single spaces; days of the week count from Sunday, 0."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    month_days: frozenset[int] | None
    """None for any."""
    last_day: bool
    last_working_day: bool
    near: frozenset[int]
    """Days of the month whose nearest working day is meant."""
    weekdays: frozenset[int] | None
    last_weekdays: frozenset[int]
    nth_weekdays: frozenset[tuple[int, int]]
    """(day of the week, which of the month)"""
    every_hour: bool

    def on(self, day: date) -> bool:
        """Whether it has times on that day."""
        if day.month not in self.months:
            return False
        if self.month_days is None and self.weekdays is None:
            return True
        return (self.month_days is not None and self._on_month_day(day)) or (
            self.weekdays is not None and self._on_weekday(day)
        )

    def _on_month_day(self, day: date) -> bool:
        length = calendar.monthrange(day.year, day.month)[1]
        if day.day in (self.month_days or ()) or (self.last_day and day.day == length):
            return True
        if self.last_working_day and day == _working_day(day.replace(day=length)):
            return True
        return any(each <= length and day == _working_day(day.replace(day=each)) for each in self.near)

    def _on_weekday(self, day: date) -> bool:
        weekday, length = day.isoweekday() % 7, calendar.monthrange(day.year, day.month)[1]
        if weekday in (self.weekdays or ()) or (weekday in self.last_weekdays and day.day > length - 7):
            return True
        return (weekday, (day.day + 6) // 7) in self.nth_weekdays


def parsed(text: str) -> Cron:
    """The expression. Raises CronError, and TooLongError."""
    if len(text) > CRON_LENGTH_MAX:
        seen = len(text)
        raise TooLongError(
            f"it has {seen:,} characters, and may have {CRON_LENGTH_MAX}", "cron_length_max", CRON_LENGTH_MAX, seen
        )
    fields = text.split()
    if len(fields) != 5:
        raise CronError(
            f"it has {len(fields)} field{'s' * (len(fields) != 1)}, and needs 5: minute, hour, day of the month, month,"
            ' day of the week, as in "0 9 * * MON-FRI"'
        )
    minutes = _numbers(fields[0], _MINUTE)
    hours = _numbers(fields[1], _HOUR)
    month_days = _month_days(fields[2])
    months = _numbers(fields[3], _MONTH)
    weekdays = _weekdays(fields[4])
    cron = Cron(
        text=" ".join(fields),
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        months=months,
        month_days=month_days[0],
        last_day=month_days[1],
        last_working_day=month_days[2],
        near=month_days[3],
        weekdays=weekdays[0],
        last_weekdays=weekdays[1],
        nth_weekdays=weekdays[2],
        every_hour=fields[1].startswith("*") or len(hours) == 24,
    )
    if not any(cron.on(date(2024, 1, 1) + _DAY * each) for each in range(YEARS_AHEAD * 366)):
        raise CronError(f"it never comes: there is no such day within {YEARS_AHEAD} years")
    return cron


def zone(name: str) -> ZoneInfo:
    """The time zone of that name in the IANA database. Raises CronError."""
    if _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise CronError(f'there is no time zone {name[:64]!r}: write one as in "Europe/Berlin", or "UTC"')


def next_after(cron: Cron, place: ZoneInfo, at_ms: int) -> int | None:
    """The first of its times that is later; None when there is none in `YEARS_AHEAD` years."""
    return next(times_after(cron, place, at_ms), None)


def times_after(cron: Cron, place: ZoneInfo, at_ms: int) -> Iterator[int]:
    """Its times that are later, in their order; they end after `YEARS_AHEAD` years without one."""
    # A time of the day before may come today, where the clock skipped it.
    day = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(place).date() - _DAY
    barren = 0
    while barren <= YEARS_AHEAD * 366 and day.year < _LAST_YEAR:
        barren += 1
        if cron.on(day):
            for found in _times_of(cron, place, day, at_ms):
                if found > at_ms:
                    yield found
                    at_ms, barren = found, 0
        day += _DAY


def newest(cron: Cron, place: ZoneInfo, after_ms: int, to_ms: int, count: int) -> list[int]:
    """The last `count` of its times that are later than `after_ms` and not later than `to_ms`, in their order.

    It costs what it finds, not what lies between: the looks go back twice as far each time.
    """
    back_ms = count * MINUTE_MS
    while True:
        begin = max(after_ms, to_ms - back_ms)
        found = list(takewhile(lambda at: at <= to_ms, times_after(cron, place, begin)))
        if len(found) >= count or begin == after_ms:
            return found[-count:]
        back_ms *= 2


# -------------------------------------------------------------------- times of one day
def _times_of(cron: Cron, place: ZoneInfo, day: date, after_ms: int) -> Iterator[int]:
    """In their order, each once; some that are not later than that may be left out."""
    begin, end = _offset(day, place), _offset(day + _DAY, place)
    if begin == end:
        midnight = _ms(datetime.combine(day, time(), UTC)) - round(begin.total_seconds() * 1000)
        for hour in cron.hours:
            if midnight + (hour + 1) * 60 * MINUTE_MS <= after_ms:
                continue
            for minute in cron.minutes:
                yield midnight + (hour * 60 + minute) * MINUTE_MS
        return
    found: set[int] = set()
    for hour in cron.hours:
        for minute in cron.minutes:
            found.update(_instants(datetime.combine(day, time(hour, minute)), place, every_hour=cron.every_hour))
    yield from sorted(found)


def _offset(day: date, place: ZoneInfo) -> timedelta:
    return datetime.combine(day, time(), place).utcoffset() or timedelta()


def _instants(local: datetime, place: ZoneInfo, *, every_hour: bool) -> Iterator[int]:
    """When that local time is, on a day on which the clock is changed."""
    first, second = (local.replace(tzinfo=place, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        yield _ms(first)
    elif first < second:  # it is there twice
        yield _ms(first)
        if every_hour:
            yield _ms(second)
    elif not every_hour:  # it does not exist
        yield _ms(_change(second, first, place))


def _change(before: datetime, after: datetime, place: ZoneInfo) -> datetime:
    """When the clock was changed, between those two."""
    offset = before.astimezone(place).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while low < high:
        middle = (low + high) // 2
        if (before + timedelta(seconds=middle)).astimezone(place).utcoffset() == offset:
            low = middle + 1
        else:
            high = middle
    return before + timedelta(seconds=low)


def _ms(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _working_day(day: date) -> date:
    """The nearest to it in its month that is no Saturday and no Sunday."""
    length = calendar.monthrange(day.year, day.month)[1]
    match day.isoweekday():
        case 6:
            return day - _DAY if day.day > 1 else day + 2 * _DAY
        case 7:
            return day + _DAY if day.day < length else day - 2 * _DAY
    return day


# -------------------------------------------------------------------- fields
@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: Mapping[str, int]

    def number(self, text: str) -> int:
        """Raises CronError."""
        if text.upper() in self.names:
            return self.names[text.upper()]
        if self is _WEEKDAY:
            if text.isascii() and text.isdigit():
                raise CronError(
                    f"{self.name}: {text!r} is Monday, or Sunday, depending on whom you ask; write names, as in MON-FRI"
                )
        elif text.isascii() and text.isdigit() and len(text) <= 4 and self.first <= int(text) <= self.last:
            return int(text)
        raise CronError(f"{self.name}: {text!r} is none of {self.shown}")

    @property
    def shown(self) -> str:
        listed = ", ".join(self.names)
        if self is _WEEKDAY:
            return listed
        return f"{self.first} to {self.last}" + (f" or {listed}" if listed else "")


_MINUTE: Final = _Field("minute", 0, 59, {})
_HOUR: Final = _Field("hour", 0, 23, {})
_MONTH_DAY: Final = _Field("day of the month", 1, 31, {})
_MONTH: Final = _Field("month", 1, 12, _MONTHS)
_WEEKDAY: Final = _Field("day of the week", 0, 6, _WEEKDAYS)


def _numbers(text: str, field: _Field) -> frozenset[int]:
    """What a list of numbers, ranges and steps stands for. Raises CronError."""
    found: set[int] = set()
    for part in text.split(","):
        found.update(_range(part, field))
    return frozenset(found)


def _range(text: str, field: _Field) -> Iterator[int]:
    span, slash, step_text = text.partition("/")
    step = 1
    if slash:
        if not (step_text.isascii() and step_text.isdigit() and len(step_text) <= 3 and int(step_text) > 0):
            raise CronError(f"{field.name}: {step_text!r} is no step, in {text!r}: write a number from 1, as in */15")
        step = int(step_text)
    if span == "*":
        first, last = field.first, field.last
    else:
        begin, dash, end = span.partition("-")
        first = field.number(begin)
        last = field.number(end) if dash else (field.last if slash else first)
        if last < first:
            if field is not _WEEKDAY:
                raise CronError(f"{field.name}: {span!r} ends before it begins; write two ranges")
            last += 7
    return iter([each % 7 if field is _WEEKDAY else each for each in range(first, last + 1, step)])


def _month_days(text: str) -> tuple[frozenset[int] | None, bool, bool, frozenset[int]]:
    """Days, whether the last one, whether the last working day, those whose nearest working day is meant."""
    if text == "*":
        return None, False, False, frozenset()
    days: set[int] = set()
    near: set[int] = set()
    last = last_working = False
    for part in text.upper().split(","):
        if part == "L":
            last = True
        elif part == "LW":
            last_working = True
        elif part.endswith("W"):
            near.add(_MONTH_DAY.number(part[:-1]))
        else:
            days.update(_range(part, _MONTH_DAY))
    return frozenset(days), last, last_working, frozenset(near)


def _weekdays(text: str) -> tuple[frozenset[int] | None, frozenset[int], frozenset[tuple[int, int]]]:
    """Days, those that are the last of their name in a month, and those that are the nth."""
    if text == "*":
        return None, frozenset(), frozenset()
    days: set[int] = set()
    last: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for part in text.upper().split(","):
        name, hash_, which = part.partition("#")
        if hash_:
            if which not in ("1", "2", "3", "4", "5"):
                raise CronError(f"day of the week: {part!r} is none of a month's five weeks: MON#1 to MON#5")
            nth.add((_WEEKDAY.number(name), int(which)))
        elif part.endswith("L") and len(part) > 1:
            last.add(_WEEKDAY.number(part[:-1]))
        else:
            days.update(_range(part, _WEEKDAY))
    return frozenset(days), frozenset(last), frozenset(nth)
