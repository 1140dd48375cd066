"""How a device comes to its token: rotations of tokens, windows in which devices enrol, and who enrolled in which.

Tokens are sealed here (vault.py). A rotation's seal has the context of the device's own token ("device-token:<mac>"), so that the
sealed bytes can be moved into its record as they are; a window's context is "enrolment:<scope>".
"""

from dataclasses import dataclass, field
from typing import ClassVar

from registry.mac import MacAddress


@dataclass(frozen=True, slots=True)
class TokenRotation:
    """A device's new token, valid beside the one in its `Device` until a fetch with the new one is complete.

    No such record: the device has one token. `sent`: a file that names the new token may have left, so the device may hold
    either, and neither may be dropped; written before the first byte. `since`: wall-clock seconds.
    """

    mac: MacAddress
    site: str
    sealed_token: bytes = field(repr=False)
    since: float
    by: str = ""
    sent: bool = False

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


@dataclass(frozen=True, slots=True)
class EnrolmentWindow:
    """From `opened` to `ends` (wall-clock seconds), devices of a site, or one device, may fetch a bootstrap configuration.

    `mac` None: every device of the site that has not fetched its configuration yet. There is one window per site and one per
    device; `id` tells one opening from the next.
    """

    id: str
    site: str
    opened_by: str
    opened: float
    ends: float
    sealed_token: bytes = field(repr=False)
    mac: MacAddress | None = None

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"id"})

    @property
    def key(self) -> str:
        return site_window(self.site) if self.mac is None else device_window(self.mac)

    def indexes(self) -> dict[str, str]:
        return {"all": "", "site": self.site, "id": self.id}


def site_window(site: str) -> str:
    """The key of a site's window."""
    return f"site/{site}"


def device_window(mac: MacAddress) -> str:
    """The key of a device's own window."""
    return f"device/{mac}"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The last time a device was given a bootstrap configuration: in which window, to which address, since when.

    `confirmed`: when its first fetch with the new token was complete; None: not yet. `contested`: another address asked for the
    same device in this window.
    """

    mac: MacAddress
    site: str
    window: str
    address: str
    since: float
    confirmed: float | None = None
    contested: bool = False

    @property
    def key(self) -> str:
        return self.mac.text

    def indexes(self) -> dict[str, str]:
        return {"site": self.site, "window": self.window}
