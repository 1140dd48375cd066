"""A device's memory of its settings, and what they mean to a simulated device.

Nothing else tells it its account: what no file said, it does not have.
"""

from collections.abc import Mapping

from autop.cfg_format import is_secret
from simulators.device_config import ChannelSettings, DeviceConfig
from simulators.line import DEFAULT_PORT, SipAccount
from simulators.relays import DoorRelay

FACTORY_HOLD_SECONDS = 3
FACTORY_EXPIRES = 1800
_TRANSPORTS = {"1": "tcp", "2": "tls"}
"""SIP.TransType; 0 is UDP, and 3 finds its transport by DNS, which simulated devices do not."""


class Settings:
    """A device's memory: settings by key, whatever their case. A file changes the keys it names and no others."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._spelled: dict[str, str] = {}

    def apply(self, settings: Mapping[str, str]) -> int:
        """Take a file's settings over. Returns how many values changed."""
        before = dict(self._values)
        self._values.update((key.lower(), value) for key, value in settings.items())
        for key in settings:
            self._spelled.setdefault(key.lower(), key)
        return sum(before.get(key) != value for key, value in self._values.items())

    def text(self, key: str, default: str = "") -> str:
        """The value of `Config.<key>`; `default` where there is none or a blank one."""
        return self._values.get(f"config.{key}".lower()) or default

    def all(self) -> dict[str, str]:
        """Every setting, by its full key as it was first spelled."""
        return {self._spelled[key]: value for key, value in self._values.items()}

    def number(self, key: str, default: int | None = None) -> int | None:
        """The value as a number of at most nine digits; `default` for anything else."""
        text = self.text(key)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def __repr__(self) -> str:
        shown = {key: "***" if is_secret(key) else value for key, value in self._values.items()}
        return f"Settings({shown})"


def device_config(settings: Settings) -> DeviceConfig:
    """What a device does with the settings it holds."""
    return DeviceConfig(
        account=_account(settings),
        relays=_relays(settings),
        unlock_codes=_unlock_codes(settings),
        button_numbers=_button_numbers(settings),
        web_user=settings.text("Settings.WEB_LOGIN.User", "admin"),
        web_password=settings.text("Settings.WEB_LOGIN.Password"),
        channel=_channel(settings),
        poll_at=_poll_at(settings),
        firmware_url=settings.text("Firmware.Url"),
    )


def _account(settings: Settings) -> SipAccount | None:
    # Most firmware numbers its accounts, E18C has one without a number.
    prefix = "Account1" if settings.text("Account1.GENERAL.Enable") else "Account"
    if settings.text(f"{prefix}.GENERAL.Enable") != "1" or not settings.text(f"{prefix}.SIP.Server"):
        return None
    return SipAccount(
        username=settings.text(f"{prefix}.GENERAL.UserName"),
        password=settings.text(f"{prefix}.GENERAL.Pwd"),
        server=settings.text(f"{prefix}.SIP.Server"),
        port=settings.number(f"{prefix}.SIP.Port") or DEFAULT_PORT,
        display_name=settings.text(f"{prefix}.GENERAL.DisplayName"),
        expires=settings.number(f"{prefix}.REG.Timeout") or FACTORY_EXPIRES,
        transport=_TRANSPORTS.get(settings.text(f"{prefix}.SIP.TransType"), "udp"),
    )


def _relays(settings: Settings) -> tuple[DoorRelay, ...]:
    """Relays up to the last one the settings speak of; those between have no code."""
    found = []
    for number, letter in enumerate("ABC", 1):
        code = settings.text(f"DoorSetting.DTMF.Code{number}")
        hold = settings.number(f"DoorSetting.RELAY.HoldDelay{letter}") or settings.number(f"DoorSetting.RELAY.Relay{letter}Delay")
        name = settings.text(f"DoorSetting.RELAY.RelayName{letter}", f"Relay {letter}")
        found.append((bool(code or hold), DoorRelay(name, code, hold or FACTORY_HOLD_SECONDS)))
    while found and not found[-1][0]:
        found.pop()
    return tuple(relay for _, relay in found)


def _unlock_codes(settings: Settings) -> tuple[str, ...]:
    codes = [settings.text(f"DoorSetting.RELAY.{item}") for item in ("DTMFCode", "DTMFCode2", "DTMFCode3")]
    while codes and not codes[-1]:
        codes.pop()
    return tuple(codes)


def _button_numbers(settings: Settings) -> tuple[str, ...]:
    for key in ("Programable.SOFTKEY01.LocalParam1", "Programable.SOFTKEY01.Param1", "Features.SPEEDDIAL.Num01"):
        numbers = tuple(number for number in settings.text(key).split(";") if number)
        if numbers:
            return numbers
    return ()


def _channel(settings: Settings) -> ChannelSettings | None:
    port = settings.number("Portico.CHANNEL.Port")
    host = settings.text("Portico.CHANNEL.Server")
    if settings.text("Portico.CHANNEL.Enable") != "1" or not host or not port:
        return None
    try:
        key = bytes.fromhex(settings.text("Portico.CHANNEL.Key"))
    except ValueError:
        return None
    return ChannelSettings(host, port, key)


def _poll_at(settings: Settings) -> tuple[int | None, int, int] | None:
    """The daily time of modes 2 and 3, the hourly one of mode 4 (akuvox-devices.md section 3)."""
    mode = settings.text("Autoprovision.MODE.Mode")
    if mode not in ("2", "3", "4") or (mode != "4" and settings.text("Autoprovision.SCHEDULE.DayOfWeek") != "0"):
        return None
    hour, minute, second = (
        settings.number(f"Autoprovision.SCHEDULE.{item}", 0) or 0 for item in ("HourOfDay", "MinuteOfHour", "SecondOfMinute")
    )
    if not (hour < 24 and minute < 60 and second < 60):
        return None
    return (None if mode == "4" else hour, minute, second)
