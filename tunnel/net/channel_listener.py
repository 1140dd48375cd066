"""`ChannelListener`: the gateway's end of all channels: handshake, the table of who is online, drain.

Connections are accepted, and brought through TLS, by the node: it calls `connect` for each.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Collection, Iterable
from typing import Any

from registry.connector import ConnectorName
from registry.mac import MacAddress
from tunnel.clones import CloneWatch
from tunnel.errors import Code, PeerError
from tunnel.frames import ALPN, KEY_SIZE, Frame, Limits, Side
from tunnel.handshake import GatewayHandshake
from tunnel.mux import Mux
from tunnel.net.connector_links import ConnectorLinks
from tunnel.net.device_link import AgentLink, DeviceLink
from tunnel.net.link import Link
from tunnel.net.ports import ChannelKeys, ChannelObserver, ConnectorPorts, EventSink, Generations, Seat


class ChannelListener:
    """Takes links, one per device: a newly authenticated one replaces the older at once.

    `certificate_sha256(connection)` is the SHA-256 of the DER of the certificate that this connection was shown, which the
    handshake's proofs cover. `entropy(n)` gives n random bytes. `first_message` is the deadline of the whole handshake after
    TLS, in seconds. `certified(connection)` gives the MACs that a connection's client certificate speaks for: such a device needs
    no key, though it must be known. `connectors` None: none is let in.
    """

    def __init__(
        self,
        *,
        certificate_sha256: Callable[[ssl.SSLObject], bytes],
        keys: ChannelKeys,
        generations: Generations,
        events: EventSink,
        observer: ChannelObserver,
        entropy: Callable[[int], bytes],
        connectors: ConnectorPorts | None = None,
        limits: Limits | None = None,
        first_message: float = 30.0,
        certified: Callable[[ssl.SSLObject], Collection[MacAddress]] = lambda _connection: (),
    ) -> None:
        self._certificate_sha256 = certificate_sha256
        self._keys = keys
        self._generations = generations
        self._events = events
        self._observer = observer
        self._entropy = entropy
        self._limits = limits or Limits()
        self._first_message = first_message
        self._certified = certified
        self._clones = CloneWatch()
        self._dummy_key = entropy(KEY_SIZE)
        self.connectors = ConnectorLinks(connectors, entropy, self._limits)
        self._links: dict[MacAddress, DeviceLink] = {}
        self._all: set[DeviceLink] = set()
        self._emptied = asyncio.Event()
        self._arriving: set[asyncio.Task[None]] = set()
        self._stopping = False

    def link(self, mac: MacAddress) -> DeviceLink | None:
        """The device's link, None while it has none that takes new work."""
        found = self._links.get(mac)
        return None if found is None or found.leaving else found

    def online(self) -> Iterable[MacAddress]:
        """The devices with a link, a snapshot."""
        return tuple(self._links)

    def connect(self, seat: Seat) -> Link:
        """The protocol of one accepted connection. It keeps the seat until it is a device's link, or is refused or gone."""
        arrived: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def made(link: Link) -> None:
            task = asyncio.get_running_loop().create_task(self._welcome(link, arrived, seat))
            self._arriving.add(task)

            def done(task: asyncio.Task[None]) -> None:
                # Here and not in the task: one that is cancelled before its first step runs none of its own lines.
                self._arriving.discard(task)
                seat.release()
                if task.cancelled():
                    link.fail(PeerError(Code.SHUTDOWN, "the gateway stops"))

            task.add_done_callback(done)

        return Link(_once(arrived), _lost(arrived), made)

    async def stop(self, grace: float, *, retry_after: float = 1.0, jitter: float = 30.0) -> None:
        """Drain: take no link, tell the devices to come back later, give open streams `grace` seconds, then close."""
        if self._stopping:
            return
        self._stopping = True
        for task in self._arriving:
            task.cancel()
        if self._arriving:
            await asyncio.wait(self._arriving)
        for link in self._open_links():
            link.drain(retry_after, jitter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while any(link.open_streams for link in self._open_links()):
                    self._emptied.clear()
                    await self._wait_for_streams()
        for link in self._open_links():
            link.close(Code.SHUTDOWN, "the gateway stops")

    def _open_links(self) -> list[AgentLink[Any]]:
        return [*self._all, *self.connectors.all]

    async def _wait_for_streams(self) -> None:
        """Until a link ended or a moment passed: streams end too often to be told of each."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await self._emptied.wait()

    async def _welcome(self, link: Link, arrived: asyncio.Future[Frame], seat: Seat) -> None:
        """One connection that is through TLS, until it is a device's link or refused."""
        try:
            async with asyncio.timeout(self._first_message):
                await self._authenticate(link, arrived, seat)
        except TimeoutError:
            link.fail(PeerError(Code.TIMEOUT, "handshake deadline"))
            self._observer.channel_refused("handshake-timeout")
        except PeerError as error:
            link.fail(error)
            self._observer.channel_refused(error.code.name.lower().replace("_", "-"))
        except ConnectionError:
            self._observer.channel_refused("gone")

    async def _authenticate(self, link: Link, arrived: asyncio.Future[Frame], seat: Seat) -> None:
        tls = link.tls
        if tls.selected_alpn_protocol() != ALPN:
            raise PeerError(Code.VERSION, "ALPN portico/1 expected")
        handshake = GatewayHandshake(
            certificate=self._certificate_sha256(tls), entropy=self._entropy, dummy_key=self._dummy_key, limits=self._limits
        )
        link.send(handshake.start())
        peer = handshake.receive(await arrived)
        if isinstance(peer, ConnectorName):
            await self.connectors.admit(link, handshake, peer, seat)
            return
        mac = peer
        try:
            key = await self._keys.channel_key(mac)
        except Exception:  # a store that is down is no verdict on the device
            raise PeerError(Code.INTERNAL, "try again later") from None
        handshake.key_found(key, certified=mac in self._certified(tls))
        if self._clones.refuses(mac, asyncio.get_running_loop().time()):
            raise PeerError(Code.CLONED, "two devices use this MAC")
        generation = await self._generations.next_generation(mac)
        self._establish(link, handshake, mac, generation, seat)

    def _establish(self, link: Link, handshake: GatewayHandshake, mac: MacAddress, generation: int, seat: Seat) -> None:
        older = self._links.get(mac)
        if older is not None and older.generation > generation:
            raise PeerError(Code.REPLACED, "a newer link is up")
        made = DeviceLink(
            link=link,
            peer=mac,
            generation=generation,
            address=seat.host,
            capabilities=handshake.capabilities,
            keep=self._events.on_event,
            entropy=self._entropy,
            ended=self._ended,
            event_failed=self._observer.event_failed,
        )
        mux = Mux(side=Side.GATEWAY, limits=self._limits, entropy=self._entropy, now=asyncio.get_running_loop().time())
        link.send(handshake.welcome(generation))
        if not link.start(mux, made):
            raise ConnectionResetError("gone during the handshake")
        seat.release()
        self._links[mac] = made
        self._all.add(made)
        self._observer.link_up(mac, generation)
        if older is not None:
            older.replaced = True
            if older.leaving:
                return  # draining: its streams run out beside the new link
            if addresses := self._clones.replaced(mac, older.address, made.address, asyncio.get_running_loop().time()):
                self._observer.clone_suspected(mac, addresses)
            older.close(Code.REPLACED, "a newer link of this device is up")

    def _ended(self, link: DeviceLink, reason: str) -> None:
        self._all.discard(link)
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
        self._emptied.set()
        self._observer.link_down(link.peer, link.generation, reason)


def _once(arrived: asyncio.Future[Frame]) -> Callable[[Frame], None]:
    """The first frame answers the future; a second one before WELCOME is against the protocol."""

    def on_frame(frame: Frame) -> None:
        if arrived.done():
            raise PeerError(Code.PROTOCOL, "a frame before WELCOME")
        arrived.set_result(frame)

    return on_frame


def _lost(arrived: asyncio.Future[Frame]) -> Callable[[PeerError | None], None]:
    """An end before the first frame: the waiting task hears of it. Later ends are noticed by `Link.start`."""

    def on_lost(error: PeerError | None) -> None:
        if not arrived.done():
            arrived.set_exception(error or ConnectionResetError("gone during the handshake"))
            arrived.exception()  # seen: the task may be past waiting

    return on_lost
