"""What a simulated device takes from its applied configuration, and the port it gets that through."""

from dataclasses import dataclass, field
from typing import Protocol

from simulators.line import SipAccount
from simulators.relays import DoorRelay


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Where the device's channel goes, and the key it proves itself with."""

    host: str
    port: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """Typed values of one configuration. `unlock_codes` are what a monitor sends to open relay 1, 2, ... of a door it talks to.

    `firmware_url` is the image to install, if any; `poll_at` the time of day (hour, minute, second) at which it asks
    again; hour None: every hour.
    """

    account: SipAccount | None = None
    relays: tuple[DoorRelay, ...] = ()
    unlock_codes: tuple[str, ...] = ()
    button_numbers: tuple[str, ...] = ()
    web_user: str = "admin"
    web_password: str = field(default="", repr=False)
    channel: ChannelSettings | None = None
    poll_at: tuple[int | None, int, int] | None = None
    firmware_url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answered autop request: `config` is None where the bytes are those applied before."""

    size: int
    etag: str
    config: DeviceConfig | None


class Provisioning(Protocol):
    """Where a device gets its configuration from: one autop URL."""

    async def fetch(self) -> Fetched:
        """Ask once. Raises OSError where there is no answer, ValueError for an answer that holds no configuration."""
        ...

    def factory_reset(self, url: str) -> None:
        """Forget all settings; ask `url` from now on, whatever directory the settings named."""
        ...
