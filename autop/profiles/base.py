"""What a device kind must answer: which keys its settings become. And what the catalogue knows of a model.

A file says what a device is to be, whole: what was taken away (a relay's code, a number) is written blank, because a device
keeps whatever its file does not name. A profile writes only keys that a vendor file, a manual or a field driver has for that
kind (akuvox-devices.md section 4; `tests/golden/autop/known-keys.txt` holds it to that), plus the channel's own keys, which
other devices skip.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from autop.cfg_format import label
from autop.settings import KEEP_ALIVE_SECONDS, AutopPoll, ChannelAddress, Clock, DeviceSettings, SipAccount, Syslog
from registry.records import DeviceKind

Line = tuple[str, str]


class ButtonKey(Enum):
    """Under which key a door phone holds what its call button dials."""

    LOCAL_PARAM = "Config.Programable.SOFTKEY01.LocalParam1"  # up to 8 numbers joined by ";", padded (R20A, S5xx)
    PARAM = "Config.Programable.SOFTKEY01.Param1"  # one number (older firmware, Qtech)
    SPEED_DIAL = "Config.Features.SPEEDDIAL.Num01"  # one number


@dataclass(frozen=True, slots=True)
class Model:
    """One model: names of its files and what is peculiar about it.

    `common_file` is the name without `.cfg`, empty where it is not known or there is none. `firmware` is the first number of
    its firmware versions (M of M.C.x.y), `extension` that of its images; None or empty where no source has it: then an image
    is not to be offered. `dtmf_type` is Account.DTMF.Type for RFC 4733 where a source has it for this model (the numbers
    conflict between models). `dtmf_info` is the Content-Type of a key in a SIP INFO that the model takes. `gmt_prefix`: time
    zones are written `GMT+3:00` rather than `+03:00`. `backup_server`: the account's key for the server to fall back to.
    `check_sync`: a source says that it fetches its configuration on a SIP NOTIFY check-sync (akuvox-devices.md section 5).
    """

    name: str
    kind: DeviceKind
    firmware: int | None = None
    common_file: str = ""
    extension: str = ""
    account: str = "Account1"
    button: ButtonKey = ButtonKey.LOCAL_PARAM
    dtmf_type: int | None = None
    dtmf_info: str = "application/dtmf-relay"  # akuvox-devices.md section 5; no source names a model that takes another
    gmt_prefix: bool = True
    has_channel: bool = False
    backup_server: str = "SIP.Server2"
    check_sync: bool = False


class Profile(Protocol):
    """A device kind. Called by `render` for every device of the kind; pure, and the same lines in the same order each time."""

    def lines(self, settings: DeviceSettings, model: Model) -> Iterator[Line]:
        """Keys and values for these settings. Values are not checked here: `cfg_format.write` does, once, for all."""
        ...


def account_lines(account: SipAccount | None, model: Model) -> Iterator[Line]:
    """The SIP account with its server, registration and NAT keys. A disabled one is written without its secret.

    A missing one is blanked: devices keep what a file does not name, and credentials must not outlive their account.
    """
    prefix = f"Config.{model.account}"
    if account is None:
        yield f"{prefix}.GENERAL.Enable", "0"
        for item in ("UserName", "AuthName", "Pwd"):
            yield f"{prefix}.GENERAL.{item}", ""
        return
    yield f"{prefix}.GENERAL.Enable", "1" if account.enabled else "0"
    shown = label(account.display_name) or account.username
    yield f"{prefix}.GENERAL.Label", shown
    yield f"{prefix}.GENERAL.DisplayName", shown
    yield f"{prefix}.GENERAL.UserName", account.username
    yield f"{prefix}.GENERAL.AuthName", account.username
    yield f"{prefix}.GENERAL.Pwd", account.password if account.enabled else ""
    yield f"{prefix}.SIP.Server", account.host
    if account.port is not None:
        yield f"{prefix}.SIP.Port", str(account.port)
    yield f"{prefix}.SIP.TransType", str(int(account.transmission))
    yield f"{prefix}.REG.Timeout", str(account.registration_seconds)
    yield f"{prefix}.NAT.UdpKeepEnable", "1"
    yield f"{prefix}.NAT.UdpKeepInterval", str(KEEP_ALIVE_SECONDS)
    yield f"{prefix}.NAT.Rport", "1"
    if model.dtmf_type is not None:
        yield f"{prefix}.DTMF.Type", str(model.dtmf_type)


def backup_lines(account: SipAccount | None, model: Model, *, has_port: bool = False) -> Iterator[Line]:
    """Where the account registers when its server does not answer; blank where nowhere. Not for indoor monitors: no source."""
    host = account.backup_host if account is not None else ""
    yield f"Config.{model.account}.{model.backup_server}", host
    if account is None or not host:
        return
    if has_port and account.port is not None:
        yield f"Config.{model.account}.SIP.Port2", str(account.port)
    yield f"Config.{model.account}.REG.Timeout2", str(account.registration_seconds)


def server_check_lines(settings: DeviceSettings) -> Iterator[Line]:
    """Whose servers the device trusts in TLS. The factory's default is everybody's. Only monitors and phones have keys for it."""
    yield "Config.Certificate.01.Url", settings.authority_url
    yield "Config.Settings.SECURITY.OnlyAcceptTrusted", "1" if settings.checks_servers else "0"


def redirect_lines() -> Iterator[Line]:
    """The vendor's redirect server, asked over plain HTTP, is turned off; the factory's default is on."""
    yield "Config.DoorSetting.CLOUDSERVER.RpsEnable", "0"


def shared_lines(settings: DeviceSettings, model: Model) -> Iterator[Line]:
    """What every kind has: direct-IP calls, web login, log, time, autop, channel."""
    yield "Config.Settings.GENERAL.DirectIP", "1" if settings.direct_ip else "0"
    if settings.web_password:
        yield "Config.Settings.WEB_LOGIN.Password", settings.web_password
    yield from _syslog_lines(settings.syslog)
    if settings.clock is not None:
        yield from _clock_lines(settings.clock, model)
    if settings.poll is not None:
        yield from _poll_lines(settings.poll)
    if settings.channel is not None and model.has_channel:
        yield from _channel_lines(settings.channel)


def _syslog_lines(syslog: Syslog) -> Iterator[Line]:
    yield "Config.Settings.LOGLEVEL.RemoteSyslog", "1" if syslog.host else "0"
    yield "Config.Settings.LOGLEVEL.RemoteServer", syslog.host


def _clock_lines(clock: Clock, model: Model) -> Iterator[Line]:
    if clock.ntp_servers:
        yield "Config.Settings.SNTP.Enable", "1"
    for place, server in enumerate(clock.ntp_servers, 1):
        yield f"Config.Settings.SNTP.NTPServer{place}", server
    if clock.gmt_offset_minutes is not None:
        yield "Config.Settings.SNTP.TimeZone", _zone(clock.gmt_offset_minutes, model)
        if clock.city:
            yield "Config.Settings.SNTP.Name", label(clock.city)


def _zone(minutes: int, model: Model) -> str:
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    return f"GMT{sign}{hours}:{rest:02d}" if model.gmt_prefix else f"{sign}{hours:02d}:{rest:02d}"


def _poll_lines(poll: AutopPoll) -> Iterator[Line]:
    yield "Config.Autoprovision.GENERAL.Url", poll.url
    yield "Config.Autoprovision.PNP.Enable", "0"  # from now on nobody on its LAN tells it where to fetch
    yield "Config.Autoprovision.MODE.Mode", "3"  # at power-on and repeatedly
    yield "Config.Autoprovision.SCHEDULE.DayOfWeek", "0"  # daily
    yield "Config.Autoprovision.SCHEDULE.HourOfDay", str(poll.hour)
    yield "Config.Autoprovision.SCHEDULE.MinuteOfHour", str(poll.minute)
    yield "Config.Autoprovision.SCHEDULE.SecondOfMinute", str(poll.second)


def _channel_lines(channel: ChannelAddress) -> Iterator[Line]:
    yield "Config.Portico.CHANNEL.Enable", "1"
    yield "Config.Portico.CHANNEL.Server", channel.host
    yield "Config.Portico.CHANNEL.Port", str(channel.port)
    yield "Config.Portico.CHANNEL.Key", channel.key
    if channel.ca_sha256:
        yield "Config.Portico.CHANNEL.CaSha256", channel.ca_sha256
