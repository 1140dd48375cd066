"""The durable records: places, people, devices, tokens and sessions. What happened is in logs.py.

Each record knows its `key` and its `indexes()`: the names under which `Store.list` finds it. An index named in
`UNIQUE` may be held by one record only. Versions are the store's (see store.py), not fields. Words are the installer's
manual's; see docs/glossary.md. Secrets are sealed bytes (vault.py), never text.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import ClassVar

from registry.mac import MacAddress
from registry.ring_plan import DEFAULT_RING_SECONDS, OnReject
from registry.schedule import ALWAYS, Schedule

PUBLIC_AREA = ""
"""The department id of devices that belong to the whole site (manual: Public Area)."""


class DeviceKind(IntEnum):
    """Device types with the manual's import codes."""

    MULTI_TENANT_DOOR_PHONE = 0
    SINGLE_TENANT_DOOR_PHONE = 1
    INDOOR_MONITOR = 2
    GUARD_PHONE = 3
    ACCESS_CONTROL = 50

    @property
    def is_door(self) -> bool:
        """Whether it stands at a door: it has relays that open one and a button or keypad that calls."""
        return self in (self.MULTI_TENANT_DOOR_PHONE, self.SINGLE_TENANT_DOOR_PHONE, self.ACCESS_CONTROL)


class AccessMethod(StrEnum):
    """What may trigger a relay (manual: Access Method)."""

    DTMF = "dtmf"
    APP_HOME = "app-home"
    APP_TALKING = "app-talking"
    PIN = "pin"
    CARD = "card"
    FACE = "face"
    QR = "qr"


class Transmission(IntEnum):
    """Transmission type of a device's SIP account, with the device's own codes (SIP.TransType)."""

    UDP = 0
    TCP = 1
    TLS = 2
    DNS_SRV = 3


class ContactDisplay(StrEnum):
    """Whom a device shows in its contacts (manual: Contact Display Setting, L191)."""

    ALL = "all"
    DEPARTMENT = "department"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Site:
    """An office or community: calls, contacts and openings never cross its border.

    `ring_seconds` and `on_reject` hold for every ring plan whose user says nothing else. `app_first`: call type 3 in L155's
    order. `app_grace_hours`: how long apps go on after their subscription has run out. `allow_forward`: whether operators may
    forward ports of its devices (ssh, RTSP).
    """

    id: str
    name: str
    time_zone: str = "UTC"
    log_unopened_calls: bool = True
    created: float = 0.0
    ring_seconds: int = DEFAULT_RING_SECONDS
    on_reject: OnReject = OnReject.NEXT_STAGE
    app_first: bool = False
    app_grace_hours: int = 72
    allow_forward: bool = False

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": ""}


@dataclass(frozen=True, slots=True)
class Department:
    """A part of a site that users and devices belong to."""

    id: str
    site: str
    name: str
    number: str = ""
    floors: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


@dataclass(frozen=True, slots=True)
class SiteRoster:
    """How many devices, users and departments a site holds. Lives and dies with its Site.

    Every batch that adds, changes or removes one of them writes the roster with `expect`. So such changes of one site happen
    one after the other, a ring plan is never computed from a half-seen site, and a site cannot be deleted under a device
    that is being added. `plans_due` says that a change touched more ring plans than fit one batch: some are still to be
    written, and the next change (on any node) finishes them. `rules` is the version of the rules that the plans were computed by.
    """

    site: str
    devices: int = 0
    users: int = 0
    departments: int = 0
    plans_due: bool = False
    rules: int = 0

    @property
    def key(self) -> str:
        return self.site

    def indexes(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True, slots=True)
class LibraryMac:
    """One entry of the MAC library: a distributor's word that this device may be added, to `site` if one is named."""

    mac: MacAddress
    distributor: str = ""
    site: str = ""
    added: float = 0.0

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"all": "", "site": self.site}


@dataclass(frozen=True, slots=True)
class Relay:
    """A door relay: its name for people, the DTMF code that opens it, and which access methods may trigger it."""

    name: str
    dtmf_code: str = ""
    hold_seconds: int = 3
    access_methods: frozenset[AccessMethod] = frozenset((AccessMethod.DTMF, AccessMethod.APP_TALKING))


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was added to a site. `id` is internal and stays when a replacement changes the MAC."""

    mac: MacAddress
    id: str
    site: str
    kind: DeviceKind
    model: str
    name: str
    account: str
    sealed_token: bytes = field(repr=False)
    sealed_channel_key: bytes = field(repr=False)
    sealed_web_password: bytes = field(repr=False)
    department: str = PUBLIC_AREA
    network_group: str = ""
    owner: str = ""
    transmission: Transmission = Transmission.UDP
    relays: tuple[Relay, ...] = ()
    button_number: str = ""
    users_may_monitor: bool = False
    autop_commands: tuple[str, ...] = ()
    created: float = 0.0
    contact_display: ContactDisplay = ContactDisplay.ALL
    schedule: Schedule = ALWAYS
    monitor_after_ring: bool = False

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"id", "account"})

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        found = {
            "all": "",
            "site": self.site,
            "site-kind": f"{self.site}/{self.kind.value}",
            "id": self.id,
            "account": self.account,
        }
        if self.owner:
            found["owner"] = self.owner
        if self.department:
            found["department"] = self.department
        return found


class AccountOwner(StrEnum):
    """Whose SIP account it is."""

    DEVICE = "device"
    APP = "app"


@dataclass(frozen=True, slots=True)
class AppLink:
    """Another site at which an app account is also an app of `user` (manual: linked sites, L172)."""

    site: str
    user: str


@dataclass(frozen=True, slots=True)
class Account:
    """A SIP account. `username` is the user part of its AOR and is unique on the whole gateway.

    `schedule` and `links` are an app's; a device's schedule stands in its own record.
    """

    username: str
    site: str
    owner_kind: AccountOwner
    owner: str
    display_name: str
    sealed_password: bytes = field(repr=False)
    enabled: bool = True
    schedule: Schedule = ALWAYS
    links: tuple[AppLink, ...] = ()

    @property
    def key(self) -> str:
        return self.username

    def indexes(self) -> dict[str, str]:
        return {"site": self.site, "owner": self.owner}


@dataclass(frozen=True, slots=True)
class User:
    """A person: who rings (`call_type`, see call_types.py) when `number` is dialled at the site's doors.

    Own app accounts are `app_account` and `more_apps`; `linked_apps` are accounts of users at other sites. `app_until`: when the
    apps' subscription runs out (wall-clock seconds); None: never. `ring_seconds`, `on_reject` None: as the site says.
    """

    id: str
    site: str
    first_name: str
    last_name: str
    number: str
    department: str = PUBLIC_AREA
    person_id: str = ""
    email: str = ""
    country_code: str = ""
    mobile: str = ""
    landlines: tuple[str, ...] = ()
    floors: tuple[str, ...] = ()
    call_type: int = 0
    ip_call: bool = False
    intercom_feature: bool = True
    advanced: bool = False
    language: str = "en"
    app_account: str = ""
    created: float = 0.0
    more_apps: tuple[str, ...] = ()
    linked_apps: tuple[str, ...] = ()
    app_until: float | None = None
    ring_seconds: int | None = None
    on_reject: OnReject | None = None

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"site-number", "site-person-id"})

    @property
    def apps(self) -> tuple[str, ...]:
        """The user's own app accounts."""
        return (self.app_account, *self.more_apps) if self.app_account else self.more_apps

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        found = {"site": self.site, "site-number": f"{self.site}/{self.number}"}
        if self.person_id:
            found["site-person-id"] = f"{self.site}/{self.person_id}"
        if self.department:
            found["department"] = self.department
        return found


class Role(StrEnum):
    """What a token's holder may do; each role sees only the sites in its scope."""

    DISTRIBUTOR = "distributor"
    INSTALLER = "installer"
    SUB_INSTALLER = "sub-installer"
    PROPERTY_MANAGER = "property-manager"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A bearer token of the admin API. Only its SHA-256 (hex) is kept. Empty `sites` means every site."""

    id: str
    hash: str = field(repr=False)
    name: str
    role: Role
    sites: tuple[str, ...] = ()
    created: float = 0.0
    expires: float | None = None
    revoked: bool = False

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"hash"})

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "hash": self.hash}


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The answer that an API caller got for one Idempotency-Key, kept until `expires` so that a repetition gets it again.

    `slot` is the SHA-256 (hex) of token and key, `request` that of method, path and body. The answer may hold a secret shown
    once, so it is sealed (context "idempotency:<slot>"). `id` sorts by expiry (`time_key`): the oldest are forgotten first.
    """

    id: str
    slot: str
    request: str
    sealed_answer: bytes = field(repr=False)
    expires: float

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"slot"})

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "slot": self.slot}


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """One Remote Control session: who may open which device's web page until when. Times are wall-clock seconds.

    The ticket (one use) and the cookie are kept as SHA-256 hex only. `id` is the session's host name label. `service`: "web", or
    what a port forward reaches. `port`: the visitors' port where sessions have no host names of their own; held by one session at
    a time. What came of it, at most a few seconds old while it runs: `address` that opened it, requests, bytes, pages.
    """

    id: str
    mac: MacAddress
    site: str
    opened_by: str
    ticket_hash: str = field(repr=False)
    created: float
    ticket_expires: float
    expires: float
    idle_seconds: int = 900
    cookie_hash: str = field(default="", repr=False)
    used: float | None = None
    ended: float | None = None
    end_reason: str = ""
    service: str = "web"
    port: int = 0
    address: str = ""
    requests: int = 0
    bytes_to_device: int = 0
    bytes_to_visitor: int = 0
    pages: tuple[str, ...] = ()

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"port"})

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        found = {"site": self.site, "mac": self.mac.text}
        if self.port and self.ended is None:
            found["port"] = str(self.port)
        return found
