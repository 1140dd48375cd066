"""When a device or an app rings, as bodies hold it: weekly windows in the site's time zone, and do-not-disturb."""

from typing import Annotated, Literal

from pydantic import Field

from admin_api.models import Body, Flag, ascii_matching
from registry.schedule import MAX_WINDOWS, Schedule, Window

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Start = Annotated[str, ascii_matching(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", "a time of day from 00:00 to 23:59")]
End = Annotated[
    str,
    ascii_matching(r"00:0[1-9]|00:[1-5][0-9]|(?:0[1-9]|1[0-9]|2[0-3]):[0-5][0-9]|24:00", "a time of day from 00:01 to 24:00"),
]


class WindowBody(Body):
    """Some hours of some days. An end that is not after the start lies on the next day."""

    days: Annotated[list[Day], Field(min_length=1, max_length=7)]
    start: Annotated[Start, Field(examples=["08:00"])]
    end: Annotated[End, Field(examples=["17:30"])]


class ScheduleBody(Body):
    """When it rings with a ring plan: inside any of the windows (none: always), never while do_not_disturb."""

    windows: Annotated[list[WindowBody], Field(default_factory=list, max_length=MAX_WINDOWS)]
    do_not_disturb: Flag = False


def always() -> ScheduleBody:
    """The schedule of who never set one."""
    return ScheduleBody(windows=[])


def schedule_of(body: ScheduleBody) -> Schedule:
    """The record of a body."""
    windows = [
        Window(frozenset(_DAYS.index(day) for day in one.days), _minutes(one.start), _minutes(one.end)) for one in body.windows
    ]
    return Schedule(tuple(windows), body.do_not_disturb)


def schedule_body(schedule: Schedule) -> ScheduleBody:
    """The body of a record."""
    windows = [
        WindowBody.model_construct(days=[_DAYS[day] for day in sorted(one.days)], start=_text(one.start), end=_text(one.end))
        for one in schedule.windows
    ]
    return ScheduleBody.model_construct(windows=windows, do_not_disturb=schedule.do_not_disturb)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _text(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
