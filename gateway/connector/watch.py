"""`Watch`: which of the listed devices answer on the LAN, told to the gateway when it changes (EVENT `devices-seen`).

A device is there if it takes a connection to its web page, plain or over TLS. Each is asked every ROUND_SECONDS, a few at a time;
one that does not answer is asked once more before it counts as gone, so a cut cable is told within 30 s.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gateway.connector.device_list import DeviceList, Listed
from gateway.connector.refusal import Refusal
from gateway.connector.targets import PORT_SHUT, Targets
from tunnel.errors import LinkDown

ROUND_SECONDS = 12.0
AGAIN_SECONDS = 2.0
AT_ONCE = 64
PAGE = 100
"""Devices of one report."""
REPORT_SECONDS = 15.0
SERVICES = ("web", "web-tls")

Report = Callable[[list[dict[str, object]]], Awaitable[None]]


class Watch:
    """See the module. `report` returns once the gateway has it, and raises LinkDown."""

    def __init__(self, devices: DeviceList, targets: Targets, report: Report, round_seconds: float = ROUND_SECONDS) -> None:
        self._devices = devices
        self._targets = targets
        self._report = report
        self._round_seconds = round_seconds
        self._told: dict[str, bool] = {}
        self._listed = asyncio.Event()
        self._places = asyncio.Semaphore(AT_ONCE)

    def list_changed(self) -> None:
        """There is a new list: ask everybody now, and tell of all."""
        self._told.clear()
        self._listed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._listed.clear()
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._round_seconds):
                    await self._listed.wait()

    async def _look(self) -> None:
        devices = self._devices.all()
        up = dict(zip(devices, await asyncio.gather(*map(self._is_there, devices)), strict=True))
        now = {device.mac.text: there for device, there in up.items()}
        changed = [mac for mac, there in now.items() if there is not self._told.get(mac)]
        for start in range(0, len(changed), PAGE):
            page = changed[start : start + PAGE]
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._report([{"mac": mac, "up": now[mac]} for mac in page])
            except (LinkDown, TimeoutError):
                return  # the next link brings a new list, and that a new look
            if not self._listed.is_set():
                self._told |= {mac: now[mac] for mac in page}

    async def _is_there(self, device: Listed) -> bool:
        async with self._places:
            if await self._answers(device):
                return True
            if not self._told.get(device.mac.text, False):
                return False
            await asyncio.sleep(AGAIN_SECONDS)
            return await self._answers(device)

    async def _answers(self, device: Listed) -> bool:
        for service in SERVICES:
            try:
                connection = await self._targets.connect(device, service)
            except Refusal as refusal:
                if refusal.said != PORT_SHUT:
                    return False
            else:
                connection.sock.close()
                return True
        return False
