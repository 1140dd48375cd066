"""Access control units (50): relays first; an account where the unit can call, but no call button of its own."""

from collections.abc import Iterator

from autop.profiles.base import Line, Model, account_lines, shared_lines
from autop.profiles.door_phone import relay_lines
from autop.settings import DeviceSettings


class AccessControl:
    """Profile of kind 50."""

    def lines(self, settings: DeviceSettings, model: Model) -> Iterator[Line]:
        """Account, relays, then what every kind has."""
        yield from account_lines(settings.account, model)
        yield from relay_lines(settings.relays)
        yield from shared_lines(settings, model)
