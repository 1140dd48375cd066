"""A SipService and a TrunkService on loopback, for tests that meet carriers over real sockets; probes at a test's pace."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from registry.trunk import Trunk, TrunkGateway
from sip.events import Output, TrunkChanged
from sip.net.resolver import Resolver
from sip.net.trunk_service import TrunkService
from sip.own_address import OwnAddress
from sip.timers import Timers
from sip.trunk_core import TrunkCore
from sip.trunk_gateways import Pace
from sip.trunk_state import TrunkFacts, TrunkState
from tests.system.sip_gateway import Gateway

PACE = Pace(up=0.2, down=0.2, answer=1.0, reconnect=0.1)
DEADLINE = 10.0


class TrunkSite:
    """The services, and what was said of trunks."""

    def __init__(self, tls: ssl.SSLContext | None, resolver: Resolver | None) -> None:
        self.core = TrunkCore(own=OwnAddress(frozenset((b"gw.test",)), {}), entropy=os.urandom, timers=Timers(t1=0.1), pace=PACE)
        self.sip = Gateway(None, os.urandom(32), trunks=self.core)
        self.trunks = TrunkService(
            self.core,
            self.sip.service,
            resolver or Resolver(clock=time.monotonic, fraction=lambda: 0.0),
            observe=self._observe,
            clock=time.monotonic,
            tls=tls or ssl.create_default_context(),
        )
        self.sip.service.serve_trunks(self.trunks)
        self.changes: list[TrunkChanged] = []
        self._happened = asyncio.Event()
        self.sip.heard = lambda _output: self._happened.set()

    def state(self, trunk: str = "t") -> TrunkState:
        found = self.trunks.state(trunk)
        assert found is not None
        return found

    def ups(self, trunk: str = "t") -> list[str]:
        """The states of the gateways in order."""
        return [one.state for one in self.state(trunk).gateways]

    async def until(self, true: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Look again at whatever is sent or said of trunks, until it is true."""
        async with asyncio.timeout(seconds):
            while not true():
                self._happened.clear()
                await self._happened.wait()

    def _observe(self, output: Output) -> None:
        if isinstance(output, TrunkChanged):
            self.changes.append(output)
        self._happened.set()


def facts(*gateways: TrunkGateway, password: bytes = b"", **fields: Any) -> TrunkFacts:
    """A trunk named "t"."""
    return TrunkFacts(Trunk("t", "Carrier", gateways, allowed_prefixes=("+49",), **fields), password)


@asynccontextmanager
async def trunk_site(
    host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, resolver: Resolver | None = None
) -> AsyncIterator[TrunkSite]:
    """A running site. At the end: no input may have raised inside it."""
    site = TrunkSite(tls, resolver)
    bound = await site.sip.service.start(host, 0)
    site.sip.service.listening("tcp", (host, bound[1]))
    site.sip.service.listening("tls", (host, bound[1]))
    try:
        yield site
    finally:
        site.trunks.stop()
        await site.sip.service.stop()
    assert site.trunks.unhandled == site.sip.service.unhandled == 0
