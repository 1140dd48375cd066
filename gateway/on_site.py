"""What belongs to a LAN and is off unless configured: TFTP and SIP PnP. Their part of the composition."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

from autop.net.image import UpgradeEar
from autop.net.tftp import TftpServer
from autop.net.tftp_files import FetchSink, FileSource, TftpConfigurations
from autop.observer import AutopObserver
from gateway.accept import source_of
from gateway.config import Config
from gateway.errors import StartError
from gateway.listeners import Listeners
from gateway.metrics import Metrics
from gateway.networks import Allowed
from registry.errors import RegistryError
from registry.mac import MacAddress
from registry.read_model import ReadModel
from registry.records import LibraryMac
from sip.net.pnp import MULTICAST, PORT, EnrolmentUrls, PnpResponder
from sip.net.service import SipService

GRACE_SECONDS = 2.0
"""What a transfer that goes on has at the end of the node: a device simply begins anew."""


async def start_tftp(
    config: Config,
    listeners: Listeners,
    stack: AsyncExitStack,
    metrics: Metrics,
    *,
    configurations: FileSource,
    observer: AutopObserver,
    wall: Callable[[], float],
    ear: UpgradeEar,
    fetches: FetchSink,
) -> None:
    """Open listen.tftp, if it is on. Raises StartError."""
    server = TftpServer(
        TftpConfigurations(configurations=configurations, observer=observer, clock_wall=wall, ear=ear, fetches=fetches),
        allows=Allowed(config.tftp.networks),
        source_of=source_of,
        count=_counted(metrics, "portico_tftp_total", "TFTP transfers by their end, and requests not served by why."),
    )
    stack.push_async_callback(lambda: server.stop(GRACE_SECONDS))
    await listeners.open("tftp", config.listen.address, server.start)
    metrics.gauge("portico_tftp_transfers", "TFTP transfers that go on.", (), lambda: [((), server.transfers)])


async def start_pnp(
    config: Config,
    stack: AsyncExitStack,
    metrics: Metrics,
    sip: SipService,
    read_model: ReadModel,
    enrolment: EnrolmentUrls | None,
) -> None:
    """Hear devices on pnp.interfaces, if there are any. `enrolment` None: nobody has a URL to be told. Raises StartError."""
    if not config.pnp.interfaces:
        return
    responder = PnpResponder(
        LibraryDevices(read_model, enrolment),
        allows=Allowed(config.pnp.networks),
        count=_counted(metrics, "portico_pnp_total", "SIP PnP: devices told their URL, and what met silence."),
        entropy=os.urandom,
    )
    try:
        with sip.sharing_ports():
            await responder.start(config.pnp.interfaces)
    except OSError as error:
        interfaces = ", ".join(config.pnp.interfaces)
        raise StartError(
            f"pnp.interfaces: {interfaces}: {error.strerror or error} (UDP {MULTICAST}:{PORT}). "
            "Name interfaces that this machine has, and stop what uses the port."
        ) from None
    stack.push_async_callback(responder.stop)


def _counted(metrics: Metrics, name: str, help_text: str) -> Callable[[str], None]:
    """A counter with the label `what`, which the shells take from a closed list."""
    counts = Counter[str]()
    metrics.counter(name, help_text, ("what",), lambda: [((what,), number) for what, number in counts.items()])
    return lambda what: counts.update((what,))


class LibraryDevices:
    """URLs for devices of the MAC library only, whatever enrolment would say."""

    def __init__(self, read_model: ReadModel, enrolment: EnrolmentUrls | None) -> None:
        self._read_model = read_model
        self._enrolment = enrolment

    async def url_for(self, mac: MacAddress) -> str | None:
        """As `EnrolmentUrls.url_for`."""
        try:
            if self._enrolment is None or await self._read_model.get(LibraryMac, mac.text) is None:
                return None
            return await self._enrolment.url_for(mac)
        except RegistryError:
            return None  # the device asks again
