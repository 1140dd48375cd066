"""A door phone as real ones are today: no channel, but a web page and a local HTTP API on the LAN, both on one port.

Its gateway reaches it through a connector (docs/connector.md). `python -m simulators lan` runs one and prints what happens to it,
a JSON object a line; lines on its standard input are faults: `forget KEY` (the key is taken and does not stick).
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.mac import MacAddress
from simulators.autop_client import AutopClient, trust
from simulators.door_phone import DoorPhone
from simulators.http_api import HttpApi
from simulators.self_signed import self_signed_context
from simulators.web_page import WebPage
from simulators.web_server import Request, Response, WebServer
from tunnel.net.agent import client_context

HTTPS_PORT = 443
RESTART_SECONDS = 0.3
FAREWELL_SECONDS = 0.05
"""For the answer to the command that made it restart."""


@dataclass(frozen=True, slots=True)
class PageUp:
    """Web page and API are being served."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Restarting:
    """It goes off, told so through its API, and comes back."""

    to_factory: bool


@dataclass(frozen=True, slots=True)
class Told:
    """It heard of a fault."""

    line: str


class LanPage(WebPage):
    """The page, with the API beside it."""

    def __init__(self, device: "LanDoorPhone", api: HttpApi, tls: ssl.SSLContext | None) -> None:
        super().__init__(device)
        self._api = api
        self._secure = None if tls is None else WebServer(self._answer, tls=tls)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """As WebPage; over HTTPS too, at HTTPS_PORT, if it has a certificate."""
        if self._secure is not None:
            await self._secure.start(host, HTTPS_PORT)
        return await super().start(host, port)

    async def stop(self) -> None:
        """As WebPage."""
        if self._secure is not None:
            await self._secure.stop()
        await super().stop()

    async def _answer(self, request: Request) -> Response:
        if request.path == "/api" and request.method == "POST":
            return await self._api.answer(request)
        return await super()._answer(request)


class LanDoorPhone(DoorPhone):
    """See the module. `autop` is its provisioning, whose settings the API shows and changes."""

    model = "Portico R29-SIM 29.30.1.1"

    def __init__(
        self, mac: MacAddress, autop: AutopClient, *, address: str, port: int, https: ssl.SSLContext | None = None, **options: Any
    ) -> None:
        super().__init__(mac, autop, with_channel=False, **options)
        self._autop = autop
        self._place = (address, port)
        self._https = https
        self._restarts: set[asyncio.Task[None]] = set()
        self.api = HttpApi(self, self._entropy)

    async def boot(self) -> None:
        """The page is there before the configuration: a device is found on the LAN whatever its gateway does."""
        await self._serve()
        await super().boot()

    async def stand_alone(self, settings: Mapping[str, str]) -> None:
        """Begin with these settings instead of a configuration from a gateway."""
        await self._serve()
        await self.change(settings)

    async def _serve(self) -> None:
        self._page = LanPage(self, self.api, self._https)
        place = await self._page.start(*self._place)
        self.happenings.add(PageUp(*place))

    # ---- what the API asks ----------------------------------------------------------------------------------

    def held(self) -> Mapping[str, str]:
        """See ApiDevice."""
        return self._autop.held()

    async def change(self, values: Mapping[str, str]) -> None:
        """See ApiDevice."""
        before, self.config = self.config, self._autop.change(values)
        await self.apply(before, self.config)

    def about(self) -> Mapping[str, str]:
        """See ApiDevice."""
        name, _, firmware = self.model.rpartition(" ")
        return {"Model": name, "MAC": self.mac.colons, "FirmwareVersion": firmware, "HardwareVersion": "29.0.0.0"}

    def go_off(self, *, to_factory: bool) -> None:
        """See ApiDevice."""
        self.happenings.add(Restarting(to_factory))
        task = asyncio.get_running_loop().create_task(self._restart(to_factory))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, to_factory: bool) -> None:
        await asyncio.sleep(FAREWELL_SECONDS)
        if self._page is not None:
            await self._page.stop()
        if to_factory:
            self._autop.factory_reset()
        await asyncio.sleep(RESTART_SECONDS)
        await self._serve()
        with contextlib.suppress(OSError, ValueError):
            await self.poll()

    async def _stop(self, grace: float) -> None:
        for task in list(self._restarts):
            task.cancel()
        await super()._stop(grace)


async def run_lan_device(
    mac: str,
    autop_url: str,
    ca_file: str | None,
    address: str,
    port: int,
    settings: Mapping[str, str] | None = None,
    https: bool = False,
) -> int:
    """Run one until SIGTERM or Ctrl-C. Without an autop URL it has these settings and no gateway."""
    parsed = MacAddress.parse(mac)

    def tell(happening: object) -> None:
        facts = dataclasses.asdict(happening) if dataclasses.is_dataclass(happening) and not isinstance(happening, type) else {}
        line = {"what": type(happening).__name__, "mac": parsed.text, **facts}
        sys.stdout.write(json.dumps(line, default=str) + "\n")
        sys.stdout.flush()

    device = LanDoorPhone(
        parsed,
        AutopClient(url=autop_url, mac=parsed, tls=trust(ca_file)),
        address=address,
        port=port,
        https=self_signed_context(parsed.text) if https else None,
        tls=client_context(ca_file=ca_file, check=ca_file is not None),
        entropy=os.urandom,
        wall=time.time,
        on_each=tell,
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(OSError, ValueError):
        loop.add_reader(sys.stdin, _hear, device, loop)
    booting = loop.create_task(device.boot() if autop_url else device.stand_alone(settings or {}))
    await stop.wait()
    booting.cancel()
    await device.cut_power()
    return 0


def _hear(device: LanDoorPhone, loop: asyncio.AbstractEventLoop) -> None:
    """A fault, told by whoever runs this."""
    line = sys.stdin.readline()
    if not line:
        loop.remove_reader(sys.stdin)
        return
    word, _, rest = line.strip().partition(" ")
    if word == "forget":
        device.api.forgets.add(rest)
    elif word == "drop-more":
        device.api.drops_more = True
    device.happenings.add(Told(line.strip()))
