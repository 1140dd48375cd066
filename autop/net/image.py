"""What serving needs to know of firmware: a device's part in an upgrade, and an open image. `upgrades.py` has both."""

from dataclasses import dataclass
from typing import Protocol

from autop.firmware import Offer
from autop.identify import FirmwareFile
from registry.mac import MacAddress
from registry.records import Device


@dataclass(frozen=True, slots=True)
class LiveUpgrade:
    """An upgrade that a device takes part in: the key of its record, the version it is to have, the image while it is offered."""

    key: str
    version: str
    offer: Offer | None = None


class OpenImage(Protocol):
    """A device's firmware image, open for reading. Whoever got it calls `close`, once."""

    mac: MacAddress
    etag: bytes
    size: int

    async def begin(self) -> bool:
        """Bytes are about to be sent. False: this device had enough of them, or its upgrade is over. Raises RegistryError."""
        ...

    async def complete(self) -> None:
        """The end is about to be sent; this is kept before it is, so that no crash leads to the same image once more.

        Raises RegistryError.
        """
        ...

    async def read(self, start: int, count: int) -> bytes:
        """That part of the file; fewer bytes only at its end. Raises OSError."""
        ...

    def close(self) -> None: ...


class FirmwareSource(Protocol):
    """Where `Configurations` asks for firmware."""

    async def live(self, device: Device) -> LiveUpgrade | None:
        """The upgrade that this device takes part in. Raises StoreUnavailable."""
        ...

    async def image(self, device: Device, asked: FirmwareFile) -> OpenImage | None:
        """The image, if it is what the device is to install. Raises StoreUnavailable, and OSError for a file that is missing."""
        ...


class UpgradeEar(Protocol):
    """Who is told what devices fetched and what they say of themselves. Must not block."""

    def configuration_fetched(self, mac: MacAddress, live: LiveUpgrade, user_agent: str) -> None:
        """The device has the bytes of a configuration that was made with `live`."""
        ...
