"""Asking devices things for the admin API: `admin_api.ports.DeviceCalls`."""

from collections.abc import Callable, Mapping
from typing import Any

from admin_api.ports import DeviceAnswer
from gateway.reach import ByChannel, ByConnector
from registry.mac import MacAddress
from tunnel.errors import LinkDown

DEADLINE = 22.0
"""Seconds for one question: a connector reads a whole configuration within 20."""


class DeviceCalls:
    """`reach(mac)`: the device, None if it cannot be reached now."""

    def __init__(self, reach: Callable[[MacAddress], ByChannel | ByConnector | None]) -> None:
        self._reach = reach

    async def ask(self, mac: MacAddress, name: str, body: Mapping[str, Any]) -> DeviceAnswer | None:
        """See the port."""
        reached = self._reach(mac)
        if reached is None:
            return None
        try:
            result = await reached.call(name, body, DEADLINE)
        except LinkDown:
            return None
        return DeviceAnswer(reached.way.value, result.ok, result.body)
