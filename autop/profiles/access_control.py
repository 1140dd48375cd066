"""Access control units (50): relays first; an account where the unit can call, but no call button of its own."""

from collections.abc import Iterator

from autop.profiles.base import Line, Model, account_lines, backup_lines, shared_lines
from autop.profiles.door_phone import door_lines
from autop.settings import DeviceSettings


class AccessControl:
    """Profile of kind 50."""

    def lines(self, settings: DeviceSettings, model: Model) -> Iterator[Line]:
        """Account, what a door has, then what every kind has."""
        yield from account_lines(settings.account, model)
        yield from backup_lines(settings.account, model)
        yield from door_lines(settings)
        yield from shared_lines(settings, model)
