"""Calls between UDP, TCP, TLS, WS and WSS, and what becomes of flows that end (traps 19 and 25 of sip-core.md, R16)."""

import asyncio
import shutil
import ssl
import time
from itertools import product
from pathlib import Path

import pytest
from wsproto.events import AcceptConnection, RejectConnection

from gateway.tls import local_certificates, utc
from sip.message import Request, Response
from sip.net.stream import StreamLimits
from sip.parser import parse
from tests.system.stream_peer import StreamPeer, Streams, WebSocketPeer, stream_gateway

pytestmark = pytest.mark.system
TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")


async def _invite(caller: StreamPeer, dialled: bytes, body: bytes = b"") -> Request:
    """Send an INVITE through its challenge; it has been answered 100."""
    headers = (b"Contact: <" + caller.phone.contact + b">",)
    data = await caller.challenged(caller.phone.request(b"INVITE", b"sip:" + dialled + b"@gw.test", headers=headers, body=body))
    assert (await caller.answer(data)).status == 100
    parsed = parse(data)
    assert isinstance(parsed, Request)
    return parsed


async def _call(caller: StreamPeer, callee: StreamPeer) -> tuple[Request, Request, Response]:
    """An answered and acknowledged call: the INVITE as sent, as it arrived, and the 200."""
    sent = await _invite(caller, callee.phone.user.encode())
    arrived = await callee.request()
    callee.reply(arrived, 180)
    assert (await caller.response()).status == 180
    callee.reply(arrived, 200)
    answered = await caller.response()
    assert answered.status == 200
    caller.send(caller.phone.in_dialog(b"ACK", answered, sent))
    assert (await callee.request()).method == b"ACK"
    return sent, arrived, answered


async def _registered(site: Streams, transport: str, user: str, *headers: bytes) -> StreamPeer:
    peer = await site.dial(transport, user)
    assert (await peer.register(*headers)).status == 200
    return peer


def _ports(message: Request | Response) -> list[int]:
    return [
        int(one.partition(b"@")[2].partition(b";")[0].strip(b">").rpartition(b":")[2]) for one in message.all(b"record-route")
    ]


@pytest.mark.parametrize(("here", "there"), list(product(TRANSPORTS, repeat=2)))
async def test_trap_19_a_call_between_any_two_transports(tmp_path: Path, here: str, there: str) -> None:
    """Record-Route names the way back for each side; re-INVITE, BYE and ACK work from both."""
    async with stream_gateway(tmp_path) as site:
        caller, callee = await _registered(site, here, "u1"), await _registered(site, there, "u2")
        sent, arrived, answered = await _call(caller, callee)
        ports = [site.addresses[there][1], site.addresses[here][1]]
        assert _ports(arrived) == _ports(answered) == (ports if here != there else ports[:1])
        assert b"0.0.0.0" not in arrived.to_bytes()
        assert arrived.all(b"via")[0].startswith(b"SIP/2.0/" + there.upper().encode() + b" 127.0.0.1:%d;" % ports[0])
        caller.send(caller.phone.in_dialog(b"INFO", answered, sent))
        info = await callee.request()
        assert (info.method, info.uri) == (b"INFO", callee.phone.contact)
        assert info.get(b"route") is None
        callee.reply(info, 200)
        assert (await caller.response()).status == 200
        callee.send(callee.phone.in_dialog_as_callee(b"BYE", arrived))
        bye = await caller.request()
        assert (bye.method, bye.uri) == (b"BYE", caller.phone.contact)
        caller.reply(bye, 200)
        assert (await callee.response()).status == 200
        async with asyncio.timeout(1):
            while not site.running.calls:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_trap_25_a_dead_flow_is_known_at_once_and_nobody_is_dialled(tmp_path: Path, transport: str) -> None:
    async with stream_gateway(tmp_path) as site:
        caller, callee = await _registered(site, "udp", "u1"), await _registered(site, transport, "u2")
        began = time.monotonic()
        callee.kill()
        await _invite(caller, b"u2")
        assert (await caller.response()).status in (430, 480)  # whether the INVITE or the end of the connection came first
        assert time.monotonic() - began < 1.0
        assert site.running.stored["u2"] == ()
        again = await _registered(site, transport, "u2")
        await _call(caller, again)


async def test_trap_25_a_callee_that_leaves_while_it_rings(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        caller, callee = await _registered(site, "tcp", "u1"), await _registered(site, "tcp", "u2")
        await _invite(caller, b"u2")
        callee.reply(await callee.request(), 180)
        assert (await caller.response()).status == 180
        callee.kill()
        began = time.monotonic()
        assert (await caller.response()).status in (430, 480)
        assert time.monotonic() - began < 1.0


async def test_a_caller_that_leaves_while_it_rings_is_cancelled(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        caller, callee = await _registered(site, "tcp", "u1"), await _registered(site, "udp", "u2")
        await _invite(caller, b"u2")
        callee.reply(await callee.request(), 180)
        assert (await caller.response()).status == 180
        caller.kill()
        assert (await callee.request()).method == b"CANCEL"


async def test_a_device_with_two_flows_rings_once_and_on_the_other_when_one_ends(tmp_path: Path) -> None:
    headers = (b"Supported: outbound",)
    async with stream_gateway(tmp_path) as site:
        caller = await _registered(site, "udp", "u1")
        first, second = await site.dial("tcp", "u2"), await site.dial("tls", "u2")
        for number, peer in enumerate((first, second), 1):
            contact = b'<%b>;+sip.instance="<urn:uuid:1>";reg-id=%d' % (peer.phone.contact, number)
            data = peer.phone.register(*headers, contact=contact)
            assert (await peer.answer(await peer.challenged(data))).status == 200
        await _call(caller, second)
        second.kill()
        await _call(caller, first)


async def test_trap_25_large_requests_take_the_stream_and_small_ones_do_not_stick_to_it(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        caller = await _registered(site, "udp", "u1")
        stream, datagrams = await site.dial("tcp", "u2"), await site.dial("udp", "u2")
        for number, peer in enumerate((stream, datagrams), 1):
            contact = b'<%b>;+sip.instance="<urn:uuid:1>";reg-id=%d' % (peer.phone.contact, number)
            data = peer.phone.register(b"Supported: outbound", contact=contact)
            assert (await peer.answer(await peer.challenged(data))).status == 200
        for size, ringing in ((1800, stream), (0, datagrams)):
            await _invite(caller, b"u2", b"v" * size)
            arrived = await ringing.request()
            assert len(arrived.body) == size
            ringing.reply(arrived, 486)
            assert (await ringing.request()).method == b"ACK"
            assert (await caller.response()).status == 486


async def test_a_certificate_is_renewed_without_dropping_anyone(tmp_path: Path) -> None:
    async with stream_gateway(tmp_path) as site:
        callee = await _registered(site, "tls", "u2")
        before = _certificate(callee)
        files = local_certificates(tmp_path / "new", {"localhost"}, utc(time.time()))
        shutil.copy(files.certificate, site.tls.certificates[0].files.certificate)
        shutil.copy(files.key, site.tls.certificates[0].files.key)
        site.tls.reload()
        site.client_tls = ssl.create_default_context(cafile=str(files.ca))
        caller = await _registered(site, "tls", "u1")
        assert _certificate(caller) != before == _certificate(callee)
        await _call(caller, callee)


def _certificate(peer: StreamPeer) -> bytes:
    connection: ssl.SSLObject = peer.writer.get_extra_info("ssl_object")
    return connection.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize(("origin", "status"), [(b"https://gw.test", 101), (b"https://evil.test", 403)])
async def test_a_foreign_page_gets_no_websocket(tmp_path: Path, origin: bytes, status: int) -> None:
    async with stream_gateway(tmp_path) as site:
        peer = await WebSocketPeer.dial(site.addresses["ws"])
        site.peers.append(peer)
        answer = await peer.upgrade(origin)
        assert isinstance(answer, AcceptConnection if status == 101 else RejectConnection)
        if isinstance(answer, RejectConnection):
            assert answer.status_code == status
            await peer.closed(1.0)


async def test_a_slow_callee_is_cut_off_and_its_caller_told(tmp_path: Path) -> None:
    """R11: what waits for one peer is bounded, and past the bound its flow is gone like any other."""
    async with stream_gateway(tmp_path, streams=StreamLimits(queued_octets=16384)) as site:
        caller, callee = await _registered(site, "tcp", "u1"), await _registered(site, "tcp", "u2")
        callee.writer.transport.pause_reading()  # type: ignore[attr-defined]
        headers = (b"Contact: <" + caller.phone.contact + b">",)
        statuses = set()
        for _ in range(400):
            message = caller.phone.request(b"MESSAGE", b"sip:u2@gw.test", headers=headers, body=b"x" * 50000)
            caller.send(await caller.challenged(message))
            if not site.running.core.bindings("u2", time.monotonic()):
                break
        async with asyncio.timeout(5):
            while 480 not in statuses:
                statuses.add((await caller.response()).status)
        assert "slow peer" in [one.reason for one in site.running.refused]
