"""`ChannelListener`: the gateway's end of all channels: TLS, handshake, the table of who is online, drain."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry.mac import MacAddress
from tunnel.errors import Code, PeerError
from tunnel.frames import ALPN, KEY_SIZE, Frame, Limits, Side
from tunnel.handshake import GatewayHandshake
from tunnel.mux import Mux
from tunnel.net.accept import AcceptLimits, Acceptor, Seat
from tunnel.net.device_link import DeviceLink
from tunnel.net.link import Link, tune
from tunnel.net.ports import ChannelKeys, ChannelObserver, EventSink, Generations


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A server TLS context and the SHA-256 of its leaf certificate's DER, which the handshake's proofs cover.

    The context must hold exactly one certificate: the listener cannot ask it which one a client saw.
    """

    context: ssl.SSLContext
    certificate_sha256: bytes

    def __post_init__(self) -> None:
        if len(self.certificate_sha256) != 32:
            raise ValueError("a SHA-256 has 32 bytes")


class ChannelListener:
    """Accepts links, one per device: a newly authenticated one replaces the older at once.

    `entropy(n)` gives n random bytes. `first_message` is the deadline of the whole handshake after TLS, in seconds.
    """

    def __init__(
        self,
        *,
        tls: TlsIdentity,
        keys: ChannelKeys,
        generations: Generations,
        events: EventSink,
        observer: ChannelObserver,
        entropy: Callable[[int], bytes],
        limits: Limits | None = None,
        accept_limits: AcceptLimits | None = None,
        first_message: float = 30.0,
    ) -> None:
        self.use_tls(tls)
        self._keys = keys
        self._generations = generations
        self._events = events
        self._observer = observer
        self._entropy = entropy
        self._limits = limits or Limits()
        self._accept_limits = accept_limits or AcceptLimits()
        self._first_message = first_message
        self._dummy_key = entropy(KEY_SIZE)
        self._links: dict[MacAddress, DeviceLink] = {}
        self._all: set[DeviceLink] = set()
        self._emptied = asyncio.Event()
        self._acceptor: Acceptor | None = None

    def use_tls(self, tls: TlsIdentity) -> None:
        """Use this certificate for new links (first start, SIGHUP). Running links keep theirs."""
        tls.context.set_alpn_protocols([ALPN])
        self._tls = tls

    def link(self, mac: MacAddress) -> DeviceLink | None:
        """The device's link, None while it has none that takes new work."""
        found = self._links.get(mac)
        return None if found is None or found.leaving else found

    def online(self) -> Iterable[MacAddress]:
        """The devices with a link, a snapshot."""
        return tuple(self._links)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen on an IP address (port 0: any); returns what was bound. Raises OSError."""
        self._acceptor = Acceptor(
            serve=self._serve, refused=self._observer.channel_refused, limits=self._accept_limits, tune=tune
        )
        return await self._acceptor.start(host, port)

    async def stop(self, grace: float, *, retry_after: float = 1.0, jitter: float = 30.0) -> None:
        """Drain: accept nothing, tell the devices to come back later, give open streams `grace` seconds, then close."""
        if self._acceptor is None:
            return
        await self._acceptor.stop()
        self._acceptor = None
        for link in list(self._all):
            link.drain(retry_after, jitter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while any(link.open_streams for link in self._all):
                    self._emptied.clear()
                    await self._wait_for_streams()
        for link in list(self._all):
            link.close(Code.SHUTDOWN, "the gateway stops")

    async def _wait_for_streams(self) -> None:
        """Until a link ended or a moment passed: streams end too often to be told of each."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await self._emptied.wait()

    async def _serve(self, sock: socket.socket, seat: Seat) -> None:
        """One new connection, until it is a link or refused."""
        if self._acceptor is None:
            return  # stopped between accept and now
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Frame] = loop.create_future()
        tls = self._tls
        link_made = Link(_once(arrived), _lost(arrived))
        try:
            await self._acceptor.handshake(sock, seat, lambda: link_made, tls.context)
        except OSError:
            self._observer.channel_refused("tls")
            return
        try:
            async with asyncio.timeout(self._first_message):
                await self._authenticate(link_made, arrived, tls, seat)
        except TimeoutError:
            link_made.fail(PeerError(Code.TIMEOUT, "handshake deadline"))
            self._observer.channel_refused("handshake-timeout")
        except PeerError as error:
            link_made.fail(error)
            self._observer.channel_refused(error.code.name.lower().replace("_", "-"))
        except ConnectionError:
            self._observer.channel_refused("gone")
        except asyncio.CancelledError:
            link_made.fail(PeerError(Code.SHUTDOWN, "the gateway stops"))
            raise

    async def _authenticate(self, link: Link, arrived: asyncio.Future[Frame], tls: TlsIdentity, seat: Seat) -> None:
        if link.tls.selected_alpn_protocol() != ALPN:
            raise PeerError(Code.VERSION, "ALPN portico/1 expected")
        handshake = GatewayHandshake(
            certificate=tls.certificate_sha256, entropy=self._entropy, dummy_key=self._dummy_key, limits=self._limits
        )
        link.send(handshake.start())
        mac = handshake.receive(await arrived)
        try:
            key = await self._keys.channel_key(mac)
        except Exception:  # a store that is down is no verdict on the device
            raise PeerError(Code.INTERNAL, "try again later") from None
        handshake.key_found(key)
        generation = await self._generations.next_generation(mac)
        self._establish(link, handshake, mac, generation, seat)

    def _establish(self, link: Link, handshake: GatewayHandshake, mac: MacAddress, generation: int, seat: Seat) -> None:
        older = self._links.get(mac)
        if older is not None and older.generation > generation:
            raise PeerError(Code.REPLACED, "a newer link is up")
        made = DeviceLink(
            link=link,
            mac=mac,
            generation=generation,
            address=seat.address,
            capabilities=handshake.capabilities,
            sink=self._events,
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
            older.close(Code.REPLACED, "a newer link of this device is up")

    def _ended(self, link: DeviceLink, reason: str) -> None:
        self._all.discard(link)
        if self._links.get(link.mac) is link:
            del self._links[link.mac]
        self._emptied.set()
        self._observer.link_down(link.mac, link.generation, reason)


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
