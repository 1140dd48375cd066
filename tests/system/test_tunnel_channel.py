"""The channel over real TLS sockets: the handshake's refusals, eviction, death, drain, events, calls, hostile frames."""

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.accept import AcceptLimits
from registry.mac import MacAddress
from tests.system.tunnel_site import MAC, Site, eventually, make_certificate, running, tunnel_site
from tunnel.codec import Decoder, encode, pack_map, pack_u32, unpack_error
from tunnel.errors import Code, LinkDown, StreamClosed
from tunnel.frames import ACK, ALPN, HEADER, Frame, FrameType, Limits
from tunnel.handshake import AgentHandshake, Identity, Welcome
from tunnel.messages import Open
from tunnel.net.agent import backoff, client_context

pytestmark = pytest.mark.system

OTHER = MacAddress("0C1105AABBCD")


class RawPeer:
    """A device written by hand: TLS, frames, no mux."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self, context: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> "RawPeer":
        tls = context or client_context(ca_file=self._site.certificate.chain)
        self.reader, self.writer = await asyncio.open_connection(
            *self._site.channel_address,
            ssl=tls,
            server_hostname="localhost",
            local_addr=(source, 0) if self._site.channel_address[0] == "127.0.0.1" else None,
        )
        return self

    async def frame(self) -> Frame | None:
        """The next frame, None at the end of the connection."""
        async with asyncio.timeout(10):
            while not self._frames:
                try:
                    data = await self.reader.read(65_536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._frames += list(self._decoder.feed(data))
        return self._frames.pop(0)

    def send(self, kind: FrameType, stream: int = 0, payload: bytes = b"", flags: int = 0) -> None:
        self.writer.write(encode(kind, stream, payload, flags))

    async def log_in(self, identity: Identity, certificate: bytes | None = None) -> Welcome:
        seen = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        core = AgentHandshake(identity=identity, certificate=certificate or hashlib.sha256(seen).digest(), entropy=os.urandom)
        challenge = await self.frame()
        assert challenge is not None
        answer = core.receive(challenge)
        assert not isinstance(answer, Welcome)
        self.send(answer[0], 0, answer[1])
        frame = await self.frame()
        assert frame is not None
        welcome = core.receive(frame)
        assert isinstance(welcome, Welcome)
        ping = await self.frame()  # the gateway measures the path before there is anything on it
        assert ping is not None
        assert (ping.type, ping.flags) == (FrameType.PING, 0)
        self.send(FrameType.PING, 0, ping.payload, ACK)
        return welcome

    async def last_words(self) -> list[tuple[FrameType, bytes]]:
        """Everything until the gateway hangs up."""
        found = []
        while (frame := await self.frame()) is not None:
            found.append((frame.type, frame.payload))
        self.writer.close()
        return found


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def test_a_stream_carries_bytes_both_ways_and_half_closes() -> None:
    async with tunnel_site(echo) as site:
        link = site.channel.link(MAC)
        assert link is not None
        pipe = link.open("web")
        assert site.agent is not None
        host, port = site.agent._services["web"][:2]
        assert await pipe.opened() == f"{host}:{port}"
        sent = os.urandom(3_000_000)

        async def push() -> None:
            await pipe.write(sent)
            pipe.finish()

        pushing = asyncio.create_task(push())
        got = bytearray()
        while data := await pipe.read():
            got += data
        await pushing
        assert bytes(got) == sent
        assert list(site.channel.online()) == [MAC]


async def test_only_the_agents_own_services_are_reached() -> None:
    async with tunnel_site(echo) as site:
        link = site.channel.link(MAC)
        assert link is not None
        for service in ("ssh", "127.0.0.1", "web2", "169.254.169.254"):
            with pytest.raises(StreamClosed) as caught:
                await link.open(service).opened()
            assert caught.value.code == Code.SERVICE_REFUSED
        with pytest.raises(ValueError, match="service id"):
            link.open("127.0.0.1:22")


async def test_a_service_that_is_down_is_unreachable_not_silent() -> None:
    async with tunnel_site() as site:
        closed = socket.create_server(("127.0.0.1", 0))
        address = closed.getsockname()
        closed.close()
        async with running(site.make_agent({"web": address})):
            await site.recorder.until(lambda: site.channel.link(MAC) is not None)
            link = site.channel.link(MAC)
            assert link is not None
            with pytest.raises(StreamClosed) as caught:
                await link.open("web").opened()
            assert caught.value.code == Code.TARGET_UNREACHABLE


async def test_unknown_mac_wrong_key_and_replayed_proof_get_the_same_bytes() -> None:
    async with tunnel_site() as site:
        answers = []
        for identity, certificate in [
            (Identity(OTHER, os.urandom(32)), None),
            (Identity(MAC, os.urandom(32)), None),
            (site.identity, os.urandom(32)),
        ]:
            peer = await RawPeer(site).connect()
            challenge = await peer.frame()
            assert challenge is not None
            core = AgentHandshake(identity=identity, certificate=certificate or site.certificate.sha256, entropy=os.urandom)
            answer = core.receive(challenge)
            assert not isinstance(answer, Welcome)
            peer.send(answer[0], 0, answer[1])
            answers.append(await peer.last_words())
        assert answers[0] == answers[1] == answers[2]
        assert [kind for kind, _ in answers[0]] == [FrameType.ERROR]
        assert unpack_error(answers[0][0][1]) == (Code.NOT_AUTHORISED, "not authorised")
        await site.recorder.until(lambda: len(site.recorder.refused) == 3)
        assert site.recorder.refused == ["not-authorised"] * 3
        assert list(site.channel.online()) == []


async def test_a_man_in_the_middle_gets_no_link_even_from_a_device_that_checks_nothing() -> None:
    """The attacker ends the device's TLS with a certificate of its own and passes every byte on to the gateway."""
    async with tunnel_site() as site:
        folder = os.path.dirname(site.certificate.chain)
        own = make_certificate(folder, "attacker")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.chain, own.key)
        context.set_alpn_protocols([ALPN])
        errors: list[str] = []

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner = await RawPeer(site).connect()

            async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                while data := await source.read(4096):
                    target.write(data)
                target.close()

            await asyncio.gather(copy(reader, inner.writer), copy(inner.reader, writer), return_exceptions=True)

        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
        agent = site.make_agent({})
        agent._port = server.sockets[0].getsockname()[1]
        agent._tls = client_context(check=False)
        async with running(agent):
            await site.recorder.until(lambda: "not-authorised" in site.recorder.refused)
            errors.append(agent.last_error)
        server.close()
        assert list(site.channel.online()) == []
        assert not agent.connected


async def test_a_new_link_replaces_the_half_open_old_one_at_once_and_nobody_says_offline() -> None:
    async with tunnel_site() as site:
        old = await RawPeer(site).connect()
        first = await old.log_in(site.identity)
        await site.recorder.until(lambda: site.channel.link(MAC) is not None)
        old_link = site.channel.link(MAC)
        assert old_link is not None
        pipe = old_link.open("web")
        new = await RawPeer(site).connect()
        second = await new.log_in(site.identity)
        assert second.generation > first.generation
        with pytest.raises(StreamClosed) as caught:
            await pipe.opened()
        assert caught.value.code == Code.REPLACED
        kinds = await old.last_words()
        assert unpack_error(kinds[-1][1])[0] == Code.REPLACED
        assert site.recorder.channel == [
            ("up", MAC, first.generation),
            ("up", MAC, second.generation),
            ("down", MAC, first.generation, "replaced"),
        ]
        current = site.channel.link(MAC)
        assert current is not None
        assert current.generation == second.generation
        assert list(site.channel.online()) == [MAC]
        new.writer.close()
        await site.recorder.until(lambda: len(site.recorder.channel) == 4)
        assert site.recorder.channel[3] == ("down", MAC, second.generation, "lost")


async def test_a_silent_link_is_asked_and_then_dead() -> None:
    limits = Limits(ping_after=0.2, dead_after=0.5)
    async with tunnel_site(limits=limits) as site:
        peer = await RawPeer(site).connect()
        welcome = await peer.log_in(site.identity)
        assert (welcome.ping_after, welcome.dead_after) == (0.2, 0.5)
        started = asyncio.get_running_loop().time()
        kinds = [kind for kind, _ in await peer.last_words()]
        assert kinds == [FrameType.PING, FrameType.ERROR]
        assert 0.45 <= asyncio.get_running_loop().time() - started <= 2.0
        await site.recorder.until(lambda: len(site.recorder.channel) == 2)
        assert site.recorder.channel[-1] == ("down", MAC, welcome.generation, "silence")


async def test_an_idle_link_that_answers_pings_lives_on() -> None:
    async with tunnel_site(echo, limits=Limits(ping_after=0.05, dead_after=0.3)) as site:
        link = site.channel.link(MAC)
        assert link is not None
        await asyncio.sleep(0.9)  # three times what a silent link gets
        assert site.channel.link(MAC) is link
        assert site.recorder.channel == [("up", MAC, link.generation)]


async def test_silent_and_dripping_strangers_are_gone_by_their_deadline_and_an_honest_device_gets_in() -> None:
    limits = AcceptLimits(strangers=60, strangers_per_source=50, tls_seconds=1.0)
    async with tunnel_site(accept_limits=limits, first_message=1.0) as site:
        silent = [await asyncio.open_connection(*site.channel_address) for _ in range(30)]
        for _, writer in silent[:15]:
            writer.write(b"\x16")
        late = await RawPeer(site).connect()  # TLS, then nothing
        async with running(site.make_agent({})):
            await site.recorder.until(lambda: site.channel.link(MAC) is not None)
        assert [kind for kind, _ in await late.last_words()] == [FrameType.CHALLENGE, FrameType.ERROR]
        async with asyncio.timeout(8):
            for reader, writer in silent[:15]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
        for _, writer in silent[15:]:
            writer.close()
        assert "handshake-timeout" in site.recorder.refused


async def test_strangers_of_one_address_are_bounded() -> None:
    async with tunnel_site(accept_limits=AcceptLimits(strangers_per_source=3)) as site:
        peers = [await RawPeer(site).connect() for _ in range(3)]
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await RawPeer(site).connect()
        assert site.recorder.refused == ["strangers-per-source"]
        await peers[0].log_in(site.identity)
        more = await RawPeer(site).connect()  # who is known counts no more
        for peer in [*peers, more]:
            peer.writer.close()


async def test_another_alpn_or_none_is_turned_away() -> None:
    async with tunnel_site() as site:
        context = ssl.create_default_context(cafile=site.certificate.chain)
        peer = await RawPeer(site).connect(context)
        assert [unpack_error(payload)[0] for _, payload in await peer.last_words()] == [Code.VERSION]


HOSTILE = {
    "unknown type": HEADER.pack(0x7F, 0, 0, 0, 0),
    "oversized": HEADER.pack(FrameType.DATA, 0, 0, 1, 2**31),
    "unknown flags": HEADER.pack(FrameType.PING, 0x80, 0, 0, 8) + bytes(8),
    "reserved": HEADER.pack(FrameType.PING, 0, 7, 0, 8) + bytes(8),
    "never opened": encode(FrameType.DATA, 5, b"x"),
    "handshake again": encode(FrameType.HELLO, 0, pack_map({})),
    "bad map": encode(FrameType.EVENT, 0, b"\xdf\xff\xff\xff\xff"),
    "call from the agent": encode(FrameType.CALL, 0, pack_map({})),
    "not tls records of ours": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
async def test_hostile_frames_end_their_link_with_a_code_and_nothing_else(kind: str) -> None:
    async with tunnel_site() as site:
        peer = await RawPeer(site).connect()
        await peer.log_in(site.identity)
        peer.writer.write(HOSTILE[kind])
        words = await peer.last_words()
        assert words[-1][0] is FrameType.ERROR
        assert unpack_error(words[-1][1])[0] in (Code.PROTOCOL, Code.TOO_MUCH)
        await site.recorder.until(lambda: len(site.recorder.channel) == 2)
        assert list(site.channel.online()) == []


@pytest.mark.parametrize("kind", sorted(HOSTILE))
async def test_hostile_frames_before_the_handshake(kind: str) -> None:
    async with tunnel_site() as site:
        peer = await RawPeer(site).connect()
        assert (await peer.frame()).type is FrameType.CHALLENGE  # type: ignore[union-attr]
        peer.writer.write(HOSTILE[kind])
        words = await peer.last_words()
        assert unpack_error(words[-1][1])[0] in (Code.PROTOCOL, Code.TOO_MUCH, Code.VERSION)
        await site.recorder.until(lambda: len(site.recorder.refused) == 1)
        assert site.recorder.channel == []


async def test_a_device_may_open_nothing_at_the_gateway() -> None:
    async with tunnel_site() as site:
        peer = await RawPeer(site).connect()
        await peer.log_in(site.identity)
        peer.send(FrameType.OPEN, 2, Open("web").pack())
        answer = await peer.frame()
        assert answer == Frame(FrameType.RST, 2, pack_u32(Code.SERVICE_REFUSED))
        peer.writer.close()


async def test_a_device_that_stops_reading_costs_a_bounded_queue_and_only_its_stream_waits() -> None:
    async with tunnel_site() as site:
        peer = await RawPeer(site).connect()
        await peer.log_in(site.identity)
        await site.recorder.until(lambda: site.channel.link(MAC) is not None)
        link = site.channel.link(MAC)
        assert link is not None
        pipe = link.open("web")
        opened = await peer.frame()
        assert opened is not None
        assert opened.type is FrameType.OPEN
        peer.send(FrameType.OPENED, opened.stream, b"\x80")
        peer.send(FrameType.WINDOW, opened.stream, pack_u32(2**30))
        await pipe.opened()
        written = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                while True:
                    await pipe.write(bytes(16_384))
                    written += 16_384
        queued = link._link.queued
        assert queued <= 131_072
        assert written < 16_000_000, "the kernel's buffers and ours, no more"
        peer.writer.close()


async def test_events_arrive_once_acknowledged_and_again_if_not_kept() -> None:
    async with tunnel_site(echo) as site:
        assert site.agent is not None
        site.recorder.fail_events = 2
        async with asyncio.timeout(10):
            await site.agent.send_event("relay.opened", {"relay": 1, "by": "dtmf"})
        assert [(mac, event.name, dict(event.body)) for mac, event in site.recorder.events] == [
            (MAC, "relay.opened", {"relay": 1, "by": "dtmf"})
        ]
        assert site.recorder.channel.count(("event failed", MAC)) == 2
        await asyncio.gather(*(site.agent.send_event("n", {"n": number}) for number in range(100)))
        assert sorted(event.body["n"] for _, event in site.recorder.events[1:]) == list(range(100))


async def test_an_event_survives_the_link() -> None:
    async with tunnel_site() as site:
        agent = site.make_agent({})
        waiting = asyncio.create_task(agent.send_event("relay.opened", {}))
        async with running(agent):
            await asyncio.wait_for(waiting, 10)
        assert len(site.recorder.events) == 1
        with pytest.raises(ValueError, match="name"):
            await agent.send_event("NOT A NAME", {})


async def test_calls_are_answered_by_what_the_device_did() -> None:
    async def reboot(body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"after": body["delay"]}

    async def broken(_body: Mapping[str, Any]) -> Mapping[str, Any]:
        raise RuntimeError("said on purpose")

    async def never(_body: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with tunnel_site() as site:
        async with running(site.make_agent({}, calls={"reboot": reboot, "broken": broken, "never": never})):
            await site.recorder.until(lambda: site.channel.link(MAC) is not None)
            link = site.channel.link(MAC)
            assert link is not None
            result = await link.call("reboot", {"delay": 3}, 5.0)
            assert (result.ok, result.body) == (True, {"after": 3})
            for name, error in [("unknown", "unknown_call"), ("broken", "failed")]:
                result = await link.call(name, {}, 5.0)
                assert (result.ok, result.body) == (False, {"error": error})
            with pytest.raises(TimeoutError):
                await link.call("never", {}, 0.05)
            waiting = asyncio.create_task(link.call("never", {}, 30.0))
            await asyncio.sleep(0)
        with pytest.raises(LinkDown):
            await waiting


async def test_a_call_with_the_id_of_an_earlier_one_is_done_once_and_answered_alike() -> None:
    done = []
    begun, going = asyncio.Event(), asyncio.Event()

    async def switch(body: Mapping[str, Any]) -> Mapping[str, Any]:
        done.append(body["relay"])
        begun.set()
        await going.wait()
        return {"opened": True, "times": len(done)}

    async with tunnel_site() as site, running(site.make_agent({}, calls={"switch": switch})):
        await site.recorder.until(lambda: site.channel.link(MAC) is not None)
        link = site.channel.link(MAC)
        assert link is not None
        asked = [asyncio.create_task(link.call("switch", {"relay": 1}, 5.0, b"i" * 16)) for _ in range(3)]
        gone = asyncio.create_task(link.call("switch", {"relay": 1}, 5.0, b"i" * 16))
        await begun.wait()
        gone.cancel()  # who asked first, or last, leaves the others their answer
        asked[0].cancel()
        going.set()
        assert [(await one).body for one in asked[1:]] == [{"opened": True, "times": 1}] * 2
        assert (await link.call("switch", {"relay": 1}, 5.0, b"i" * 16)).body == {"opened": True, "times": 1}
        assert (await link.call("switch", {"relay": 1}, 5.0, b"j" * 16)).body == {"opened": True, "times": 2}
        assert done == [1, 1]


@pytest.mark.parametrize("stalls", [False, True])
async def test_a_link_that_is_silent_through_a_call_is_closed_and_a_busy_one_is_not(stalls: bool) -> None:
    async def never(_body: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with tunnel_site() as site, running(site.make_agent({}, calls={"never": never})) as agent:
        await site.recorder.until(lambda: site.channel.link(MAC) is not None)
        link = site.channel.link(MAC)
        assert link is not None
        device = agent._link
        assert device is not None
        assert device._transport is not None
        await eventually(lambda: link.round_trip is not None)
        if stalls:
            device._transport.pause_reading()
        with pytest.raises(TimeoutError):
            await link.call("never", {}, 1.0)
        if stalls:
            await site.recorder.until(lambda: ("down", MAC, link.generation) in [entry[:3] for entry in site.recorder.channel])
        else:
            assert site.channel.link(MAC) is link  # it has answered the PING, though not the call


async def test_the_agent_comes_back_by_itself() -> None:
    async with tunnel_site(echo) as site:
        first = site.channel.link(MAC)
        assert first is not None
        first.close(Code.INTERNAL, "said on purpose")
        await site.recorder.until(lambda: site.channel.link(MAC) not in (None, first))
        assert [entry[0] for entry in site.recorder.channel] == ["up", "down", "up"]


def test_back_off_is_full_jitter_and_bounded() -> None:
    assert [backoff(n, 0.999999) for n in range(8)] == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], rel=1e-5)
    assert backoff(10_000, 0.5) == 30.0
    assert backoff(3, 0.0) == 0.0


async def test_drain_lets_streams_end_and_tells_when_to_come_back() -> None:
    async with tunnel_site(echo) as site:
        link = site.channel.link(MAC)
        assert link is not None
        pipe = link.open("web")
        await pipe.opened()
        await site.channel_door.stop()
        stopping = asyncio.create_task(site.channel.stop(5.0, retry_after=0.0, jitter=0.0))
        assert site.agent is not None
        await asyncio.wait_for(site.agent.wait_disconnected(), 5)
        assert site.channel.link(MAC) is None
        with pytest.raises(LinkDown):
            link.open("web")
        await pipe.write(b"still")
        assert await pipe.read() == b"still"
        pipe.finish()
        assert await pipe.read() == b""
        await asyncio.wait_for(stopping, 2)
        assert site.recorder.channel[-1][0] == "down"


async def test_a_link_lost_by_one_stream_of_many_ends_them_all() -> None:
    async with tunnel_site(echo) as site:
        link = site.channel.link(MAC)
        assert link is not None
        pipes = [link.open("web") for _ in range(10)]
        for pipe in pipes:
            await pipe.opened()
        link.close(Code.INTERNAL, "said on purpose")
        for pipe in pipes:
            with pytest.raises(StreamClosed):
                await pipe.read()
            with pytest.raises(StreamClosed):
                await pipe.write(b"x")


async def test_a_taken_port_and_a_name_are_told() -> None:
    async with tunnel_site() as site:
        with pytest.raises(OSError, match="in use"):
            await site.channel_door.start("127.0.0.1", site.visitor_address[1])
        with pytest.raises(ValueError, match="localhost"):
            await site.channel_door.start("localhost", 0)


async def test_a_second_address_of_the_same_listener() -> None:
    async with tunnel_site() as site:
        address = await site.channel_door.start("::1", 0)
        assert address[0] == "::1"
        for second in (site.channel_address, address):
            site.channel_address = second
            peer = await RawPeer(site).connect()
            await peer.log_in(site.identity)
            peer.writer.close()


def test_limits_are_frozen() -> None:
    assert replace(Limits(), max_streams=1).max_streams == 1
