"""A SipService on loopback with accounts in a dict, for tests that meet it over real sockets."""

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from registry.location import Binding
from registry.ring_plan import RingPlan
from registry.trunk import SiteLandlines
from sip.binding import LiveBinding
from sip.core import SipCore
from sip.directory import UNKNOWN, Absent, AccountFacts, PushParameters, Question
from sip.events import CallEnded, KeyPressed, Malformed, Output, Push, PushChanged, Refused
from sip.limits import SipLimits
from sip.media_engine import MediaRequest
from sip.media_rule import MediaRule
from sip.net.service import SipService
from sip.net.stream import StreamLimits
from sip.push import applied
from sip.trunk_core import TrunkCore


class Gateway:
    """The service, what it was told to keep, and what it said."""

    def __init__(
        self,
        limits: SipLimits | None,
        secret: bytes,
        streams: StreamLimits | None = None,
        media: MediaRule | None = None,
        trunks: TrunkCore | None = None,
    ) -> None:
        self.accounts: dict[str, AccountFacts] = {}
        self.plans: dict[tuple[str, str], RingPlan] = {}
        self.limits: dict[str, SiteLandlines] = {}
        self.stored: dict[str, tuple[Binding, ...]] = {}
        self.calls: list[CallEnded] = []
        self.refused: list[Refused] = []
        self.malformed: list[Malformed] = []
        self.asked: list[Question] = []
        self.missing = False
        """Accounts are not in memory until they are fetched once."""
        self.fails = False
        """Fetching raises."""
        self.apps: dict[str, tuple[PushParameters, ...]] = {}
        """How each account's apps are woken, as REGISTERs said."""
        self.on_push: Callable[[Push], None] = lambda _push: None
        self.on_media: Callable[[MediaRequest], None] = lambda _request: None
        self.keys: list[KeyPressed] = []
        self.heard: Callable[[Output], None] = lambda _output: None
        self.core = SipCore(
            directory=self,
            entropy=os.urandom,
            secret=secret,
            realm="portico",
            domains=frozenset((b"gw.test",)),
            advertised={},
            limits=limits,
            started=time.monotonic(),
            push=self,
            trunks=trunks,
            media=media,
        )
        self.service = SipService(
            self.core,
            facts=self,
            on_bindings=self._keep,
            on_call=lambda ended, _wall: self.calls.append(ended),
            observe=self._observe,
            on_push=lambda push: self.on_push(push),
            on_push_changed=self._push_changed,
            on_key=self.keys.append,
            on_media=lambda request: self.on_media(request),
            clock=time.monotonic,
            wall=time.time,
            entropy=os.urandom,
            stream_limits=streams,
        )

    def _keep(self, aor: str, bindings: tuple[LiveBinding, ...]) -> None:
        offset = time.time() - time.monotonic()
        self.stored[aor] = tuple(one.stored(offset) for one in bindings)

    def account(self, username: str) -> AccountFacts | Absent | None:
        return UNKNOWN if self.missing else self.accounts.get(username)

    def ring_plan(self, site: str, number: str) -> RingPlan | Absent | None:
        return self.plans.get((site, number))

    def landlines(self, site: str) -> SiteLandlines | Absent | None:
        return self.limits.get(site)

    async def fetch(self, question: Question) -> None:
        self.asked.append(question)
        if self.fails:
            raise ConnectionError("the store is down")
        self.missing = False

    def providers(self) -> tuple[str, ...]:
        return ("fcm",)

    def parameters(self, username: str) -> tuple[PushParameters, ...]:
        return self.apps.get(username, ())

    def add(self, username: str, site: str = "north", password: bytes = b"secret", kind: str = "device") -> None:
        self.accounts[username] = AccountFacts(username, site, password, kind=kind)

    def _push_changed(self, changed: PushChanged) -> None:
        self.apps[changed.account] = applied(self.parameters(changed.account), changed.change)

    def _observe(self, output: Output) -> None:
        self.heard(output)
        if isinstance(output, Refused):
            self.refused.append(output)
        elif isinstance(output, Malformed):
            self.malformed.append(output)


@asynccontextmanager
async def gateway(
    host: str = "127.0.0.1",
    limits: SipLimits | None = None,
    secret: bytes = b"",
    bindings: Mapping[str, tuple[Binding, ...]] | None = None,
    streams: StreamLimits | None = None,
    media: MediaRule | None = None,
) -> AsyncIterator[tuple[Gateway, tuple[str, int]]]:
    """A running gateway and its address. At the end: no input may have raised inside it."""
    running = Gateway(limits, secret or os.urandom(32), streams, media)
    for aor, stored in (bindings or {}).items():
        running.service.load_bindings(aor, stored)
    address = await running.service.start(host, 0)
    try:
        yield running, address
    finally:
        await running.service.stop()
    assert running.service.unhandled == 0
