"""Indoor monitors (2): an account, and the DTMF codes that open the doors they talk to."""

from collections.abc import Iterator

from autop.cfg_format import label
from autop.profiles.base import Line, Model, account_lines, redirect_lines, server_check_lines, shared_lines
from autop.settings import DeviceSettings, DoorRelay

_CODE_KEYS = ("DTMFCode", "DTMFCode2", "DTMFCode3")


class IndoorMonitor:
    """Profile of kind 2. Its `relays` are those of the doors that may ring it."""

    def lines(self, settings: DeviceSettings, model: Model) -> Iterator[Line]:
        """Account, unlock codes, then what every kind has."""
        yield from account_lines(settings.account, model)
        yield from unlock_lines(settings.relays)
        yield from redirect_lines()
        yield from server_check_lines(settings)
        yield from shared_lines(settings, model)


def unlock_lines(relays: tuple[DoorRelay, ...]) -> Iterator[Line]:
    """What the unlock buttons send while talking, and what they are called."""
    for place, item in enumerate(_CODE_KEYS):
        relay = relays[place] if place < len(relays) else None
        yield f"Config.DoorSetting.RELAY.{item}", relay.dtmf_code if relay else ""
        yield f"Config.DoorSetting.RELAY.TalkingColDisplayName{place + 1}", label(relay.name) if relay else ""
