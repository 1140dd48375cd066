"""IANA time zone names to what devices write. In the shell because the zone database is files."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from autop.render import Zone

_YEAR = 2026
"""The year whose rules are asked. Fixed, so that a device's bytes do not change with the calendar."""


@lru_cache(maxsize=1024)
def zone(name: str) -> Zone | None:
    """The zone's standard offset (the smaller one of its year) and city, or None for a name nobody knows."""
    try:
        rules = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    offsets = [datetime(_YEAR, month, 1, 12, tzinfo=rules).utcoffset() for month in range(1, 13)]
    minutes = min(int(offset.total_seconds()) // 60 for offset in offsets if offset is not None)
    area, slash, city = name.rpartition("/")
    return Zone(minutes, city.replace("_", " ") if slash and area != "Etc" else "")
