"""What operators add to configurations, line by line, and what each device has fetched.

Lines and files hold secrets (passwords of cameras, of SIP accounts), so they are sealed here (vault.py); keys, hashes and times
are not. A `scope` says for whom lines hold; the functions below are its spellings.
"""

from dataclasses import dataclass, field

from registry.mac import MacAddress

PLATFORM_SCOPE = "platform"


def model_scope(model: str) -> str:
    """Lines for every device of a model."""
    return f"model/{model.upper()}"


def site_scope(site: str) -> str:
    """Lines for every device of a site."""
    return f"site/{site}"


def group_scope(site: str, group: str) -> str:
    """Lines for every device of a network group; groups are named within their site."""
    return f"network-group/{site}/{group}"


def department_scope(department: str) -> str:
    """Lines for every device of a department."""
    return f"department/{department}"


def device_scope(mac: MacAddress) -> str:
    """Lines for one device. The present ones stand in its own record (`Device.autop_commands`), only revisions are kept here."""
    return f"device/{mac}"


@dataclass(frozen=True, slots=True)
class AutopCommands:
    """The present lines of a scope (other than a device's), joined by line ends and sealed (context "autop:<scope>").

    `site`: the site they belong to; empty for the platform's and a model's.
    """

    scope: str
    site: str
    sealed_lines: bytes = field(repr=False)

    @property
    def key(self) -> str:
        return self.scope

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


@dataclass(frozen=True, slots=True)
class AutopRevision:
    """The lines a scope had from `at` on, written in the batch that set them; `number` counts from 1. Bounded per scope."""

    scope: str
    number: int
    at: float
    by: str
    sealed_lines: bytes = field(repr=False)

    @property
    def key(self) -> str:
        return f"{self.scope}@{self.number:08d}"

    def indexes(self) -> dict[str, str]:
        return {"scope": self.scope}


@dataclass(frozen=True, slots=True)
class OneTimeOrder:
    """One-Time Autop lines that an operator entered together. `id` is chance, and stands in the file that delivers them."""

    id: str
    at: float
    by: str
    sealed_lines: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OneTimeAutop:
    """What waits to be delivered to one device exactly once. No such record: nothing waits.

    From the first byte that is sent until a fetch is known to be complete, `sealed_file` holds the whole file that delivers the
    first `offered` orders, and the device gets nothing else: whether or not it had that file before a crash, it applies equal
    bytes once. `etag` is the file's. Empty and 0 while nothing is under way. The seals' contexts are "one-time:<mac>" (lines)
    and "one-time-file:<mac>".
    """

    mac: MacAddress
    site: str
    orders: tuple[OneTimeOrder, ...]
    offered: int = 0
    etag: str = ""
    sealed_file: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


@dataclass(frozen=True, slots=True)
class Fetch:
    """One version that a device fetched: the SHA-256 of its bytes, when first and last, from which address.

    `transport`: how it came last, "tftp"; empty for HTTPS and HTTP.
    `confirmed`: when the device last said by a conditional GET that it has these bytes; None if it never did.
    """

    etag: str
    first: float
    last: float
    peer: str
    times: int = 1
    confirmed: float | None = None
    transport: str = ""


@dataclass(frozen=True, slots=True)
class DeviceFetches:
    """What a device has fetched, newest last, each version once.

    `bindings_version` is the store's version of its account's bindings when it fetched the newest: a later one tells that it
    registered since. `strange_etag`, `strange_at`: a conditional GET after that fetch named other bytes: the device has drifted.
    """

    mac: MacAddress
    site: str
    fetches: tuple[Fetch, ...] = ()
    bindings_version: int = 0
    strange_etag: str = ""
    strange_at: float | None = None

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """The exact bytes of one version that a device fetched, deflated and sealed (context "fetched:<mac>/<etag>")."""

    mac: MacAddress
    etag: str
    sealed_file: bytes = field(repr=False)

    @property
    def key(self) -> str:
        return fetched_file_key(self.mac, self.etag)

    def indexes(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True, slots=True)
class AuthorityFetched:
    """A device has fetched the certificate authority that it is to check servers by. `sha256` (hex) is the file's.

    Only then is it told to check: a device that checked without it could never fetch anything again.
    """

    mac: MacAddress
    site: str
    sha256: str

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


def fetched_file_key(mac: MacAddress, etag: str) -> str:
    """Where the bytes of this version are."""
    return f"{mac}/{etag}"
