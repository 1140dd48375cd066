"""A SIP peer on a TCP or TLS connection, and a gateway that accepts such connections, for tests over real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import time
from typing import Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import Event, Ping, TextMessage
from wsproto.events import Request as Upgrade

from gateway.accept import AcceptLimits, Acceptor
from gateway.handshakes import HandshakePlaces
from gateway.tls import ServerTls, local_certificates, utc
from sip.framing import KEEPALIVE, PONG, StreamFramer
from sip.message import Request, Response
from sip.net.stream import StreamLimits
from sip.parser import parse
from tests.sip.phones import Phone
from tests.system.sip_gateway import Gateway, gateway

Address = tuple[str, int]


class StreamPeer:
    """One connection; its phone's Via and Contact say which transport it uses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str, transport: str) -> None:
        self.reader, self.writer = reader, writer
        self._framer = StreamFramer()
        self._inbox: list[bytes] = []
        self._transport = transport
        host, port = writer.get_extra_info("sockname")[:2]
        self.phone = Phone(user[:1].upper(), user, host, port, password=b"secret")
        self.phone.contact = b"sip:%b@%b;transport=%b" % (user.encode(), self.phone.sent_by, transport.encode())

    @classmethod
    async def dial(cls, address: Address, user: str = "u1", tls: ssl.SSLContext | None = None, local: str = "") -> Self:
        reader, writer = await asyncio.open_connection(
            *address, ssl=tls, server_hostname="localhost" if tls else None, local_addr=(local, 0) if local else None
        )
        return cls(reader, writer, user, "tls" if tls else "tcp")

    def own(self, data: bytes) -> bytes:
        """A message of the phone as this transport writes it."""
        return data.replace(b"SIP/2.0/UDP", b"SIP/2.0/" + self._transport.upper().encode(), 1)

    def send(self, data: bytes) -> None:
        self.writer.write(self.own(data))

    async def receive(self, seconds: float = 5.0) -> bytes:
        """The next message, ping or pong; b"" when the gateway has closed."""
        async with asyncio.timeout(seconds):
            while not self._inbox:
                data = await self.reader.read(65536)
                if not data:
                    return b""
                self._inbox += self._framer.feed(data)
        return self._inbox.pop(0)

    async def response(self) -> Response:
        while (data := await self.receive()) in (PONG, KEEPALIVE):
            pass
        parsed = parse(data)
        assert isinstance(parsed, Response), parsed
        return parsed

    async def request(self) -> Request:
        parsed = parse(await self.receive())
        assert isinstance(parsed, Request), parsed
        return parsed

    async def answer(self, data: bytes) -> Response:
        self.send(data)
        return await self.response()

    async def challenged(self, data: bytes) -> bytes:
        """The request again with credentials, after its challenge."""
        return self.phone.with_credentials(self.own(data), await self.answer(data))

    async def register(self, *headers: bytes) -> Response:
        return await self.answer(await self.challenged(self.phone.register(*headers)))

    async def closed(self, seconds: float = 5.0) -> None:
        """Wait until the gateway has closed; what still comes is thrown away."""
        async with asyncio.timeout(seconds):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                return

    def reply(self, request: Request, status: int) -> None:
        self.send(self.phone.reply(request, status))

    def close(self) -> None:
        self.writer.close()

    def kill(self) -> None:
        self.writer.transport.abort()


class DatagramPeer(StreamPeer):
    """The same over UDP."""

    def __init__(self, address: Address, user: str) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(address)
        self._socket.setblocking(False)
        self._transport = "udp"
        host, port = self._socket.getsockname()[:2]
        self.phone = Phone(user[:1].upper(), user, host, port, password=b"secret")

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    async def receive(self, seconds: float = 5.0) -> bytes:
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65535)

    def kill(self) -> None:
        self._socket.close()


class WebSocketPeer(StreamPeer):
    """The same over a WebSocket, as a browser does it: Via and Contact name no address (RFC 7118 5.2)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str, transport: str) -> None:
        super().__init__(reader, writer, user, transport)
        self._transport = "wss" if transport == "tls" else "ws"
        self.phone.sent_by = b"df7jal23ls0d.invalid"
        self.phone.contact = b"sip:%b@df7jal23ls0d.invalid;transport=ws" % user.encode()
        self._socket = WSConnection(ConnectionType.CLIENT)

    async def upgrade(self, origin: bytes = b"") -> Event:
        """The answer to the upgrade; `origin` as a page's."""
        headers = [(b"Origin", origin)] if origin else []
        self.writer.write(self._socket.send(Upgrade(host="gw.test", target="/", subprotocols=["sip"], extra_headers=headers)))
        return await self._event()

    def send(self, data: bytes) -> None:
        self.writer.write(self._socket.send(TextMessage(self.own(data).decode())))

    async def receive(self, seconds: float = 5.0) -> bytes:
        async with asyncio.timeout(seconds):
            event = await self._event()
        return event.data.encode() if isinstance(event, TextMessage) else b""

    async def _event(self) -> Event:
        """The next one but pings, which are answered."""
        while True:
            event = next(self._socket.events(), None)
            if isinstance(event, Ping):
                self.writer.write(self._socket.send(event.response()))
            elif event is not None:
                return event
            else:
                self._socket.receive_data(await self.reader.read(65536) or None)


class Streams:
    """A gateway with all transports on one host."""

    def __init__(self, running: Gateway, udp: Address, certificates: Path) -> None:
        self.running = running
        self.addresses: dict[str, Address] = {"udp": udp}
        self.tls = ServerTls([local_certificates(certificates, {"localhost", "127.0.0.1"}, utc(time()))])
        self.client_tls = ssl.create_default_context(cafile=str(self.tls.ca))
        self.refused: list[str] = []
        self.acceptors: dict[str, Acceptor] = {}
        self.peers: list[StreamPeer] = []

    async def dial(self, transport: str, user: str = "u1", local: str = "") -> StreamPeer:
        if transport == "udp":
            self.peers.append(peer := DatagramPeer(self.addresses["udp"], user))
            return peer
        tls = self.client_tls if transport in ("tls", "wss") else None
        return await self.connect(transport, tls, user, local)

    async def connect(self, transport: str, tls: ssl.SSLContext | None = None, user: str = "u1", local: str = "") -> StreamPeer:
        """A connection to this port, with TLS of the caller's choice."""
        kind = WebSocketPeer if transport.startswith("ws") else StreamPeer
        peer = await kind.dial(self.addresses[transport], user, tls, local)
        self.peers.append(peer)
        if isinstance(peer, WebSocketPeer):
            await peer.upgrade()
        return peer


@asynccontextmanager
async def stream_gateway(
    folder: Path, *, host: str = "127.0.0.1", streams: StreamLimits | None = None, accept: AcceptLimits | None = None
) -> AsyncIterator[Streams]:
    """Accounts u1 to u4 of one site, and everything closed at the end."""
    async with gateway(host, streams=streams) as (running, address):
        for number in range(1, 5):
            running.add(f"u{number}")
        site = Streams(running, address, folder)
        handshakes = HandshakePlaces()
        for transport, context in (
            ("tcp", None),
            ("tls", site.tls.context([])),
            ("ws", None),
            ("wss", site.tls.context(["http/1.1"])),
        ):
            acceptor = Acceptor(
                connect=partial(running.service.connect, transport),
                tls=context,
                handshakes=handshakes,
                refused=site.refused.append,
                limits=accept,
            )
            site.addresses[transport] = await acceptor.start(host, 0)
            site.acceptors[transport] = acceptor
            running.service.listening(transport, site.addresses[transport])
        try:
            yield site
        finally:
            for peer in site.peers:
                peer.kill()
            for acceptor in site.acceptors.values():
                await acceptor.stop()
