"""Trunks: the SIP connections to carriers that landlines are reached over, and what a site may call through them."""

from dataclasses import dataclass, field
from enum import StrEnum

MAX_GATEWAYS = 8
"""Gateways of one trunk."""
MAX_PREFIXES = 100
"""Called prefixes of one trunk or site."""
DEFAULT_SITE_CALLS = 2
"""Landline calls a site may have at once where nobody said otherwise: enough for a house, too few to be worth a fraud."""


class TrunkTransport(StrEnum):
    """How a gateway of a carrier is spoken to. TLS is verified by the gateway's name."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class TrunkGateway:
    """One SIP server of the carrier: a name or an IP literal. Port 0 means: by SRV, else the transport's own (RFC 3263)."""

    host: str
    port: int = 0
    transport: TrunkTransport = TrunkTransport.UDP


@dataclass(frozen=True, slots=True)
class Trunk:
    """A carrier. Gateways are tried in order; trunks by `priority` (lower first), then id. Numbers here are E.164 with "+".

    `sites` are the sites it serves, () all. `registrar` is the domain we register at, "" where the carrier knows us by our
    address; `username` and the password (sealed, context "trunk:<id>") answer its challenges, those of `realm` only if it is
    set. `domain` is the host in the URIs it is sent, "" the first gateway's host. Numbers go out as `international_prefix`
    and country code and number; those of `country_code` as `national_prefix` and number, unless that is None.
    `allowed_prefixes`: the longest that fits decides, one that begins with "!" forbids; what none fits is forbidden.
    `probe`: whether the gateways answer OPTIONS; where they do not, only calls and registrations tell which are dead.
    """

    id: str
    name: str
    gateways: tuple[TrunkGateway, ...]
    sites: tuple[str, ...] = ()
    priority: int = 0
    enabled: bool = True
    domain: str = ""
    registrar: str = ""
    username: str = ""
    sealed_password: bytes = field(default=b"", repr=False)
    realm: str = ""
    expires: int = 600
    probe: bool = True
    caller_id: str = ""
    country_code: str = ""
    international_prefix: str = "+"
    national_prefix: str | None = None
    allowed_prefixes: tuple[str, ...] = ()
    max_calls: int = 10
    created: float = 0.0

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": ""}

    def serves(self, site: str) -> bool:
        """Whether calls of this site may go over it."""
        return not self.sites or site in self.sites


@dataclass(frozen=True, slots=True)
class SiteLandlines:
    """What a site may spend on landlines (toll fraud). Lives and dies with its Site; where there is none, the defaults hold.

    `allowed_prefixes` as for a Trunk, but () adds no rule to those of the trunks. `max_calls` 0: no landline calls.
    """

    site: str
    allowed_prefixes: tuple[str, ...] = ()
    max_calls: int = DEFAULT_SITE_CALLS

    @property
    def key(self) -> str:
        return self.site

    def indexes(self) -> dict[str, str]:
        return {}


def trunk_secret(trunk: str) -> str:
    """The vault's context of a trunk's password."""
    return f"trunk:{trunk}"
