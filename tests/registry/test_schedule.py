"""Schedules: windows of a week, also over midnight, do-not-disturb, and the two days on which the clock jumps."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schedule import ALWAYS, DAY_MINUTES, MAX_WINDOWS, Schedule, Window, is_open

BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = frozenset(range(5))
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


def test_no_windows_is_always_and_do_not_disturb_is_never() -> None:
    assert is_open(ALWAYS, at(0, 3))
    assert not is_open(Schedule(do_not_disturb=True), at(0, 3))
    assert not is_open(Schedule((Window(WEEKDAYS, 0, DAY_MINUTES),), do_not_disturb=True), at(0, 12))


def test_a_window_begins_with_its_first_minute_and_ends_before_its_last() -> None:
    office = Schedule((Window(WEEKDAYS, 8 * 60, 17 * 60 + 30),))
    hours = [(0, 7, 59, False), (0, 8, 0, True), (4, 17, 29, True), (4, 17, 30, False), (5, 12, 0, False)]
    assert [is_open(office, at(day, hour, minute)) for day, hour, minute, _ in hours] == [row[3] for row in hours]


def test_a_window_over_midnight_belongs_to_its_evening() -> None:
    friday_night = Schedule((Window(frozenset((4,)), 22 * 60, 6 * 60),))
    assert not is_open(friday_night, at(4, 5))
    assert is_open(friday_night, at(4, 22))
    assert is_open(friday_night, at(5, 5, 59))
    assert not is_open(friday_night, at(5, 6))
    sunday_night = Schedule((Window(frozenset((6,)), 22 * 60, 6 * 60),))
    assert is_open(sunday_night, at(0, 1))  # the Monday after: days go round


@given(st.sets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(1, 1440))
def test_a_window_is_open_as_long_as_it_says(days: set[int], start: int, end: int) -> None:
    schedule = Schedule((Window(frozenset(days), start, end),))
    week = sum(is_open(schedule, MONDAY + timedelta(minutes=minute)) for minute in range(7 * DAY_MINUTES))
    assert week == len(days) * (end - start if end > start else DAY_MINUTES - start + end)


def test_the_clock_on_the_wall_decides_when_summer_time_comes_and_goes() -> None:
    night = Schedule((Window(frozenset(range(7)), 2 * 60, 3 * 60),))  # 02:00 to 03:00

    def open_minutes(start: datetime) -> int:
        return sum(is_open(night, (start + timedelta(minutes=n)).astimezone(BERLIN)) for n in range(DAY_MINUTES + 120))

    assert open_minutes(datetime(2026, 3, 28, 22, tzinfo=UTC)) == 0  # 29 March: 02:00 to 03:00 is skipped
    assert open_minutes(datetime(2026, 10, 24, 20, tzinfo=UTC)) == 120  # 25 October: it comes twice
    assert open_minutes(datetime(2026, 6, 1, 20, tzinfo=UTC)) == 60


@pytest.mark.parametrize(
    ("days", "start", "end"),
    [((), 0, 1), ((7,), 0, 1), ((-1,), 0, 1), ((0,), -1, 1), ((0,), 1440, 1), ((0,), 0, 0), ((0,), 0, 1441)],
)
def test_a_window_outside_the_week_is_refused(days: tuple[int, ...], start: int, end: int) -> None:
    with pytest.raises(ValueError):
        Window(frozenset(days), start, end)


def test_windows_are_bounded() -> None:
    with pytest.raises(ValueError, match="at most"):
        Schedule((Window(WEEKDAYS, 0, 1),) * (MAX_WINDOWS + 1))
