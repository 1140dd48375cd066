"""`render(device, facts)`: a device's configuration as the exact bytes it fetches.

Pure and deterministic: the same device and facts give the same bytes, on any node, at any time, because devices hash the
file and apply it again when it differs. `compose` gives the same file line by line, each with the layer it came from (layers.py).
"""

from dataclasses import dataclass, field
from itertools import chain

from autop import catalogue
from autop.cfg_format import MAX_URL, write
from autop.commands import settings_of
from autop.errors import RejectedValue
from autop.firmware import Offer, firmware_lines
from autop.layers import Composed, Layer, lay
from autop.profiles.http_api import USER, api_password
from autop.settings import (
    ApiLogin,
    AutopPoll,
    AutopSettings,
    ChannelAddress,
    Clock,
    Contact,
    DeviceSettings,
    DoorRelay,
    SipAccount,
    Syslog,
    poll_time,
)
from registry.records import AccessMethod, Account, Device, DeviceKind, Relay


@dataclass(frozen=True, slots=True)
class Zone:
    """A site's time zone as devices write it: its standard offset from GMT and the city after which it is named."""

    gmt_offset_minutes: int
    city: str = ""


@dataclass(frozen=True, slots=True)
class OneTime:
    """One-Time Autop lines to be delivered. `id` stands in a comment on top: the same lines entered again are other bytes, so a
    device that compares MD5s applies them again."""

    id: str
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """What `render` needs to know beside the device's record. Secrets are in the clear here and only here.

    `token` is the device's autop token. `channel_key` empty: no channel. `door_relays`: relays that an indoor monitor may
    open (ignored for other kinds). `contacts`: whom a guard phone can dial. `zone` None: the device keeps its own.
    `buttons` None: the device's own button numbers. `dial_seconds`: as in DeviceSettings. `commands`: operators' lines by layer,
    but for the device's own, which its record holds.
    `firmware`: the image that the device is to install now. `has_authority`: it has fetched the present `settings.server_ca`.
    `http_api`: whether its site has a connector, which uses the device's HTTP API; None: it never had one, and it is left alone.
    """

    settings: AutopSettings
    token: str = field(repr=False)
    account: Account | None = None
    sip_password: str = field(default="", repr=False)
    web_password: str = field(default="", repr=False)
    channel_key: bytes = field(default=b"", repr=False)
    zone: Zone | None = None
    door_relays: tuple[Relay, ...] = ()
    contacts: tuple[Contact, ...] = ()
    buttons: tuple[str, ...] | None = None
    direct_ip: bool = False
    dial_seconds: int = 0
    commands: tuple[tuple[Layer, tuple[str, ...]], ...] = field(default=(), repr=False)
    one_time: OneTime | None = None
    http_api: bool | None = None
    firmware: Offer | None = None
    has_authority: bool = False


def render(device: Device, facts: Facts) -> bytes:
    """The file `<MAC>.cfg` of this device.

    Raises UnknownModel (the record's model left the catalogue) and RejectedValue (a secret or address the device would misread,
    or a transmission type that the node does not offer): a device keeps its present configuration rather than get a broken one.
    Labels are repaired instead, and autop commands that are not well formed are left out; both are refused where entered.
    """
    return write_lines(compose(device, facts), facts.one_time)


def compose(device: Device, facts: Facts) -> tuple[Composed, ...]:
    """The lines of this device's file with the layer of each. Raises as `render` does, but for what only writing checks."""
    row = catalogue.model(device.model)
    profile = catalogue.PROFILES[device.kind]
    entered = [*facts.commands, (Layer.DEVICE_COMMANDS, device.autop_commands)]
    if facts.one_time is not None:
        entered.append((Layer.ONE_TIME, facts.one_time.lines))
    operator = [(layer, settings_of(lines)) for layer, lines in entered if lines]
    own = profile.lines(device_settings(device, facts), row)
    firmware = firmware_lines(device.model, device.mac, facts.settings.directory(facts.token), facts.firmware)
    return lay(device.kind, chain(own, firmware.items()), operator)


def write_lines(lines: tuple[Composed, ...], one_time: OneTime | None = None) -> bytes:
    """Composed lines as the file. Raises RejectedValue."""
    body = write({line.key: line.value for line in lines})
    return body if one_time is None else b"# One-Time Autop " + one_time.id.encode() + b"\n" + body


def device_settings(device: Device, facts: Facts) -> DeviceSettings:
    """What this device is to be, before any profile: the typed middle between records and keys."""
    return DeviceSettings(
        account=_sip_account(device, facts),
        relays=_relays(facts.door_relays if device.kind is DeviceKind.INDOOR_MONITOR else device.relays),
        button_numbers=_buttons(device) if facts.buttons is None else facts.buttons,
        dial_seconds=facts.dial_seconds,
        contacts=facts.contacts,
        phonebook_url=_file_url(device, facts, ".xml"),
        web_password=facts.web_password,
        clock=_clock(facts),
        poll=_poll(device, facts),
        direct_ip=facts.direct_ip,
        channel=_channel(facts),
        syslog=Syslog(facts.settings.syslog_host, facts.settings.syslog_port),
        authority_url=_file_url(device, facts, ".pem") if facts.settings.server_ca else "",
        checks_servers=bool(facts.settings.server_ca) and facts.has_authority,
        public_pin=any(AccessMethod.PIN in relay.access_methods for relay in device.relays),
        http_api=_http_api(facts),
    )


def _sip_account(device: Device, facts: Facts) -> SipAccount | None:
    account = facts.account
    if account is None:
        return None
    port = facts.settings.sip_port(device.transmission)
    if port == 0:
        raise RejectedValue("SIP.TransType", f"this node does not listen on {device.transmission.name}")
    return SipAccount(
        username=account.username,
        password=facts.sip_password,
        display_name=account.display_name or device.name,
        host=facts.settings.sip_host,
        port=port,
        transmission=device.transmission,
        registration_seconds=facts.settings.registration_seconds,
        enabled=account.enabled,
        backup_host=facts.settings.backup_sip_host,
    )


def _buttons(device: Device) -> tuple[str, ...]:
    return tuple(number for number in device.button_number.split(";") if number)


def _file_url(device: Device, facts: Facts, extension: str) -> str:
    """Where a file of the device's own is; empty where a URL field would not hold it."""
    url = f"{facts.settings.directory(facts.token)}{device.mac.text}{extension}"
    return url if len(url) <= MAX_URL else ""


def _relays(relays: tuple[Relay, ...]) -> tuple[DoorRelay, ...]:
    """A relay that DTMF may not trigger has no code, at the door and at the monitors."""
    return tuple(
        DoorRelay(relay.name, relay.dtmf_code if AccessMethod.DTMF in relay.access_methods else "", relay.hold_seconds)
        for relay in relays
    )


def _clock(facts: Facts) -> Clock | None:
    servers = facts.settings.ntp_servers
    if facts.zone is None:
        return Clock(servers) if servers else None
    return Clock(servers, facts.zone.gmt_offset_minutes, facts.zone.city)


def _poll(device: Device, facts: Facts) -> AutopPoll:
    hour, minute, second = poll_time(device.mac, facts.settings.poll_first_hour, facts.settings.poll_hours)
    return AutopPoll(facts.settings.directory(facts.token), hour, minute, second)


def _http_api(facts: Facts) -> ApiLogin | None:
    if facts.http_api is None or not facts.channel_key:
        return None
    return ApiLogin(USER, api_password(facts.channel_key)) if facts.http_api else ApiLogin()


def _channel(facts: Facts) -> ChannelAddress | None:
    settings = facts.settings
    if not (facts.channel_key and settings.channel_host and settings.channel_port):
        return None
    return ChannelAddress(settings.channel_host, settings.channel_port, facts.channel_key.hex(), settings.channel_ca_sha256)
