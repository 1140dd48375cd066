"""One frozen `Config`: every key of portico.toml is documented here. The defaults are a working gateway (DESIGN.md section 4).
`config_file.py` reads it; an unknown key or a bad value is an error that names the file, the key and what is allowed.
"""

import ipaddress
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

OFF = -1
"""The port number that says "this listener is off"."""

Port = Annotated[int, Field(ge=OFF, le=65535)]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
DnsName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$")
]
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[A-Za-z0-9.:\[\]-]{1,253})$")]
PushProvider = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,32}$")]
Instance = Annotated[str, StringConstraints(pattern=r"^([0-9.]{7,15}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}$")]
WILDCARDS = ("0.0.0.0", "::")
"""The addresses that mean every address of this machine."""


def _addresses(value: object) -> tuple[str, ...]:
    """One IP address or a list of them, one of a family, as a tuple. Raises ValueError."""
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, tuple) or not all(isinstance(one, str) for one in given):
        raise ValueError("an IP address, or a list of them")
    families = [ipaddress.ip_address(one).version for one in given]
    if not families or len(set(families)) < len(families):
        raise ValueError("one IPv4 address, one IPv6 address, or one of each")
    return given


Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]
AddressesOrNone = Annotated[tuple[str, ...], BeforeValidator(lambda value: () if value == () else _addresses(value))]


def _networks(value: object) -> tuple[str, ...]:
    """Networks as "address/prefix", or single addresses. Raises ValueError."""
    if not isinstance(value, tuple) or not value or not all(isinstance(one, str) for one in value):
        raise ValueError("a list of networks, as address/prefix")
    return tuple(str(ipaddress.ip_network(one)) for one in value)


Networks = Annotated[tuple[str, ...], BeforeValidator(_networks)]
Interface = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@:-]{1,15}$")]
PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)


class Section(BaseModel):
    """A table of portico.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Listen(Section):
    """Where the listeners are. Port 0 picks a free one, -1 turns the listener off."""

    address: Addresses = Field(
        default=("0.0.0.0",),
        description='Address of the listeners that devices and visitors reach; for both families a list: ["0.0.0.0", "::"]. '
        "With both, name the gateway in public.host: an IPv6 device cannot dial an IPv4 address.",
    )
    admin_address: HostName = Field(
        default="127.0.0.1", description="Address of the admin API and console; keep it off the internet."
    )
    metrics_address: HostName = Field(default="127.0.0.1", description="Address of /metrics, /livez and /readyz.")
    sip_udp: Port = Field(default=5060, description="SIP over UDP.")
    sip_tcp: Port = Field(default=5060, description="SIP over TCP.")
    sip_tls: Port = Field(
        default=5061,
        description="SIP over TLS.",
    )
    sip_ws: Port = Field(default=5066, description="SIP over WebSocket (RFC 7118), for browsers behind a TLS proxy of yours.")
    sip_wss: Port = Field(default=5067, description="SIP over secure WebSocket.")
    autop_https: Port = Field(default=8443, description="Auto-provisioning over HTTPS.")
    autop_http: Port = Field(
        default=OFF, description="Auto-provisioning without TLS, for devices that cannot do better; off by default."
    )
    tftp: Port = Field(
        default=OFF, description="Auto-provisioning over TFTP (69 is what devices expect), in the clear; off by default."
    )
    channel: Port = Field(default=7443, description="The TLS channel of devices and connectors.")
    remote_control: Port = Field(default=9443, description="Remote Control: device web pages for visitors' browsers.")
    admin: Port = Field(default=8088, description="Admin API and its documentation.")
    metrics: Port = Field(default=9464, description="Prometheus metrics and health.")


class Public(Section):
    """How the outside names this gateway."""

    host: HostName | None = Field(
        default=None, description="Name or address that devices dial; default: this machine's own address."
    )


class Sip(Section):
    """The SIP registrar and proxy."""

    realm: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        default="portico", description="Digest realm. Changing it makes every device log in afresh."
    )
    algorithms: Annotated[tuple[Literal["SHA-512-256", "SHA-256", "MD5"], ...], Field(min_length=1)] = Field(
        default=("SHA-512-256", "SHA-256", "MD5"),
        description="Digest algorithms offered, in this order (RFC 8760: strongest first). Devices that give up on a challenge "
        'they do not know want ["MD5"] alone; SIP stacks in web pages read the last and know MD5 only. A short request over UDP '
        "(below some 490 octets) is offered fewer.",
    )
    domains: tuple[HostName, ...] = Field(default=(), description="Further host names and addresses that mean this gateway.")
    min_expires: Annotated[int, Field(ge=10, le=3600)] = Field(
        default=60, description="Shortest registration, seconds (else 423)."
    )
    max_expires: Annotated[int, Field(ge=60, le=86400)] = Field(
        default=3600, description="Longest registration granted, seconds."
    )
    registration_seconds: Annotated[int, Field(ge=30, le=65535)] = Field(
        default=300, description="Registration time written into devices' configurations, seconds."
    )
    websocket_origins: tuple[Origin, ...] = Field(
        default=(),
        description='Origins whose pages may open SIP WebSockets; none: pages of this host; "*": all. '
        "Clients that are no browser send no Origin and are always let in.",
    )
    stream_idle_seconds: Annotated[int, Field(ge=30, le=86400)] = Field(
        default=660,
        description="Silence after which a SIP connection is closed, seconds; longer than two registrations, "
        "because not every device pings.",
    )
    trunk_ca: Path | None = Field(
        default=None,
        description="PEM file: certificate authorities of trunks' TLS gateways, beside the system's.",
        strict=False,
    )


class Autop(Section):
    """Auto-provisioning: what every device's configuration says, and how devices log in."""

    ntp_servers: Annotated[tuple[HostName, ...], Field(max_length=2)] = Field(
        default=(), description="Time servers of devices, two at most; none: they keep their own. TLS needs the right time."
    )
    syslog_host: HostName | None = Field(default=None, description="Where devices send their logs (UDP), or nowhere.")
    syslog_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=514, description="Its port. Only door phones and access control can be told one; others use 514."
    )
    check_servers: bool = Field(
        default=False,
        description="Indoor monitors and guard phones check the certificates of TLS servers, by the authority of server_ca, "
        "from when they have fetched it. Try it with one device first: what files a model takes is not documented.",
    )
    server_ca: Path | None = Field(
        default=None, description="PEM file: that authority; default: the local CA, where the gateway made it.", strict=False
    )
    backup_sip_host: HostName | None = Field(
        default=None,
        description="Where devices register while this gateway does not answer: another node, with the same ports. Indoor "
        "monitors have no key for it.",
    )
    poll_first_hour: Annotated[int, Field(ge=0, le=23)] = Field(
        default=1, description="Devices fetch their configuration daily, each at its own second, from this hour of theirs..."
    )
    poll_hours: Annotated[int, Field(ge=1, le=24)] = Field(default=4, description="... on, for so many hours.")
    login_algorithms: tuple[Literal["MD5", "SHA-256"], ...] = Field(
        default=("MD5", "SHA-256"),
        description="HTTP Digest algorithms offered at /autop/<MAC>.cfg, in this order (user: the MAC, password: the device's "
        "token). Some clients look at the first alone, old ones know MD5 alone; none: no logins, only tokens in URLs.",
    )


class Push(Section):
    """Waking apps that sleep (RFC 8599). Without a driver, apps are not woken."""

    webhook_url: str | None = Field(
        default=None, description="Where pushes are POSTed as signed JSON (docs/push.md): an http or https URL of yours."
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="File with the secret that signs them, 16 bytes at least.", strict=False
    )
    webhook_providers: Annotated[tuple[PushProvider, ...], Field(min_length=1)] = Field(
        default=("apns", "fcm", "webpush"),
        description="pn-provider values of apps that are woken by the webhook; fcm goes to its own driver where that is on.",
    )
    fcm_service_account: Path | None = Field(
        default=None,
        description="JSON key file of a service account: turns the driver for Firebase Cloud Messaging on.",
        strict=False,
    )
    fcm_url: str = Field(default="https://fcm.googleapis.com", description="Where FCM's HTTP v1 API is.")
    ca_file: Path | None = Field(
        default=None, description="PEM file: a CA of your own for these URLs, instead of the system's.", strict=False
    )


class Media(Section):
    """Media of calls. Where both ends share a network it goes directly, unless relay = "always"."""

    engine: Literal["off", "relay", "rtpengine"] = Field(
        default="off",
        description='"off": SDP passes untouched; "relay": the built-in RTP relay; "rtpengine": one or more rtpengines.',
    )
    relay: Literal["auto", "always"] = Field(
        default="auto",
        description='"auto": calls within one network go directly; "always": none does, for where source addresses tell nothing '
        "(a load balancer or a container's NAT in front of this machine, phones behind one carrier's NAT).",
    )
    first_port: Annotated[int, Field(ge=1024, le=65534)] = Field(
        default=20000, description="The relay's UDP ports, from here; an audio call takes four, with video eight."
    )
    last_port: Annotated[int, Field(ge=1025, le=65535)] = Field(
        default=23999, description="... to here. Keep clear of the ports the system gives to programs (32768 and up on Linux)."
    )
    addresses: AddressesOrNone = Field(
        default=(), description="The relay's own addresses, one IPv4 and one IPv6 at most; none: the address of the listeners."
    )
    public_addresses: AddressesOrNone = Field(
        default=(),
        description="What peers are told in place of the address of that family, where a NAT stands before this machine.",
    )
    rtpengine: Annotated[tuple[Instance, ...], Field(max_length=16)] = Field(
        default=(),
        description='ng listeners of the rtpengines, as "192.0.2.1:2223". Run them with --endpoint-learning=immediate or off.',
    )


class RemoteControl(Section):
    """Remote Control sessions."""

    domain: DnsName = Field(default="remote.localhost", description="Wildcard domain: each session is one host name under it.")
    ports: Annotated[str, StringConstraints(pattern=r"^([0-9]{1,5}-[0-9]{1,5})?$")] = Field(
        default="",
        description='Where there is no wildcard domain: "9500-9531" gives each session its own port at public.host, at most 256. '
        "A browser then has one session at a time. Give that name to nothing else that sets cookies (docs/remote-control.md).",
    )

    @property
    def port_range(self) -> tuple[int, ...]:
        """The sessions' own ports; none where sessions have host names."""
        first, dash, last = self.ports.partition("-")
        return tuple(range(int(first), int(last) + 1)) if dash else ()


class Tftp(Section):
    """TFTP (listen.tftp), in the clear: for devices on a LAN that can do nothing else."""

    networks: Networks = Field(
        default=PRIVATE_NETWORKS, description="Who is answered, as address/prefix; default: private and link-local addresses."
    )


class Pnp(Section):
    """SIP PnP: devices on the LAN ask the group 224.0.1.75 for their URL. Who is told one: docs/autop.md."""

    interfaces: tuple[Interface, ...] = Field(
        default=(), description='Network interfaces of this machine on which devices are heard, as ["eth0"]; none: PnP is off.'
    )
    networks: Networks = Field(default=PRIVATE_NETWORKS, description="Who is answered, as address/prefix.")


class KeyPair(Section):
    """A certificate and its key."""

    certificate: Path = Field(description="PEM file: the certificate and its chain.", strict=False)
    key: Path = Field(description="PEM file: the certificate's private key.", strict=False)


class Tls(Section):
    """Certificates. Without them the gateway makes a local CA in its state folder and signs its own."""

    certificate: Path | None = Field(
        default=None, description="PEM file: this gateway's certificate and its chain.", strict=False
    )
    key: Path | None = Field(default=None, description="PEM file: the certificate's private key.", strict=False)
    certificates: tuple[KeyPair, ...] = Field(
        default=(),
        description="Further pairs, each a [[tls.certificates]] with certificate and key. A client gets the one for the server "
        "name it asks for (SNI; wildcards count), others get the first of all. SIGHUP reads all files again.",
    )
    device_ca: Path | None = Field(
        default=None,
        description="PEM file: authorities of yours for devices' certificates. Devices are then asked for one at autop_https and "
        "at the channel; one whose common name or DNS name is its MAC proves that MAC. Devices that present any other "
        "certificate cannot connect any more, so leave it off where devices carry their vendor's.",
        strict=False,
    )

    @property
    def pairs(self) -> tuple[tuple[Path, Path], ...]:
        """All certificates with their keys. The first is for clients that ask for no name that we have."""
        first = () if self.certificate is None or self.key is None else ((self.certificate, self.key),)
        return (*first, *((one.certificate, one.key) for one in self.certificates))


class Log(Section):
    """JSON lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is said.")


class Config(Section):
    """Everything an operator may set."""

    node: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        default="node-1", description="This node's name among the nodes that share a store."
    )
    listen: Listen = Listen()
    public: Public = Public()
    sip: Sip = Sip()
    autop: Autop = Autop()
    push: Push = Push()
    media: Media = Media()
    tftp: Tftp = Tftp()
    pnp: Pnp = Pnp()
    remote_control: RemoteControl = RemoteControl()
    tls: Tls = Tls()
    log: Log = Log()

    @property
    def public_host(self) -> str:
        """The name or address that devices dial."""
        if self.public.host:
            return self.public.host
        first = self.listen.address[0]
        return first if first not in WILDCARDS else own_address(ipv6=first == "::")


def own_address(*, ipv6: bool = False) -> str:
    """The address of the interface that leads out of this machine, or loopback. Sends nothing."""
    family, outside, loopback = (socket.AF_INET6, "2001:db8::1", "::1") if ipv6 else (socket.AF_INET, "192.0.2.1", "127.0.0.1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((outside, 9))  # documentation's addresses: connecting a UDP socket only asks the routing table
            return str(probe.getsockname()[0])
        except OSError:
            return loopback
