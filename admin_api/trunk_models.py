"""The bodies of `/trunks` and `/sites/{site}/landlines`, and how they become records."""

import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from admin_api.models import Body, Flag, Id, Name, Timestamp, Whole, ascii_matching, optional_timestamp, timestamp
from admin_api.ports import TrunkPresence
from registry.trunk import (
    DEFAULT_SITE_CALLS,
    MAX_GATEWAYS,
    MAX_PREFIXES,
    SiteLandlines,
    Trunk,
    TrunkGateway,
    TrunkTransport,
)

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?", re.ASCII)


def _host(text: str) -> str:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        pass
    labels = text.rstrip(".").split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError("not a host name or IP address")
    return text.rstrip(".").lower()


def _optional_host(text: str) -> str:
    return _host(text) if text else ""


Host = Annotated[str, Field(max_length=255, examples=["sip.carrier.example"]), AfterValidator(_host)]
OptionalHost = Annotated[str, Field(max_length=255), AfterValidator(_optional_host)]
Prefix = Annotated[
    str,
    ascii_matching(r"!?\+([1-9][0-9]{0,14})?", 'a prefix is "+" and digits; "!" before it forbids'),
    Field(examples=["+49", "!+49900"]),
]
Prefixes = Annotated[list[Prefix], Field(max_length=MAX_PREFIXES)]
CallerId = Annotated[str, ascii_matching(r"(\+[1-9][0-9]{6,14})?", 'a number is "+" and 7 to 15 digits, country code first')]
CountryCode = Annotated[str, ascii_matching(r"([1-9][0-9]{0,2})?", "a country code is 1 to 3 digits without +")]
DialPrefix = Annotated[str, ascii_matching(r"\+?[0-9]{0,5}", "at most 5 digits, or +")]
NationalPrefix = Annotated[str, ascii_matching(r"[0-9]{0,5}", "at most 5 digits")]
Username = Annotated[str, ascii_matching(r"[A-Za-z0-9_.!~*'()&=+$,;?/\-]{0,128}", "at most 128 characters of a SIP user part")]
Realm = Annotated[str, ascii_matching(r"[\x20\x21\x23-\x5b\x5d-\x7e]{0,128}", "at most 128 printable ASCII characters")]


class GatewayBody(Body):
    """One SIP server of the carrier."""

    host: Host
    port: Annotated[Whole, Field(ge=0, le=65535, description="0: by SRV, else 5060 (5061 for TLS).")] = 0
    transport: Literal["udp", "tcp", "tls"] = "udp"


class TrunkBody(Body):
    """A trunk: the way to a carrier that landlines are reached over."""

    name: Name
    gateways: Annotated[list[GatewayBody], Field(min_length=1, max_length=MAX_GATEWAYS, description="Tried in this order.")]
    sites: Annotated[list[Id], Field(default_factory=list, max_length=100, description="The sites it serves; none: every site.")]
    priority: Annotated[Whole, Field(ge=0, le=1000, description="Lower is tried first.")] = 0
    enabled: Flag = True
    domain: Annotated[OptionalHost, Field(description="Host in the URIs it is sent; empty: the gateway's.")] = ""
    registrar: Annotated[OptionalHost, Field(description="Where to register; empty where the carrier knows this address.")] = ""
    username: Username = ""
    password: Annotated[SecretStr | None, Field(max_length=128, description="Taken, kept sealed, never shown.")] = None
    realm: Annotated[Realm, Field(description="Only challenges of this realm are answered; empty: of any.")] = ""
    expires: Annotated[Whole, Field(ge=60, le=86400, description="Registration time asked for, seconds.")] = 600
    probe: Annotated[Flag, Field(description="Whether the gateways answer OPTIONS.")] = True
    caller_id: Annotated[CallerId, Field(description="The number presented; empty: anonymous.")] = ""
    country_code: CountryCode = ""
    international_prefix: Annotated[DialPrefix, Field(description="Written before country code and number.")] = "+"
    national_prefix: Annotated[
        NationalPrefix | None,
        Field(description="Written instead of the trunk's own country code; null: its numbers go out as all others."),
    ] = None
    allowed_prefixes: Annotated[
        Prefixes, Field(min_length=1, description='Called numbers: the longest that fits decides, "!" forbids.')
    ]
    max_calls: Annotated[Whole, Field(ge=1, le=10_000, description="At once, over this trunk.")] = 10


class TrunkView(TrunkBody):
    """A trunk as the gateway holds it. `password` is always null."""

    id: str
    has_password: bool
    created: Timestamp


class GatewayStatus(BaseModel):
    """One gateway as this node sees it."""

    address: str
    state: Literal["up", "down", "unknown"]
    since: Timestamp


class TrunkStatus(BaseModel):
    """What this node knows about a trunk now."""

    registered: bool | None = Field(description="Null where the trunk does not register, or is disabled.")
    since: str | None = Field(description="When that became so.")
    failure: str = Field(description="Why it is not registered.")
    calls: int
    gateways: list[GatewayStatus]


class LandlinesBody(Body):
    """What a site may spend on landlines."""

    allowed_prefixes: Annotated[
        Prefixes, Field(default_factory=list, description="As of a trunk; none: the trunks' own rules alone.")
    ]
    max_calls: Annotated[Whole, Field(ge=0, le=1000, description="At once; 0: none.")] = DEFAULT_SITE_CALLS


class LandlinesView(LandlinesBody):
    """The landline limits of a site."""

    site: str


def faults_of(body: TrunkBody, has_password: bool) -> list[tuple[str, str]]:
    """What is wrong with the fields together, as (JSON Pointer, message)."""
    faults: list[tuple[str, str]] = []
    if body.registrar and not body.username:
        faults.append(("/username", "a trunk that registers has a user name"))
    if body.username and not has_password:
        faults.append(("/password", "a user name goes with a password"))
    if has_password and not body.username:
        faults.append(("/username", "a password goes with a user name"))
    if body.national_prefix is not None and not body.country_code:
        faults.append(("/country_code", "a national prefix goes with a country code"))
    if body.password is not None and not body.password.get_secret_value().isascii():
        faults.append(("/password", "only ASCII characters"))
    return faults


def leads_elsewhere(before: Trunk, after: Trunk) -> bool:
    """Whether proofs of the password would go to somebody else: then it must be given anew, or whoever may change a trunk could
    have it proven to a server of his own and guess it there."""
    places = [(trunk.registrar, {one.host for one in trunk.gateways}) for trunk in (before, after)]
    return places[0][0] != places[1][0] or not places[1][1] <= places[0][1]


def body_of(trunk: Trunk) -> TrunkBody:
    """The body that would make this trunk, without its password."""
    return TrunkBody.model_construct(**_fields(trunk))


def view_of(trunk: Trunk) -> TrunkView:
    """The trunk as it is shown."""
    return TrunkView(**_fields(trunk), id=trunk.id, has_password=bool(trunk.sealed_password), created=timestamp(trunk.created))


def _fields(trunk: Trunk) -> dict[str, Any]:
    names = [name for name in TrunkBody.model_fields if name not in ("password", "gateways", "sites", "allowed_prefixes")]
    return {
        **{name: getattr(trunk, name) for name in names},
        "gateways": [GatewayBody(host=one.host, port=one.port, transport=one.transport.value) for one in trunk.gateways],
        "sites": list(trunk.sites),
        "allowed_prefixes": list(trunk.allowed_prefixes),
        "password": None,
    }


def record_of(body: TrunkBody, present: Trunk) -> Trunk:
    """`present` with the settings of the body; its id, password and time stay."""
    settings = body.model_dump(exclude={"password", "gateways", "sites", "allowed_prefixes"})
    return replace(
        present,
        **settings,
        gateways=tuple(TrunkGateway(one.host, one.port, TrunkTransport(one.transport)) for one in body.gateways),
        sites=tuple(sorted(set(body.sites))),
        allowed_prefixes=tuple(body.allowed_prefixes),
    )


def status_of(found: TrunkPresence) -> TrunkStatus:
    """What the node knows, as it is shown."""
    gateways = [
        GatewayStatus.model_validate({"address": one.address, "state": one.state, "since": timestamp(one.since)})
        for one in found.gateways
    ]
    return TrunkStatus(
        registered=found.registered,
        since=optional_timestamp(found.since),
        failure=found.failure,
        calls=found.calls,
        gateways=gateways,
    )


def landlines_view(found: SiteLandlines) -> LandlinesView:
    """The limits as they are shown."""
    return LandlinesView(site=found.site, allowed_prefixes=list(found.allowed_prefixes), max_calls=found.max_calls)


def trunk_site(trunk: Trunk) -> str:
    """The one site a trunk serves, "" where it serves several or all: whose audit and events it belongs to."""
    return trunk.sites[0] if len(trunk.sites) == 1 else ""
