"""What the API needs from the gateway around it. The composition root fills `AdminPorts`; nothing here has a default that
reads a clock or draws chance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from autop.net.configurations import Preview
from autop.net.operator_lines import LinesChange
from registry.door_log import Opening
from registry.mac import MacAddress
from registry.records import Device, DeviceKind, RemoteSession
from registry.store import Store
from registry.vault import Vault


@dataclass(frozen=True, slots=True)
class Presence:
    """What the node knows about a device now. Times are wall-clock seconds.

    `since`: when it came online (by the way that has been there longest), or went offline; None where this node has not seen it
    do so. `last_seen` is None if it never was seen.
    """

    registered: bool = False
    channel: bool = False
    last_seen: float | None = None
    connector: bool = False
    since: float | None = None
    doubted: bool = False
    """Its channel ended after its last REGISTER: the registration says nothing until it is refreshed."""

    @property
    def online(self) -> bool:
        """Whether the device can be reached in some way."""
        return bool(self.ways)

    @property
    def ways(self) -> tuple[str, ...]:
        """How it can be reached: channel, connector, sip."""
        sip = self.registered and not self.doubted
        ways = (("channel", self.channel), ("connector", self.connector), ("sip", sip))
        return tuple(way for way, there in ways if there)


@dataclass(frozen=True, slots=True)
class TrunkGatewayPresence:
    """One gateway of a trunk as this node sees it: "up", "down" or "unknown", since when (wall-clock seconds)."""

    address: str
    state: str
    since: float


@dataclass(frozen=True, slots=True)
class TrunkPresence:
    """What this node knows about a trunk now. `registered` is None where it does not register or is disabled."""

    registered: bool | None = None
    since: float | None = None
    failure: str = ""
    calls: int = 0
    gateways: tuple[TrunkGatewayPresence, ...] = ()


class Commanded(StrEnum):
    """What became of a command to open a relay."""

    OPENED = "opened"
    """The device says that it has opened it."""
    REFUSED = "refused"
    """The device says that it has not."""
    UNREACHABLE = "unreachable"
    """There is no way to the device now: it was not asked."""
    SILENT = "silent"
    """The device did not answer in time: it may or may not have."""


class DoorOpener(Protocol):
    """Commands to open relays, over the devices' channels and connectors."""

    async def permits(self, account: str, device: Device) -> bool:
        """Whether this SIP account is an app's that may open relays of this device. Raises StoreUnavailable."""
        ...

    def talking(self, account: str, door: str) -> str:
        """The Call-ID of an answered call between these two SIP accounts that goes on now, "" if there is none."""
        ...

    async def open(self, device: Device, relay: int, command: bytes, opening: Opening) -> tuple[Commanded, str]:
        """Have `relay` (from 1) opened; `command` (16 bytes) names the wish, so that a repetition has no second effect.

        Returns what became of it, within 3 seconds, and the device's word where it refused. Raises nothing.
        """
        ...

    def refused(self, device: Device, relay: int, actor: str, account: str, reason: str) -> None:
        """Count and audit that an opening was refused, or came to nothing. `reason` is one of a fixed set."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """What a device, or the connector in front of it, answered: by which way, whether it did it, and the body of the RESULT."""

    way: str
    ok: bool
    body: Mapping[str, Any]


class DeviceCalls(Protocol):
    """Questions to devices, whichever way they are reached (docs/tunnel-protocol.md sections 8 and 11)."""

    async def ask(self, mac: MacAddress, name: str, body: Mapping[str, Any]) -> DeviceAnswer | None:
        """None where the device cannot be reached now. Raises TimeoutError."""
        ...


class Previews(Protocol):
    """What devices would fetch (`autop.net.configurations.Configurations`)."""

    async def preview(self, mac: MacAddress, change: LinesChange | None = None) -> Preview | None:
        """None: no such device. Raises AutopError, BadSeal and RegistryError."""
        ...


class FirmwareDraft(Protocol):
    """A firmware image that is being uploaded. Ends with `keep` or `discard`; `discard` after `keep` does nothing."""

    @property
    def size(self) -> int:
        """Bytes written."""
        ...

    async def write(self, content: bytes) -> None:
        """Add bytes. Raises OSError."""
        ...

    async def digest(self) -> str:
        """The SHA-256 (hexadecimal) of what was written. Raises OSError."""
        ...

    async def keep(self, image: str) -> None:
        """Give the file its name; it survives a power cut from here on. Raises OSError."""
        ...

    def discard(self) -> None: ...


class FirmwareShelf(Protocol):
    """Where the bytes of firmware images are kept."""

    def begin(self, size: int) -> FirmwareDraft:
        """A place for a new file. Raises OSError: ENOSPC where there is no room, EBUSY where too many are under way."""
        ...

    def has(self, image: str) -> bool:
        """Whether the bytes of this image are there."""
        ...

    def remove(self, image: str) -> None:
        """Remove them; what is not there is no error."""
        ...


class RequestObserver(Protocol):
    """Counts requests. Called once per request; must not raise."""

    def __call__(self, route: str, method: str, code: int, seconds: float) -> None:
        """`route` is the template of the path ("unmatched" for none), `method` a known one or "other": bounded label values."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteControl:
    """How sessions are reached.

    - `link(session, link path)`: the URL that opens a session.
    - `ports`: those of which each session gets one of its own; none where sessions have host names.
    - `forward_address()`: host and port that `portico forward` dials.
    """

    link: Callable[[RemoteSession, str], str]
    ports: Sequence[int]
    forward_address: Callable[[], tuple[str, int]]


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """Bounds of the API (DESIGN.md section 6). Seconds and bytes."""

    body: int = 1024 * 1024
    request_seconds: float = 30.0
    heartbeat_seconds: float = 15.0
    streams: int = 100
    streams_per_token: int = 10
    firmware: int = 512 * 1024 * 1024
    firmware_seconds: float = 1800.0


@dataclass(frozen=True, slots=True)
class AdminPorts:
    """Everything the API uses.

    - `wall()`: wall-clock seconds; `monotonic()`: seconds for measuring; `entropy(n)`: n unpredictable bytes.
    - `autop_url(mac, token)`: the directory URL a device is given; at most 127 characters (its field holds no more).
    - `enrolment_url(token)`: as `autop_url`, for an enrolment window's token.
    - `remote_control`: how Remote Control sessions are reached.
    - `presence(device)`, `trunk_presence(trunk id)`: answered from memory. `known_models()`: model name -> its usual kind.
    - `doors`: commands to open relays. `devices`: questions to devices. `configurations`: rendered for an operator, never sent.
    - `firmware`: where uploaded images lie.
    - `observer`: told of every request.
    """

    store: Store
    vault: Vault
    entropy: Callable[[int], bytes]
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    autop_url: Callable[[MacAddress, str], str]
    enrolment_url: Callable[[str], str]
    remote_control: RemoteControl
    presence: Callable[[Device], Presence]
    trunk_presence: Callable[[str], TrunkPresence]
    known_models: Callable[[], Mapping[str, DeviceKind]]
    doors: DoorOpener
    devices: DeviceCalls
    configurations: Previews
    firmware: FirmwareShelf
    observer: RequestObserver
    limits: AdminLimits = AdminLimits()
