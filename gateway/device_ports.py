"""What the channel asks of the node: a device's key, and a place for its events."""

import logging
from collections import OrderedDict
from collections.abc import Callable

from gateway.door_log import BadEvent, DoorLog
from registry.errors import BadSeal
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import Device
from registry.vault import Vault
from tunnel.messages import DeviceEvent

_DECOY = "channel-decoy"
BURST = 300.0
"""Events at once: what a device may have saved up while it was away (`tunnel.net.agent.MAX_EVENTS`), and some."""
PER_SECOND = 2.0
MAX_DEVICES = 100_000
_log = logging.getLogger("portico.channel")


class TooManyEvents(Exception):
    """A device reports faster than its events are kept."""


class DeviceKeys:
    """Channel keys from the registry. An unknown device costs the same work as a known one."""

    def __init__(self, read_model: ReadModel, vault: Vault) -> None:
        self._read_model = read_model
        self._vault = vault
        self._decoy = vault.seal(b"\0" * 32, _DECOY)

    async def channel_key(self, mac: MacAddress) -> bytes | None:
        """The device's key, None if there is no such device. Raises StoreUnavailable."""
        stored = await self._read_model.get(Device, mac.text)
        try:
            if stored is None:
                self._vault.open(self._decoy, _DECOY)
                return None
            return self._vault.open(stored.record.sealed_channel_key, f"device-channel:{mac}")
        except BadSeal:
            _log.warning("a device's channel key does not open with this node's master key")
            return None


class DeviceEvents:
    """Events of devices, kept before they are acknowledged. `refused(reason)` is told of each that is not kept.

    A device that reports more than BURST at a time is not acknowledged until it slows down to PER_SECOND: it repeats them.
    """

    def __init__(self, doors: DoorLog, *, refused: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._doors = doors
        self._refused = refused
        self._clock = clock
        self._credit: OrderedDict[MacAddress, tuple[float, float]] = OrderedDict()

    async def on_event(self, mac: MacAddress, event: DeviceEvent) -> None:
        """Keep the event. A report nobody can use is acknowledged and dropped, or the device would repeat it for ever.

        Raises TooManyEvents, StoreUnavailable.
        """
        self._spend(mac)
        try:
            await self._doors.device_event(mac, event.id.hex(), event.name, event.body)
        except BadEvent as error:
            self._refused(error.reason)
            _log.warning("a device's event is unusable: %s", error)

    def _spend(self, mac: MacAddress) -> None:
        now = self._clock()
        left, since = self._credit.pop(mac, (BURST, now))
        left = min(BURST, left + (now - since) * PER_SECOND)
        self._credit[mac] = (left - 1 if left >= 1 else left, now)
        if len(self._credit) > MAX_DEVICES:
            self._credit.popitem(last=False)
        if left < 1:
            self._refused("too many")
            raise TooManyEvents("this device reports too much")
