"""When something may ring: weekly windows in a site's local time, and do-not-disturb.

Pure: the caller turns the wall clock into local time. Windows are hours on the wall, so a change to or from summer time needs
no rule of its own: an hour that is skipped never comes, one that comes twice counts twice.
"""

from dataclasses import dataclass
from datetime import datetime

DAY_MINUTES = 24 * 60
MAX_WINDOWS = 28
"""Windows of one schedule: four a day."""


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to before `end`, minutes after midnight, on each of `days` (0 Monday to 6 Sunday).

    An `end` that is not after `start` lies on the next day, so 22:00 to 06:00 is one window of the evening's day.
    """

    days: frozenset[int]
    start: int
    end: int

    def __post_init__(self) -> None:
        if not self.days or not all(0 <= day <= 6 for day in self.days):
            raise ValueError("days are numbers from 0 (Monday) to 6 (Sunday), at least one")
        if not (0 <= self.start < DAY_MINUTES and 0 < self.end <= DAY_MINUTES):
            raise ValueError("a window begins at minute 0 to 1439 of a day and ends at minute 1 to 1440")

    def holds(self, day: int, minute: int) -> bool:
        """Whether this minute of this weekday lies in the window."""
        if self.end > self.start:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a target rings: inside any of `windows` (none: always), never while `do_not_disturb`."""

    windows: tuple[Window, ...] = ()
    do_not_disturb: bool = False

    def __post_init__(self) -> None:
        if len(self.windows) > MAX_WINDOWS:
            raise ValueError(f"a schedule has at most {MAX_WINDOWS} windows")


ALWAYS = Schedule()


def is_open(schedule: Schedule, local: datetime) -> bool:
    """Whether a target with this schedule rings at this local time."""
    if schedule.do_not_disturb:
        return False
    if not schedule.windows:
        return True
    day, minute = local.weekday(), local.hour * 60 + local.minute
    return any(window.holds(day, minute) for window in schedule.windows)
