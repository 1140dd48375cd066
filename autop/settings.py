"""What a device is to be, as typed values; profiles turn them into keys.

`AutopSettings` is what is the same for the whole node and comes from the composition root. The rest describes one device.
Passwords and keys are kept out of every repr.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

from registry.mac import MacAddress
from registry.records import Transmission

KEEP_ALIVE_SECONDS = 30
"""Between two UDP keep-alives: the devices' own default, and shorter than the common NAT's 60 s."""
MAX_SPEED_DIALS = 12
"""Speed-dial places of a guard phone."""
MAX_BUTTON_NUMBERS = 8
"""Numbers a door phone's button dials at once."""


@dataclass(frozen=True, slots=True)
class AutopSettings:
    """The node's part of every configuration.

    `autop_url` is the public directory without a token, for example `https://gate.example:8443/autop`.
    `registration_seconds`: 30 to 65535 (the devices' range; factory 1800, too long for a fail-over).
    A port of 0 means the transport is off, and an empty channel host that there is no channel.
    `channel_ca_sha256`: SHA-256 (hex) of the DER certificate that a device may pin its channel to.
    `backup_sip_host`: where devices register while `sip_host` does not answer, on the same ports; empty: nowhere.
    `server_ca`: the authority (PEM) that devices check their servers by, once they have it; empty: they check nothing.
    `ntp_servers`: two at most; none: devices keep theirs. `syslog_host` empty: devices send none.
    Devices poll daily, each at its own second of the `poll_hours` hours that begin at `poll_first_hour` (their local time).
    """

    sip_host: str
    autop_url: str
    registration_seconds: int
    sip_udp_port: int = 0
    sip_tcp_port: int = 0
    sip_tls_port: int = 0
    channel_host: str = ""
    channel_port: int = 0
    channel_ca_sha256: str = ""
    backup_sip_host: str = ""
    ntp_servers: tuple[str, ...] = ()
    syslog_host: str = ""
    syslog_port: int = 514
    server_ca: bytes = field(default=b"", repr=False)
    poll_first_hour: int = 1
    poll_hours: int = 4

    def __post_init__(self) -> None:
        if not 30 <= self.registration_seconds <= 65535:
            raise ValueError("registration_seconds must be between 30 and 65535")
        if not (0 <= self.poll_first_hour <= 23 and 1 <= self.poll_hours <= 24):
            raise ValueError("poll_first_hour must be between 0 and 23, poll_hours between 1 and 24")

    def sip_port(self, transmission: Transmission) -> int | None:
        """The port to write for this transmission type; None for DNS-SRV, which finds its own."""
        match transmission:
            case Transmission.UDP:
                return self.sip_udp_port
            case Transmission.TCP:
                return self.sip_tcp_port
            case Transmission.TLS:
                return self.sip_tls_port
        return None

    def directory(self, token: str) -> str:
        """The URL a device with this token holds; it appends file names to it."""
        return f"{self.autop_url.rstrip('/')}/{token}/"


@dataclass(frozen=True, slots=True)
class SipAccount:
    """The account a device registers with, and where. `port` None: found by DNS-SRV. `backup_host`: where else, or empty."""

    username: str
    password: str = field(repr=False)
    display_name: str
    host: str
    port: int | None
    transmission: Transmission
    registration_seconds: int
    enabled: bool = True
    backup_host: str = ""


@dataclass(frozen=True, slots=True)
class DoorRelay:
    """One relay as the device has it: `dtmf_code` opens it, `hold_seconds` is how long it stays open."""

    name: str
    dtmf_code: str
    hold_seconds: int


@dataclass(frozen=True, slots=True)
class Contact:
    """A name and the number that dials it."""

    name: str
    number: str


@dataclass(frozen=True, slots=True)
class Clock:
    """Time on the device: `gmt_offset_minutes` None leaves the device's zone alone; `city` may be empty."""

    ntp_servers: tuple[str, ...]
    gmt_offset_minutes: int | None = None
    city: str = ""


@dataclass(frozen=True, slots=True)
class AutopPoll:
    """Where a device fetches from next time (`url` holds its token) and at which time of day."""

    url: str = field(repr=False)
    hour: int
    minute: int
    second: int


@dataclass(frozen=True, slots=True)
class Syslog:
    """Where a device sends its log by UDP; an empty host: nowhere."""

    host: str = ""
    port: int = 514


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """Where a device with a channel dials to, and the key (hex) it proves itself with."""

    host: str
    port: int
    key: str = field(repr=False)
    ca_sha256: str = ""


@dataclass(frozen=True, slots=True)
class ApiLogin:
    """The login of the device's local HTTP API; both empty: the API is to be shut."""

    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Everything a profile may write for one device. What is None, or an empty web password, is not written.

    `dial_seconds`: how long a panel must keep dialling, if longer than by itself. `phonebook_url` holds the device's token.
    `authority_url`: where the authority is that it `checks_servers` by; holds its token.
    `public_pin`: whether a common PIN may open any relay.
    """

    account: SipAccount | None = None
    relays: tuple[DoorRelay, ...] = ()
    button_numbers: tuple[str, ...] = ()
    dial_seconds: int = 0
    contacts: tuple[Contact, ...] = ()
    phonebook_url: str = field(default="", repr=False)
    web_password: str = field(default="", repr=False)
    clock: Clock | None = None
    poll: AutopPoll | None = None
    direct_ip: bool = False
    channel: ChannelAddress | None = None
    syslog: Syslog = Syslog()
    authority_url: str = field(default="", repr=False)
    checks_servers: bool = False
    public_pin: bool = True
    http_api: ApiLogin | None = None


def poll_time(mac: MacAddress, first_hour: int, hours: int) -> tuple[int, int, int]:
    """Hour, minute and second at which this device polls: spread by a hash, so that a fleet never polls in one second.

    The factory preset (Sunday 22:00:00) and a site's power cut both make herds (akuvox-devices.md section 3).
    """
    place = int.from_bytes(hashlib.sha256(mac.text.encode()).digest()[:8]) % (hours * 3600)
    return (first_hour + place // 3600) % 24, place // 60 % 60, place % 60


CAMERA_USER = "portico"
"""Who views a door phone's camera by RTSP."""


def camera_password(web_password: str) -> str:
    """The password of a device's camera, 16 letters and digits (80 bits).

    Follows from the web page's and does not lead back to it: who is given the camera gets no settings.
    """
    made = hmac.new(web_password.encode(), b"portico/rtsp", hashlib.sha256).digest()
    return base64.b32encode(made[:10]).decode("ascii").lower()
