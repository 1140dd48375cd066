"""Connectors: the programs on sites' LANs that speak for devices without a channel of their own, and where those devices are.

A connector proves itself with one of its site tokens. A new token (rotation) is valid beside the old one until it is used, so
that nobody locks himself out of a site far away.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from registry.mac import MacAddress

MAX_CONNECTORS = 16
"""Connectors of one site that are not revoked."""
MAX_KEY_NUMBER = 9999
_NAME = re.compile(r"[a-z2-7]{16}[0-9]{4}", re.ASCII)
_PRIVATE = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
_DOTTED = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ConnectorName:
    """What a connector says it is: its id (16 characters of lower-case base32), then the number of its token (4 digits)."""

    text: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.text):
            raise ValueError("a connector's name is 16 of a-z 2-7, then 4 digits")

    @classmethod
    def of(cls, id_: str, number: int) -> "ConnectorName":
        """The name of this connector with its token of this number. Raises ValueError."""
        return cls(f"{id_}{number:04d}")

    @property
    def id(self) -> str:
        return self.text[:16]

    @property
    def number(self) -> int:
        return int(self.text[16:])

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class SiteKey:
    """The key of one site token, sealed with context "connector-key:<connector id>:<number>"."""

    number: int
    sealed: bytes = field(repr=False)
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Connector:
    """One connector of a site. `keys`: of the tokens that are valid now, oldest first: one, or two while a rotation is under way.

    `revoked`: when it was (wall-clock seconds); it has no keys then and stays in the list, so that the audit keeps its name.
    """

    id: str
    site: str
    name: str
    keys: tuple[SiteKey, ...] = field(repr=False)
    created: float = 0.0
    revoked: float | None = None

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "site": self.site}

    def key_of(self, number: int) -> SiteKey | None:
        """The valid token of this number."""
        return next((one for one in self.keys if one.number == number), None)


@dataclass(frozen=True, slots=True)
class SiteConnectors:
    """The ids of a site's connectors that are not revoked. Once written it stays, empty where there are none any more, so that
    the site's devices are told to shut what was opened for a connector."""

    site: str
    ids: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.site

    def indexes(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True, slots=True)
class ConnectorSeen:
    """When a connector last came or went, from which address. Written behind; nothing depends on it."""

    id: str
    site: str
    at: float
    address: str
    up: bool

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """A device's address on its site's LAN, as an operator entered it. It goes before what the device itself has registered."""

    mac: MacAddress
    site: str
    address: str

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


def private_address(text: str) -> str:
    """A literal private IPv4 address (RFC 1918) in its one spelling; "" for everything else: no name, no other network."""
    if len(text) > 15 or not _DOTTED.fullmatch(text):
        return ""
    try:
        address = IPv4Address(text)
    except ValueError:
        return ""
    return str(address) if any(address in network for network in _PRIVATE) else ""
