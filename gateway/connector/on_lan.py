"""What a connector answers on its LAN when switched on: SIP PnP and TFTP, both by asking the gateway.

PnP: a device that asks 224.0.1.75 for its URL is told the one-time enrolment URL that the gateway gives for it, or nothing.
TFTP: a device that can do no better gets the very file that its token opens over HTTPS.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from autop.identify import BootstrapFile, CommonFile, MacFile, PhonebookFile, identify
from autop.net.tftp import TftpFile, TftpServer
from gateway.connector.autop_files import AutopFiles
from registry.connector import private_address
from registry.errors import MalformedMac
from registry.mac import MacAddress
from sip.net.pnp import PnpResponder
from tunnel.errors import LinkDown
from tunnel.messages import Result

ASKED_EVENT = "pnp-asked"
URL_CALL = "enrolment-url"
URL_SECONDS = 4.0
"""How long the gateway has for a URL: the responder gives it 5 s in all."""
MAX_ASKED = 64
"""Devices that wait for the gateway's word at a time."""
MAX_URL = 127
MAX_KEPT = 64
KEPT_SECONDS = 600.0
GRACE_SECONDS = 2.0

Report = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class EnrolmentUrls:
    """URLs from the gateway: EVENT `pnp-asked` there, CALL `enrolment-url` back. `report` as `Agent.send_event`."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._waiting: dict[MacAddress, asyncio.Future[str]] = {}

    async def url_for(self, mac: MacAddress) -> str | None:
        """See `sip.net.pnp.EnrolmentUrls`."""
        known = self._waiting.get(mac)
        if known is None and len(self._waiting) >= MAX_ASKED:
            return None
        answer = self._waiting[mac] = known or asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(URL_SECONDS):
                if known is None:
                    await self._report(ASKED_EVENT, {"mac": mac.text})
                return await asyncio.shield(answer) or None
        except (LinkDown, TimeoutError):
            return None  # the device asks again
        finally:
            if known is None:
                self._waiting.pop(mac, None)
                answer.cancel()

    async def told(self, body: Mapping[str, Any]) -> Result | Mapping[str, Any]:
        """The gateway's CALL: the URL for a device that was asked for, "" for none."""
        mac, url = body.get("mac"), body.get("url")
        malformed = Result(b"", False, {"error": "malformed"})
        if not isinstance(mac, str) or not isinstance(url, str) or len(url) > MAX_URL or not url.isascii() or " " in url:
            return malformed
        try:
            answer = self._waiting.get(MacAddress(mac))
        except MalformedMac:
            return malformed
        if answer is not None and not answer.done():
            answer.set_result(url)
        return {}


class LanFiles:
    """`TftpFiles`: what the gateway serves for the same name over HTTPS; no firmware.

    To the gateway a file is delivered once the connector has it: One-Time Autop lines are in it once only. So a file stays here
    until a device has it whole, for KEPT_SECONDS at most, and a transfer that broke off is begun anew with the same bytes.
    """

    def __init__(self, files: AutopFiles) -> None:
        self._files = files
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    async def find(self, name: bytes, source: str) -> TftpFile | None:
        """See `TftpFiles`."""
        bare = b"/" + name.removeprefix(b"/")
        asked = identify(bare if bare.startswith(b"/autop/") else b"/autop" + bare)
        if not isinstance(asked, MacFile | PhonebookFile | CommonFile | BootstrapFile):  # what a token in the name can open
            return None
        now = asyncio.get_running_loop().time()
        body, since = self._kept.get(name, (b"", 0.0))
        if not body or since + KEPT_SECONDS < now:
            fetched = await self._files.fetch(name)
            if fetched is None:
                return None
            body = fetched
            self._kept[name] = (body, now)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return TftpFile(body, lambda: self._complete(name, body))

    def _complete(self, name: bytes, body: bytes) -> None:
        if self._kept.get(name, (b"", 0.0))[0] == body:
            del self._kept[name]


class OnLan:
    """Both services; started once, stopped once."""

    def __init__(self, urls: EnrolmentUrls, files: AutopFiles, entropy: Callable[[int], bytes]) -> None:
        self._pnp = PnpResponder(urls, allows=_is_near, count=_uncounted, entropy=entropy)
        self._tftp = TftpServer(LanFiles(files), allows=_is_near, source_of=str, count=_uncounted)
        self._hears = False

    async def start(self, interfaces: tuple[str, ...], tftp: tuple[str, int] | None) -> None:
        """PnP on these interfaces, TFTP at this address; nothing for none. Raises OSError."""
        if interfaces:
            await self._pnp.start(interfaces)
            self._hears = True
        if tftp is not None:
            await self._tftp.start(*tftp)

    async def stop(self) -> None:
        """Answer nothing more."""
        if self._hears:
            await self._pnp.stop()
        await self._tftp.stop(GRACE_SECONDS)


def _is_near(host: str) -> bool:
    return private_address(host) == host


def _uncounted(_what: str) -> None:
    """A connector has no metrics of its own."""
