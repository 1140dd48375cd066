"""Connections that are dialled to trunks: TLS verified by name, deadlines, reconnecting; and what comes in over them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any

import pytest

from gateway.tls import CertificateFiles, local_certificates, utc
from registry.trunk import SiteLandlines, TrunkGateway, TrunkTransport
from sip.events import GatewayHeard
from sip.framing import StreamFramer
from sip.message import Request, Response
from sip.net import trunk_service
from sip.net.resolver import Resolver
from sip.parser import parse
from sip.responses import make_response
from tests.sip.phones import Phone
from tests.system.peers import free_udp_port
from tests.system.trunk_site import facts, trunk_site

pytestmark = pytest.mark.system
NAME = "carrier.test"


class StreamCarrier:
    """Answers OPTIONS on every connection; keeps what else it is told."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: list[asyncio.StreamWriter] = []
        self.requests: list[Request] = []
        self.inbox: asyncio.Queue[Request | Response] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        framer = StreamFramer()
        while data := await _read(reader):
            for piece in framer.feed(data):
                message = parse(piece)
                if isinstance(message, Request) and message.method == b"OPTIONS":
                    self.requests.append(message)
                    writer.write(make_response(message, 200, to_tag=b"c").to_bytes())
                else:
                    self.inbox.put_nowait(message)
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


@asynccontextmanager
async def stream_carrier(files: CertificateFiles | None = None) -> AsyncIterator[StreamCarrier]:
    carrier, tls = StreamCarrier(), None
    if files is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(files.certificate, files.key)
    server = await asyncio.start_server(carrier.serve, "127.0.0.1", 0, ssl=tls)
    carrier.port = server.sockets[0].getsockname()[1]
    try:
        yield carrier
    finally:
        server.close()
        for one in carrier.connections:
            one.close()
        await asyncio.gather(*(one.wait_closed() for one in carrier.connections), return_exceptions=True)


def naming(address: str = "127.0.0.1") -> Resolver:
    """A DNS that knows every name, at this address."""

    async def lookup(_host: str) -> Sequence[str]:
        return [address]

    return Resolver(clock=time, fraction=lambda: 0.0, lookup=lookup)


def trusting(files: CertificateFiles) -> ssl.SSLContext:
    assert files.ca is not None
    return ssl.create_default_context(cafile=str(files.ca))


async def test_tls_is_verified_by_the_configured_name(tmp_path: Path) -> None:
    files = local_certificates(tmp_path, (NAME,), utc(time()))
    async with stream_carrier(files) as carrier, trunk_site(tls=trusting(files), resolver=naming()) as site:
        site.trunks.configure(
            [
                facts(
                    TrunkGateway(NAME, carrier.port, TrunkTransport.TLS),
                    TrunkGateway("another.test", carrier.port, TrunkTransport.TLS),
                    TrunkGateway("127.0.0.1", carrier.port, TrunkTransport.TLS),
                )
            ]
        )
        await site.until(lambda: "unknown" not in site.ups())
        assert site.ups() == ["up", "down", "down"]
        assert [one.why for one in site.changes if one.what == "down"] == ["no connection"] * 2
        assert len({request.top_via.transport for request in carrier.requests}) == 1
        assert carrier.requests[0].top_via.transport == b"TLS"


async def test_an_authority_we_do_not_trust_is_refused(tmp_path: Path) -> None:
    files = local_certificates(tmp_path, (NAME,), utc(time()))
    async with stream_carrier(files) as carrier, trunk_site(resolver=naming()) as site:
        site.trunks.configure([facts(TrunkGateway(NAME, carrier.port, TrunkTransport.TLS))])
        await site.until(lambda: site.ups() == ["down"])
        assert carrier.requests == []


async def test_one_connection_is_kept_and_replaced_when_the_carrier_closes_it() -> None:
    async with stream_carrier() as carrier, trunk_site() as site:
        site.trunks.configure([facts(TrunkGateway("127.0.0.1", carrier.port, TrunkTransport.TCP))])
        await site.until(lambda: len(carrier.requests) >= 3)
        assert len(carrier.connections) == 1
        carrier.connections[0].close()
        await site.until(lambda: len(carrier.connections) == 2 and site.ups() == ["up"])
        assert [one.what for one in site.changes] == ["up"], "one lost connection is no outage"
        assert site.sip.service.streams == 1


async def test_a_carrier_that_takes_the_connection_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk_service, "DIAL_DEADLINE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with trunk_site(resolver=naming()) as site:
            site.trunks.configure([facts(TrunkGateway(NAME, silent.getsockname()[1], TrunkTransport.TLS))])
            await site.until(lambda: site.ups() == ["down"])
            assert site.changes[-1].why == "no connection"
            assert site.sip.service.streams == 0


async def test_what_a_trunk_asks_of_us_is_a_strangers_request() -> None:
    """S12: a trunk's address is no password. Its INVITE is challenged like anybody's and goes nowhere."""
    async with stream_carrier() as carrier, trunk_site() as site:
        site.sip.add("door")
        site.trunks.configure([facts(TrunkGateway("127.0.0.1", carrier.port, TrunkTransport.TCP))])
        await site.until(lambda: site.ups() == ["up"])
        phone = Phone("T", "+49301234567", "127.0.0.1", carrier.port)
        for target in ("door", "+4930999999", "+12125550100"):
            invite = phone.request(b"INVITE", b"sip:%b@gw.test" % target.encode()).replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP", 1)
            carrier.connections[0].write(invite)
            answer = await asyncio.wait_for(carrier.inbox.get(), 5.0)
            assert isinstance(answer, Response)
            assert answer.status == 407, target
        assert carrier.inbox.empty()
        assert site.sip.core.census().calls == 0


async def test_a_challenge_to_a_probe_harvests_nothing() -> None:
    """S08: OPTIONS answered with 401: it proves life, and is not asked again with credentials."""
    async with trunk_site() as site:
        carrier = asyncio.get_running_loop()
        heard: list[bytes] = []

        class Harvester(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport: Any = transport

            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                heard.append(data)
                request = parse(data)
                assert isinstance(request, Request)
                challenge = (b"www-authenticate", b'Digest realm="x", nonce="n", qop="auth"')
                response = make_response(request, 401, to_tag=b"h", extra=(challenge,))
                self.transport.sendto(response.to_bytes(), addr)

        transport, _ = await carrier.create_datagram_endpoint(Harvester, ("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        site.trunks.configure([facts(TrunkGateway("127.0.0.1", port), password=b"secret", username="u")])
        await site.until(lambda: len(heard) >= 3)
        transport.close()
        assert site.ups() == ["up"]
        assert not any(b"uthorization" in data for data in heard)


async def test_what_calls_tell_of_a_gateway_reaches_its_health() -> None:
    async with trunk_site() as site:
        site.trunks.configure([facts(TrunkGateway("127.0.0.1", free_udp_port()), probe=False)])
        await site.until(lambda: site.ups() == ["up"])
        legs = site.core.legs("x", "+49301234567", SiteLandlines("x"))
        assert isinstance(legs, tuple)
        for _ in range(2):
            site.sip.core._outputs.append(GatewayHeard(legs[0].gateway, False))
            site.sip.service.drained()
        assert site.ups() == ["down"]
        assert site.changes[-1].why == "call failed"
