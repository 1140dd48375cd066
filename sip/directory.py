"""What the SIP core asks about accounts and numbers: the port it is given, and the questions it cannot wait for.

The core never waits. It peeks into memory; where the answer is not in memory (UNKNOWN) it parks the message, gives out a
`Fetch(question)`, and goes on when the shell says the question is answered.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from registry.ring_plan import RingPlan
from registry.trunk import SiteLandlines


class Absent(Enum):
    """The type of UNKNOWN, so that type checkers can tell it from an answer."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Absent.UNKNOWN
"""Not in memory: ask. (None means: asked, and there is no such thing.)"""


DOOR = "door"
MONITOR = "monitor"
GUARD = "guard"
APP = "app"
"""The kinds of accounts that call policy tells apart. Any other ("device") has no rules beyond its site's border."""


@dataclass(frozen=True, slots=True)
class AppSite:
    """A site at which an app's account is linked: as an app of `user`, who is in `department` (`advanced`: L107)."""

    site: str
    user: str
    department: str = ""
    advanced: bool = False


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What the core must know of a SIP account now.

    `enabled` False: may neither register, call nor be called: disabled, or an app whose subscription has run out. `rings` False:
    left out of ring plans, for its schedule is shut. `owner`: the user it belongs to. `monitored`: a door that monitors and apps
    may call, where `after_ring` is set only those that it has just rung. `links`: an app's other sites.
    """

    username: str
    site: str
    password: bytes = field(repr=False)
    enabled: bool = True
    display_name: str = ""
    kind: str = "device"
    rings: bool = True
    owner: str = ""
    department: str = ""
    advanced: bool = False
    monitored: bool = False
    after_ring: bool = False
    links: tuple[AppSite, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountQuestion:
    """Which account has this user name?"""

    username: str


@dataclass(frozen=True, slots=True)
class RingPlanQuestion:
    """What does dialling this number inside this site do?"""

    site: str
    number: str


@dataclass(frozen=True, slots=True)
class PushQuestion:
    """How are the apps of this account woken?"""

    username: str


@dataclass(frozen=True, slots=True)
class DoorQuestion:
    """Is this account a door device's, and which?"""

    username: str


@dataclass(frozen=True, slots=True)
class LandlinesQuestion:
    """What may this site spend on landlines?"""

    site: str


Question = AccountQuestion | RingPlanQuestion | PushQuestion | DoorQuestion | LandlinesQuestion


@dataclass(frozen=True, slots=True)
class PushParameters:
    """How one app of an account is woken (RFC 8599): `provider` names the push service, `prid` the app's installation there.

    The PRID is opaque, and secret: it is no part of what is shown. `instance` is the app's +sip.instance or "".
    """

    provider: str
    prid: str = field(repr=False)
    param: str = ""
    instance: str = ""


class PushDirectory(Protocol):
    """What the node knows of push services and of the apps they wake. Synchronous peeks, as `Directory`'s."""

    def providers(self) -> tuple[str, ...]:
        """The push services that a driver serves, by their RFC 8599 names ("apns", "fcm", "webpush")."""
        ...

    def parameters(self, username: str) -> tuple[PushParameters, ...] | Absent:
        """How the account's apps are woken, oldest first; UNKNOWN if memory cannot say."""
        ...


@dataclass(frozen=True, slots=True)
class DoorFacts:
    """What the core must know of a door phone to pass keys on to it.

    `codes`: of each relay that has one, its DTMF code and whether DTMF may trigger it. `info_form`: the Content-Type of the INFO
    body that its model takes.
    """

    codes: tuple[tuple[str, bool], ...]
    info_form: bytes


class DoorDirectory(Protocol):
    """Synchronous peeks at door devices. Never blocks, never raises."""

    def door(self, username: str) -> DoorFacts | Absent | None:
        """The door device of this account, None if the account is none's, UNKNOWN if memory cannot say."""
        ...


class Directory(Protocol):
    """Synchronous peeks into what the node holds in memory. Never blocks, never raises."""

    def account(self, username: str) -> AccountFacts | Absent | None:
        """The account, None if there is none, UNKNOWN if memory cannot say."""
        ...

    def ring_plan(self, site: str, number: str) -> RingPlan | Absent | None:
        """The plan of that number in that site, None if there is none, UNKNOWN if memory cannot say."""
        ...

    def landlines(self, site: str) -> SiteLandlines | Absent | None:
        """What the site may spend on landlines, None where nobody said (the defaults hold), UNKNOWN if memory cannot say."""
        ...
