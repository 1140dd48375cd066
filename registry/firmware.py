"""Firmware images, and upgrades of a site's devices to one (installer manual: Upgrade, L303-336).

An upgrade is one record, and one more for each of its devices, so that results of devices are written without waiting for
each other. A device takes part in one upgrade at a time: the unique index `live` is held by records that are not over.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from registry.mac import MacAddress

MAX_UPGRADE_DEVICES = 450
"""Devices of one upgrade: all may be exchanged for others in one batch."""


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """One firmware file. `id` is the beginning of its SHA-256; its bytes lie in the nodes' state folders, never in the store.

    `log` is the manual's upgrade log: what is new. `stored` is None until the bytes have come and have proven to be these.
    """

    id: str
    sha256: str
    size: int
    model: str
    version: str
    log: str = ""
    created: float = 0.0
    stored: float | None = None

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"model-version"})

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        return {"all": "", "model-version": f"{self.model}/{self.version}"}


class UpgradeState(StrEnum):
    """The state of a whole upgrade (manual, L332, and FAILED: over, but not every device has the version)."""

    PENDING = "pending"
    PROCESSING = "processing"
    EXECUTED = "executed"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (self.EXECUTED, self.FAILED)


@dataclass(frozen=True, slots=True)
class FirmwareUpgrade:
    """An upgrade of devices of one site to one image, between `starts` and `ends` (wall-clock seconds).

    `hours` > 0: offered only during so many hours from `first_hour` each day, in the site's time. The first `first_percent` of
    the devices go first; when more than `max_failed_percent` of those that were let go have failed, it stops. `allow_older`:
    devices with a newer version get this one too. `cancelled`: deleted while devices were already installing it.
    """

    id: str
    site: str
    image: str
    model: str
    version: str
    starts: float
    ends: float
    devices: int
    created: float
    updated: float
    first_hour: int = 0
    hours: int = 0
    first_percent: int = 100
    max_failed_percent: int = 20
    reset_after: bool = False
    allow_older: bool = False
    state: UpgradeState = UpgradeState.PENDING
    cancelled: bool = False

    @property
    def key(self) -> str:
        return self.id

    def indexes(self) -> dict[str, str]:
        found = {"all": "", "site": self.site, "image": self.image}
        if not self.state.is_over:
            found["open"] = ""
        return found


class DeviceUpgradeState(StrEnum):
    """How far one device is (the moves are in autop/upgrade_states.py)."""

    PENDING = "pending"
    """Waits for the time, the hours or its stage."""
    OFFERED = "offered"
    """Its configuration names the image; it has not fetched that configuration yet."""
    TOLD = "told"
    """It has fetched that configuration, or has begun to fetch the image."""
    FETCHED = "fetched"
    """It has the whole image; it has not told its version since."""
    EXECUTED = "executed"
    """It has told the new version."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in (self.EXECUTED, self.FAILED, self.CANCELLED)


class ResetStep(StrEnum):
    """The step "reset after upgrade" of one device."""

    NONE = "none"
    WAITING = "waiting"
    """The new version is proven, and the device is to be reset; this gateway cannot see to it that it comes back by itself."""
    ORDERED = "ordered"
    """A command to reset was ordered with the proof."""


@dataclass(frozen=True, slots=True)
class DeviceUpgrade:
    """One device of an upgrade. `place` is its order, `since` when it came into its state, `result` why it ended as it did.

    `seen` is the version it last told, `reset_command` the id of the command to reset it. `asks` counts its requests for the
    image, `downloads` how often it had all of it.
    """

    upgrade: str
    mac: MacAddress
    site: str
    image: str
    version: str
    place: int
    since: float
    state: DeviceUpgradeState = DeviceUpgradeState.PENDING
    result: str = ""
    seen: str = ""
    asks: int = 0
    downloads: int = 0
    reset: ResetStep = ResetStep.NONE
    reset_command: str = ""

    UNIQUE: ClassVar[frozenset[str]] = frozenset({"live"})

    @property
    def key(self) -> str:
        return device_upgrade_key(self.upgrade, self.mac)

    def indexes(self) -> dict[str, str]:
        found = {"upgrade": self.upgrade, "mac": self.mac.text}
        if not self.state.is_over:
            found["live"] = self.mac.text
        return found


def device_upgrade_key(upgrade: str, mac: MacAddress) -> str:
    """The key of a device's record in an upgrade."""
    return f"{upgrade}/{mac.text}"
