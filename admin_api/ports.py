"""What the API needs from the gateway around it. The composition root fills `AdminPorts`; nothing here has a default that
reads a clock or draws chance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from registry.mac import MacAddress
from registry.records import Device, DeviceKind
from registry.store import Store
from registry.vault import Vault


@dataclass(frozen=True, slots=True)
class Presence:
    """What the node knows about a device now. `last_seen` is wall-clock seconds, None if it never was seen."""

    registered: bool = False
    channel: bool = False
    last_seen: float | None = None

    @property
    def online(self) -> bool:
        """Whether the device can be reached in some way."""
        return self.registered or self.channel


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


class RequestObserver(Protocol):
    """Counts requests. Called once per request; must not raise."""

    def __call__(self, route: str, method: str, code: int, seconds: float) -> None:
        """`route` is the template of the path ("unmatched" for none), `method` a known one or "other": bounded label values."""
        ...


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """Bounds of the API (DESIGN.md section 6). Seconds and bytes."""

    body: int = 1024 * 1024
    request_seconds: float = 30.0
    heartbeat_seconds: float = 15.0
    streams: int = 100
    streams_per_token: int = 10


@dataclass(frozen=True, slots=True)
class AdminPorts:
    """Everything the API uses.

    - `wall()`: wall-clock seconds; `monotonic()`: seconds for measuring; `entropy(n)`: n unpredictable bytes.
    - `autop_url(mac, token)`: the directory URL a device is given; at most 127 characters (its field holds no more).
    - `remote_link(session id, link path)`: the URL that opens a Remote Control session.
    - `presence(device)`, `trunk_presence(trunk id)`: answered from memory. `known_models()`: model name -> its usual kind.
    - `observer`: told of every request.
    """

    store: Store
    vault: Vault
    entropy: Callable[[int], bytes]
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    autop_url: Callable[[MacAddress, str], str]
    remote_link: Callable[[str, str], str]
    presence: Callable[[Device], Presence]
    trunk_presence: Callable[[str], TrunkPresence]
    known_models: Callable[[], Mapping[str, DeviceKind]]
    observer: RequestObserver
    limits: AdminLimits = AdminLimits()
