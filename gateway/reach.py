"""`Reach`: a device, whichever way it can be reached now: over its own channel, else through its site's connector.

Who opens a page, sends a command or opens a door asks here and does not care which way it is.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from registry.mac import MacAddress
from tunnel.messages import Result
from tunnel.net.device_link import ConnectorLink, DeviceLink
from tunnel.net.pipe import StreamPipe


class Way(StrEnum):
    """How a device is reached."""

    CHANNEL = "channel"
    CONNECTOR = "connector"


class ByChannel:
    """A device with a channel of its own."""

    way = Way.CHANNEL

    def __init__(self, link: DeviceLink) -> None:
        self._link = link

    def open(self, service: str) -> StreamPipe:
        """See `tunnel.net.ports.Reached`."""
        return self._link.open(service)

    async def call(self, name: str, body: Mapping[str, Any], deadline: float, call_id: bytes = b"") -> Result:
        """See `tunnel.net.ports.Reached`."""
        return await self._link.call(name, body, deadline, call_id)


class ByConnector:
    """A device on the LAN of its site's connector."""

    way = Way.CONNECTOR

    def __init__(self, link: ConnectorLink, mac: MacAddress) -> None:
        self._link = link
        self._mac = mac

    def open(self, service: str) -> StreamPipe:
        """See `tunnel.net.ports.Reached`."""
        return self._link.open(service, self._mac.text)

    async def call(self, name: str, body: Mapping[str, Any], deadline: float, call_id: bytes = b"") -> Result:
        """See `tunnel.net.ports.Reached`; the connector has what stands in docs/tunnel-protocol.md section 11."""
        return await self._link.call(name, {**body, "device": self._mac.text}, deadline, call_id)


class Reach:
    """`channel(mac)`: the device's own link; `connector(mac)`: that of a connector which may reach it; None: not now.

    `gone(mac)`: whether connectors say that it does not answer.
    """

    def __init__(
        self,
        channel: Callable[[MacAddress], DeviceLink | None],
        connector: Callable[[MacAddress], ConnectorLink | None],
        gone: Callable[[MacAddress], bool],
    ) -> None:
        self._channel = channel
        self._connector = connector
        self._gone = gone

    def of(self, mac: MacAddress) -> ByChannel | ByConnector | None:
        """The device, None if it cannot be reached now. Good for this moment: ask again for the next thing."""
        own = self._channel(mac)
        if own is not None:
            return ByChannel(own)
        link = self._connector(mac)
        return None if link is None else ByConnector(link, mac)

    def there(self, mac: MacAddress) -> ByChannel | ByConnector | None:
        """As `of`, but None too where a connector says that the device does not answer: for what can wait until it is back."""
        found = self.of(mac)
        return None if isinstance(found, ByConnector) and self._gone(mac) else found
