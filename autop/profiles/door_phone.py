"""Door phones, multi-tenant (0) and single-tenant (1): an account, relays with DTMF codes, a call button."""

from collections.abc import Iterator

from autop.cfg_format import label
from autop.profiles.base import ButtonKey, Line, Model, account_lines, backup_lines, redirect_lines, shared_lines
from autop.profiles.http_api import http_api_lines
from autop.settings import CAMERA_USER, MAX_BUTTON_NUMBERS, DeviceSettings, DoorRelay, camera_password

FACTORY_DIAL_SECONDS = 60
"""How long a panel dials unless it is told otherwise; never made shorter."""
RELAY_LETTERS = "ABC"
"""Relays whose keys a source has. A fourth relay (D) has none."""


class DoorPhone:
    """Profile of the kinds 0 and 1."""

    def lines(self, settings: DeviceSettings, model: Model) -> Iterator[Line]:
        """Account, button, what a door has, then what every kind has."""
        yield from account_lines(settings.account, model)
        yield from backup_lines(settings.account, model)
        yield model.button.value, button_value(settings.button_numbers, model.button)
        yield "Config.Settings.CALLTIMEOUT.DialOut", str(max(settings.dial_seconds, FACTORY_DIAL_SECONDS))
        yield from door_lines(settings)
        yield from shared_lines(settings, model)


def door_lines(settings: DeviceSettings) -> Iterator[Line]:
    """What every device at a door has: relays, common PIN, camera, no redirect, HTTP API; and the port of its log's server."""
    yield from relay_lines(settings.relays)
    if not settings.public_pin:
        yield "Config.DoorSetting.PASSWORD.PublicKeyEnable", "0"
    if settings.web_password:
        yield from camera_lines(camera_password(settings.web_password))
    yield from redirect_lines()
    yield from http_api_lines(settings.http_api)
    if settings.syslog.host:
        yield "Config.Settings.LOGLEVEL.RemoteServerPort", str(settings.syslog.port)


def camera_lines(password: str) -> Iterator[Line]:
    """Nobody sees the camera's picture (RTSP) without a login, checked by Digest (CVE-2023-0349 is a panel that asked for none).

    Some keys have two or three spellings, by firmware; a device skips those it does not know.
    """
    yield "Config.DoorSetting.RTSP.Enable", "1"
    for item in ("Authorization", "AuthEnable", "Authroization", "AuthenticationType"):
        yield f"Config.DoorSetting.RTSP.{item}", "1"
    yield "Config.DoorSetting.RTSP.UserName", CAMERA_USER
    for item in ("Password", "UserPasswd"):
        yield f"Config.DoorSetting.RTSP.{item}", password


def button_value(numbers: tuple[str, ...], button: ButtonKey) -> str:
    """The numbers a button dials: eight places joined by `;` where the firmware knows groups, else the first one."""
    if button is not ButtonKey.LOCAL_PARAM:
        return numbers[0] if numbers else ""
    dialled = numbers[:MAX_BUTTON_NUMBERS]
    return ";".join(dialled + ("",) * (MAX_BUTTON_NUMBERS - len(dialled)))


def relay_lines(relays: tuple[DoorRelay, ...]) -> Iterator[Line]:
    """DTMF codes, hold times and the first relay's name.

    `DTMF.Option` 0 says that codes have one digit; what it says of longer ones no source tells, so then it is not written.
    The hold time of relay A has two spellings, by firmware; a device skips the one it does not know.
    """
    present = relays[: len(RELAY_LETTERS)]
    codes = [relay.dtmf_code for relay in present]
    if any(codes) and all(len(code) <= 1 for code in codes):
        yield "Config.DoorSetting.DTMF.Option", "0"
    for place in range(len(RELAY_LETTERS)):
        yield f"Config.DoorSetting.DTMF.Code{place + 1}", codes[place] if place < len(codes) else ""
    for letter, relay in zip(RELAY_LETTERS, present, strict=False):
        if letter == "A":
            yield "Config.DoorSetting.RELAY.RelayNameA", label(relay.name)
            yield "Config.DoorSetting.RELAY.HoldDelayA", str(relay.hold_seconds)
        yield f"Config.DoorSetting.RELAY.Relay{letter}Delay", str(relay.hold_seconds)
