"""What a trunk core holds of each trunk: its configuration, its gateways' rounds and health, its registration."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, NamedTuple, Protocol

from registry.trunk import Trunk, TrunkGateway
from sip.client_transaction import ClientTransaction
from sip.deadlines import Timed
from sip.flow import Flow
from sip.trunk_credentials import TrunkCredentials
from sip.trunk_gateways import UNKNOWN, UP, Health
from sip.trunk_registration import TrunkRegistration

IDLE: Final = "idle"
RESOLVING: Final = "resolving"
DIALLING: Final = "dialling"
PROBING: Final = "probing"


@dataclass(frozen=True, slots=True)
class TrunkFacts:
    """A trunk with its password opened."""

    trunk: Trunk
    password: bytes = field(default=b"", repr=False)


class GatewayState(NamedTuple):
    """`state` is "unknown", "up" or "down"; `since` in the core's seconds."""

    address: str
    state: str
    since: float


class TrunkState(NamedTuple):
    """What is known of a trunk now. `registered` is None where it does not register; `failure` is why it is not registered."""

    registered: bool | None
    since: float
    failure: str
    calls: int
    gateways: tuple[GatewayState, ...]


class GatewaySink(Protocol):
    """What a gateway needs of the core around it."""

    def gateway_due(self, one: "Gateway", now: float) -> None:
        """Its deadline has come."""
        ...


class Gateway(Timed):
    """One gateway's round and its health. `serial` makes its name good for this configuration only."""

    __slots__ = ("_core", "address", "config", "flow", "health", "name", "port", "probe", "stage", "trunk")

    def __init__(self, core: GatewaySink, trunk: str, config: TrunkGateway, name: str, now: float) -> None:
        super().__init__()
        self._core = core
        self.trunk = trunk
        self.config = config
        self.name = name
        self.health = Health(now)
        self.stage: str = IDLE
        self.address = ""
        self.port = 0
        self.flow: Flow | None = None
        self.probe: ClientTransaction | None = None

    def fire(self, now: float) -> None:
        self._core.gateway_due(self, now)

    @property
    def shown(self) -> str:
        """Host and port as the configuration has them."""
        return f"{self.config.host}:{self.config.port}" if self.config.port else self.config.host


class ConfiguredTrunk:
    """One configured trunk with its gateways and, if it registers, its registration."""

    __slots__ = ("credentials", "facts", "failure", "gateways", "over", "registration", "said", "since")

    def __init__(self, facts: TrunkFacts, credentials: TrunkCredentials, now: float) -> None:
        self.facts = facts
        self.credentials = credentials
        self.gateways: list[Gateway] = []
        self.registration: TrunkRegistration | None = None
        self.over = ""
        """The flow that the last REGISTER was sent over."""
        self.said = ""
        """The flow that it was last said to be registered over."""
        self.since = now
        self.failure = ""


def best(trunk: ConfiguredTrunk) -> Gateway | None:
    """The first gateway that is up, else the first that may be; of those that have a flow."""
    for state in (UP, UNKNOWN):
        for one in trunk.gateways:
            if one.flow is not None and one.health.state == state:
                return one
    return None


def gateway_uri(config: TrunkGateway) -> bytes:
    """The Request-URI of a probe: the gateway itself."""
    text = "sip:" + bracketed(config.host)
    if config.port:
        text += f":{config.port}"
    if config.transport.value != "udp":
        text += f";transport={config.transport.value}"
    return text.encode("ascii", "replace")


def bracketed(host: str) -> str:
    """A host as it stands in a URI."""
    return f"[{host}]" if ":" in host and host[0] != "[" else host


def literal(host: str) -> str:
    """The host if it is an IP literal, in its one spelling; else ""."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return ""
