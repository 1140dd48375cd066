"""SIP over TCP and TLS on real sockets (trap 24 of sip-core.md, S14, S15, R11): framing, deadlines, slow and hostile peers."""

import asyncio
import ssl
import time
from dataclasses import replace
from pathlib import Path
from statistics import quantiles

import pytest

from gateway.accept import AcceptLimits
from sip.framing import KEEPALIVE, PONG
from sip.message import Response
from sip.net.stream import StreamLimits
from tests.system.stream_peer import StreamPeer, Streams, stream_gateway

pytestmark = pytest.mark.system
SHORT = StreamLimits(first_message_seconds=0.5, message_seconds=0.5, stranger_idle_seconds=1.0, idle_seconds=1.5)


def _options(peer: StreamPeer, body: bytes = b"") -> bytes:
    return peer.own(peer.phone.request(b"OPTIONS", b"sip:gw.test", body=body))


async def _bindings(site: Streams, user: str, number: int) -> None:
    """Wait until the user has so many bindings."""
    async with asyncio.timeout(1.0):
        while len(site.running.core.bindings(user, time.monotonic())) != number:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def test_a_browser_that_says_nothing_is_pinged_and_kept(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path, streams=replace(SHORT, ping_seconds=0.4)) as site:
        device, page = await site.dial("tls", "u1"), await site.dial("wss", "u2")
        assert (await page.register()).status == (await device.register()).status == 200
        told = asyncio.create_task(page.receive())
        await device.closed()
        assert not told.done()
        await _bindings(site, "u1", 0)
        await _bindings(site, "u2", 1)
        told.cancel()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_register_over_ipv4_and_ipv6(tmp_path: Path, transport: str, host: str) -> None:
    async with stream_gateway(tmp_path, host=host) as site:
        peer = await site.dial(transport)
        assert (await peer.register()).status == 200
        (stored,) = site.running.stored["u1"]
        assert stored.flow.startswith(f"{transport}:")
        assert stored.flow.endswith(f":{host}:{peer.phone.sent_by.rpartition(b':')[2].decode()}")
        assert site.acceptors[transport].strangers == 0  # it has proven who it is
        peer.close()
        await _bindings(site, "u1", 0)
        assert site.running.stored["u1"] == ()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_trap_24_every_byte_in_its_own_segment(tmp_path: Path, transport: str) -> None:
    async with stream_gateway(tmp_path) as site:
        peer = await site.dial(transport)
        for byte in _options(peer, "Tür und Tor äöü€".encode()):
            peer.writer.write(bytes((byte,)))
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert (await peer.response()).status == 200


async def test_trap_24_messages_and_pings_in_one_segment(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        peer = await site.dial("tcp")
        first, second = _options(peer), _options(peer, "mehr als ein Oktett: ü".encode())
        peer.writer.write(first + KEEPALIVE + second + first[:100])
        assert (await peer.response()).status == 200
        assert await peer.receive() == PONG
        assert (await peer.response()).status == 200
        peer.writer.write(first[100:])
        assert (await peer.response()).status == 200
        peer.writer.write(b"\r\n")
        await peer.writer.drain()
        peer.writer.write(b"\r\n")
        assert await peer.receive() == PONG


@pytest.mark.parametrize(
    ("length", "status"),
    [(b"", 400), (b"Content-Length: -5\r\n", 400), (b"Content-Length: 1000000000\r\n", 513), (b"l: 0\r\nl: 4\r\n", 400)],
    ids=["absent", "negative", "huge", "twice"],
)
async def test_trap_24_a_wrong_content_length_is_answered_and_closed(tmp_path: Path, length: bytes, status: int) -> None:
    async with stream_gateway(tmp_path) as site:
        peer = await site.dial("tcp")
        refused = await peer.answer(_options(peer).replace(b"Content-Length: 0\r\n", length))
        assert refused.status == status
        await peer.closed()
        assert len(site.running.malformed) == 1


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\xff\x00" * 40, b"x" * 9000],
    ids=["http", "tls", "noise", "no line end"],
)
async def test_trap_24_other_protocols_are_closed_at_once(tmp_path: Path, noise: bytes) -> None:
    async with stream_gateway(tmp_path) as site:
        peer = await site.dial("tcp")
        peer.writer.write(noise)
        await peer.closed(1.0)
        again = await site.dial("tcp")
        assert (await again.answer(_options(again))).status == 200


async def test_plain_sip_on_the_tls_port_is_refused(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        peer = await site.connect("tls")
        peer.writer.write(_options(peer))
        await peer.closed()
        assert site.refused == ["handshake"]
        old = ssl.create_default_context(cafile=str(site.tls.ca))
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        modern = await site.connect("tls", old)
        assert (await modern.answer(_options(modern))).status == 200


async def test_trap_24_a_peer_that_never_reads_delays_nobody(tmp_path: Path) -> None:
    """It is cut off once 64 KiB wait for it, and another client's OPTIONS are as quick as before."""
    async with stream_gateway(tmp_path) as site:
        healthy, deaf = await site.dial("tcp"), await site.dial("tcp")
        quiet = await _p99(healthy, 200)
        ping = _options(deaf, b"x" * 2000)
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood = asyncio.create_task(_flood(deaf, ping))
        beside = await _p99(healthy, 200)
        await asyncio.wait_for(flood, 20)
        assert [one.reason for one in site.running.refused] == ["slow peer"]
        assert beside < max(10 * quiet, 0.1), (quiet, beside)


async def _p99(peer: StreamPeer, count: int) -> float:
    taken = []
    for _ in range(count):
        began = time.monotonic()
        assert (await peer.answer(_options(peer))).status == 200
        taken.append(time.monotonic() - began)
    return quantiles(taken, n=100)[98]


async def _flood(peer: StreamPeer, ping: bytes) -> None:
    """Write until the gateway has cut the connection."""
    try:
        while not peer.writer.transport.is_closing():
            peer.writer.write(ping * 50)
            await asyncio.wait_for(peer.writer.drain(), 1)
    except (ConnectionError, TimeoutError):
        peer.kill()


async def test_1000_silent_and_dripping_connections_are_shed(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path, streams=SHORT) as site:
        strangers = [await site.dial("tcp", local=f"127.0.0.{2 + n % 2}") for n in range(1000)]
        for peer in strangers[::2]:
            peer.writer.write(b"OPTIONS sip:gw.test SIP/2.0\r\nVia: ")
        honest = await site.dial("tcp")
        assert (await honest.register()).status == 200
        await asyncio.gather(*(peer.closed() for peer in strangers))
        assert site.running.service.streams == 1
        assert site.acceptors["tcp"].strangers == 0


async def test_a_full_house_lets_an_honest_peer_in_after_the_grace(tmp_path: Path) -> None:
    """All seats are held by silent strangers: the one who came first gives way."""
    limits = AcceptLimits(strangers=20, pressed_seconds=0.2)
    async with stream_gateway(tmp_path, accept=limits) as site:
        silent = [await site.dial("tcp") for _ in range(20)]
        honest = await site.dial("tcp")
        assert (await honest.register()).status == 200
        assert site.refused == ["strangers"]
        await silent[0].closed()


async def test_one_source_may_hold_so_many_seats(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path, accept=AcceptLimits(strangers_per_source=5)) as site:
        silent = [await site.dial("tcp", local="127.0.0.2") for _ in range(6)]
        await silent[5].closed(1.0)
        assert site.refused == ["strangers-per-source"]
        other = await site.dial("tcp", local="127.0.0.3")
        assert (await other.answer(_options(other))).status == 200


async def test_silent_tls_clients_do_not_hold_up_an_honest_one(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path, accept=AcceptLimits(tls_seconds=3.0)) as site:
        silent = [await site.connect("tls") for _ in range(100)]
        for peer in silent[:60]:
            peer.writer.write(b"\x16\x03\x01\x02\x00\x01\x00")  # begins its handshake, and stalls
        began = time.monotonic()
        honest = await site.dial("tls")
        assert (await honest.register()).status == 200
        assert time.monotonic() - began < 2.5
        await asyncio.gather(*(peer.closed() for peer in silent))


async def test_idle_connections_end_and_pings_keep_them(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path, streams=SHORT) as site:
        idle, pinging = await site.dial("tcp", "u1"), await site.dial("tcp", "u2")
        assert (await idle.register()).status == (await pinging.register()).status == 200
        idle_ends = asyncio.create_task(idle.closed())
        while not idle_ends.done():
            pinging.writer.write(KEEPALIVE)
            assert await pinging.receive() in (PONG, KEEPALIVE)  # two pongs in a row look like a ping
            await asyncio.wait((idle_ends,), timeout=0.2)
        assert [one.reason for one in site.running.refused if one.status == 0] == ["idle"]
        await _bindings(site, "u1", 0)
        await _bindings(site, "u2", 1)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_stop_ends_connections_and_keeps_no_binding_of_theirs(tmp_path: Path, transport: str) -> None:
    """Also of a peer that does not read: it is cut off after a second."""
    async with stream_gateway(tmp_path) as site:
        peers = [await site.dial(transport, user) for user in ("u1", "u2")]
        for peer in peers:
            assert (await peer.register()).status == 200
        peers[1].writer.transport.pause_reading()  # type: ignore[attr-defined]
        await site.acceptors[transport].stop()
        await site.running.service.stop()
        assert site.running.stored == {"u1": (), "u2": ()}
        assert site.running.service.streams == 0
        await peers[0].closed(1.0)


async def test_connections_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        for _ in range(200):
            peer = await site.dial("tcp")
            peer.writer.write(peer.own(peer.phone.request(b"INVITE", b"sip:u2@gw.test")))
            peer.kill()
        last = await site.dial("tcp")
        answered = await last.answer(_options(last))
        assert isinstance(answered, Response)
        last.close()
        async with asyncio.timeout(2):
            while site.running.service.streams:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert site.acceptors["tcp"].strangers == 0
        census = site.running.core.census()
        assert (census.server_transactions, census.client_transactions) == (0, 0)
