"""What the channel asks of the node: a device's key, and a place for its events."""

import logging

from gateway.logbook import BadEvent, Logbook
from registry.errors import BadSeal
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import Device
from registry.vault import Vault
from tunnel.messages import DeviceEvent

_DECOY = "channel-decoy"
_log = logging.getLogger("portico.channel")


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
    """Events of devices, kept in the door log before they are acknowledged."""

    def __init__(self, logbook: Logbook) -> None:
        self._logbook = logbook

    async def on_event(self, mac: MacAddress, event: DeviceEvent) -> None:
        """Keep the event. A report nobody can use is acknowledged and dropped, or the device would repeat it for ever."""
        try:
            await self._logbook.device_event(mac, event.id.hex(), event.name, event.body)
        except BadEvent as error:
            _log.warning("a device's event is unusable: %s", error)
