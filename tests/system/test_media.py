"""Media through the built-in relay and through a real rtpengine, asked in the same way: sockets, early media, strangers, ends."""

import asyncio
import os
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from sip.media.relay import RelayLimits
from sip.media.terminal import PATIENCE
from sip.media_engine import Digit, MediaEngine, MediaFailed, MediaKey, MediaOutcome, MediaReady
from sip.net.rtp import RelayAddress, RtpRelay
from sip.net.rtpengine import RtpengineClient
from tests.sip.media.stage import AUDIO, rtcp, rtp, sdp
from tests.sip.media.test_telephone_event import press
from tests.system.media_site import LOOPBACK, End, MediaSite, Phone, connected, ring
from tests.system.peers import RunningGateway, loopback_config, needs
from tests.system.rtpengine import RunningRtpengine, has_ipv6

pytestmark = pytest.mark.system
PORTS = (21_000, 21_199)
"""Below the ports that the kernel gives to phones: a phone on one of the relay's own ports would rightly be refused."""
Make = Callable[[Callable[[MediaOutcome], None]], MediaEngine]


def relay(told: Callable[[MediaOutcome], None], ports: tuple[int, int] = PORTS, limits: RelayLimits | None = None) -> RtpRelay:
    addresses = [RelayAddress(host, host) for host in (LOOPBACK, *(["::1"] if has_ipv6() else []))]
    return RtpRelay(addresses, ports, told, limits)


@pytest.fixture(params=["relay", pytest.param("rtpengine", marks=needs("rtpengine"))])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes the engine under test."""
    if request.param == "relay":
        yield relay
        return
    with RunningRtpengine(tmp_path, (21_200, 21_399)) as daemon:
        yield lambda told: RtpengineClient([daemon.address], told, clock=time.monotonic, entropy=os.urandom)


@pytest.fixture
def phone() -> Iterator[Callable[..., Phone]]:
    """Makes phones and closes them."""
    with ExitStack() as opened:

        def made(tag: str, host: str = LOOPBACK) -> Phone:
            one = Phone(tag.encode(), host)
            opened.callback(one.close)
            return one

        yield made


@asynccontextmanager
async def site_with(make: Make) -> AsyncIterator[MediaSite]:
    site = MediaSite()
    site.engine = make(site.told)
    await site.engine.start()
    try:
        yield site
    finally:
        await site.engine.stop()


async def heard(by: End, data: bytes) -> None:
    """The next packet that arrives is this one."""
    assert await by.receive() == data


async def test_audio_video_and_rtcp_both_ways(make: Make, phone: Callable[..., Phone]) -> None:
    async with site_with(make) as site:
        door, monitor = phone("door"), phone("monitor")
        await connected(site, door, monitor)
        for sender, receiver in ((door, monitor), (monitor, door)):
            for index, ends in enumerate(((receiver.audio, receiver.audio_rtcp), (receiver.video, receiver.video_rtcp))):
                await heard(ends[0], sender.say(index, b"packet %d" % index))
                report = b"\x80\xc9\0\1" + b"ssrc"  # a receiver report that reports nothing (RFC 3550 6.4.2)
                (sender.audio_rtcp, sender.video_rtcp)[index].send(report, sender.place(index, rtcp=True))
                await heard(ends[1], report)


async def test_a_third_partys_packets_are_not_relayed_into_a_call(make: Make, phone: Callable[..., Phone]) -> None:
    async with site_with(make) as site:
        door, monitor = phone("door"), phone("monitor")
        await connected(site, door, monitor)
        await heard(monitor.audio, door.say(0, b"first"))
        await heard(door.audio, monitor.say(0, b"first"))
        stranger = End("127.0.0.66")
        stranger.send(rtp(b"injected"), door.place(0))
        stranger.send(rtp(b"injected"), monitor.place(0))
        await heard(monitor.audio, door.say(0, b"second"))
        await heard(door.audio, monitor.say(0, b"second"))
        assert stranger.waiting() == 0
        stranger.close()


async def test_the_one_who_answers_has_the_call_and_the_others_are_gone(make: Make, phone: Callable[..., Phone]) -> None:
    async with site_with(make) as site:
        door = phone("door")
        phones = [phone(name) for name in ("one", "two", "three")]
        await ring(site, door, phones)
        await heard(door.video, phones[0].say(1, b"early"))
        winner = phones[1]
        await site.answer(MediaKey(b"call", b"door", b"two", b"z9hG4bKtwo"), winner, door)
        for loser in (phones[0], phones[2]):
            site.delete(MediaKey(b"call", b"door", b"", b"z9hG4bK" + loser.tag))
        await connected(site, phone("a"), phone("b"), b"another")  # by now the deletes have been carried out
        await heard(winner.audio, door.say(0, b"hello"))
        await heard(winner.video, door.say(1, b"picture"))
        await heard(door.audio, winner.say(0, b"who is it"))
        assert phones[0].video.waiting() == phones[2].video.waiting() == 0


async def test_an_end_closes_the_ports(make: Make, phone: Callable[..., Phone]) -> None:
    async with site_with(make) as site:
        door, monitor = phone("door"), phone("monitor")
        await connected(site, door, monitor)
        await heard(monitor.audio, door.say())
        site.delete(MediaKey(b"call", b"monitor", b"door"))
        await connected(site, phone("a"), phone("b"), b"another")
        place = monitor.place(0)
        assert not bound(place[1])


async def test_an_offer_in_the_2xx_and_its_answer_in_the_ack(make: Make, phone: Callable[..., Phone]) -> None:
    """The keys are the proxy's: both tags and our branch with the offer, the tags alone with the answer and the end."""
    async with site_with(make) as site:
        door, monitor = phone("door"), phone("monitor")
        await site.offer(MediaKey(b"call", monitor.tag, door.tag, b"z9hG4bK1"), monitor, door)
        await site.answer(MediaKey(b"call", monitor.tag, door.tag), door, monitor)
        await heard(monitor.audio, door.say(0, b"who is it"))
        await heard(door.audio, monitor.say(0, b"come in"))
        used = [door.place(0)[1], monitor.place(0)[1]]
        assert all(bound(port) for port in used)
        site.delete(MediaKey(b"call", door.tag, monitor.tag))
        async with asyncio.timeout(5):
            while any(bound(port) for port in used):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)


async def test_hold_and_a_move_by_a_new_offer(make: Make, phone: Callable[..., Phone]) -> None:
    async with site_with(make) as site:
        door, monitor, elsewhere = phone("door"), phone("monitor"), phone("monitor")
        await connected(site, door, monitor)
        await heard(monitor.audio, door.say())
        await heard(door.audio, monitor.say())
        key = MediaKey(b"call", b"monitor", b"door")
        await site.offer(key, elsewhere, door)
        await site.answer(key, door, elsewhere)
        await heard(door.audio, elsewhere.say(0, b"from elsewhere"))
        await heard(elsewhere.audio, door.say(0, b"to elsewhere"))


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
async def test_ipv4_talks_to_ipv6(make: Make, phone: Callable[..., Phone]) -> None:
    async with site_with(make) as site:
        door, monitor = phone("door"), phone("monitor", "::1")
        await connected(site, door, monitor)
        assert monitor.place(0)[0] == "::1"
        await heard(monitor.audio, door.say())
        await heard(door.video, monitor.say(1))


async def test_garbage_is_488(make: Make, phone: Callable[..., Phone]) -> None:
    async with site_with(make) as site:
        outcome = await site.try_offer(MediaKey(b"call", b"door", b"", b"b"), phone("door"), LOOPBACK, b"v=0\r\ngarbage")
        assert isinstance(outcome, MediaFailed)
        assert outcome.status == 488


def bound(port: int) -> bool:
    """Whether a process has this IPv4 UDP port."""
    rows = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(int(row.split()[1].rpartition(":")[2], 16) == port for row in rows)


# The relay alone


async def test_a_third_party_gets_nothing_also_when_it_sends_first(phone: Callable[..., Phone]) -> None:
    """RTP bleed. rtpengine's learning believes whoever sends first (docs/decisions/0010), so this is the relay's promise only."""
    async with site_with(relay) as site:
        door, monitor = phone("door"), phone("monitor")
        await connected(site, door, monitor)
        stranger = End("127.0.0.66")
        for place in (door.place(0), monitor.place(0), door.place(0, rtcp=True), monitor.place(0, rtcp=True)):
            stranger.send(rtp(b"injected"), place)
        await heard(monitor.audio, door.say(0, b"first"))
        await heard(door.audio, monitor.say(0, b"first"))
        assert stranger.waiting() == door.audio_rtcp.waiting() == monitor.audio_rtcp.waiting() == 0
        stranger.close()


async def test_everyone_who_rings_sees_the_visitor_and_the_first_who_sends_is_heard(phone: Callable[..., Phone]) -> None:
    async with site_with(relay) as site:
        door = phone("door")
        phones = [phone(name) for name in ("one", "two", "three")]
        await ring(site, door, phones)
        for picture in range(3):
            data = door.say(1, b"picture %d" % picture, 96)
            for one in phones:
                await heard(one.video, data)
        await heard(door.audio, phones[2].say(0, b"hello"))
        phones[0].say(0, b"not heard")
        asks = rtcp(206)
        phones[0].video_rtcp.send(asks, phones[0].place(1, rtcp=True))
        await heard(door.video_rtcp, asks)
        await heard(door.audio, phones[2].say(0, b"still here"))


async def test_keys_pressed_are_told(phone: Callable[..., Phone]) -> None:
    async with site_with(relay) as site:
        door, monitor = phone("door"), phone("monitor")
        await connected(site, door, monitor)
        for data in press(11, 1000):
            monitor.audio.send(data, monitor.place(0))
            await heard(door.audio, data)
        assert site.other.get_nowait() == Digit(b"call", b"monitor", b"door", "#", 100)
        assert site.other.empty()


async def test_a_used_up_range_is_said_once_and_frees_up(phone: Callable[..., Phone]) -> None:
    engine: RtpRelay

    def small(told: Callable[[MediaOutcome], None]) -> MediaEngine:
        nonlocal engine
        engine = relay(told, (21_400, 21_407))
        return engine

    async with site_with(small) as site:
        door, monitor = phone("door"), phone("monitor")
        await connected(site, door, monitor)
        assert engine.free_pairs == 0
        for number in range(2):
            failed = await site.try_offer(MediaKey(b"more", b"x", b"", b"%d" % number), door, LOOPBACK)
            assert isinstance(failed, MediaFailed)
            assert (failed.reason, failed.status) == ("ports used up", 503)
        assert engine.refused["ports used up"] == 2
        site.delete(MediaKey(b"call", b"door"))
        assert engine.free_pairs == 4
        await connected(site, door, monitor, b"again")
        await heard(monitor.audio, door.say())


async def test_a_port_that_somebody_else_has_is_left_out(phone: Callable[..., Phone]) -> None:
    async with site_with(lambda told: relay(told, (21_410, 21_417))) as site:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
            squatter.bind((LOOPBACK, 21_411))
            door, monitor = phone("door"), phone("monitor")
            body = sdp(LOOPBACK, (AUDIO, door.audio.port))
            ready = await site.try_offer(MediaKey(b"call", b"door", b"", b"b"), door, LOOPBACK, body)
            assert isinstance(ready, MediaReady)
            monitor.hears(ready.sdp)
            assert monitor.place(0)[1] == 21_414


async def test_a_flooded_port_is_left_alone_for_a_second(phone: Callable[..., Phone]) -> None:
    engine: RtpRelay

    def made(told: Callable[[MediaOutcome], None]) -> MediaEngine:
        nonlocal engine
        engine = relay(told)
        return engine

    async with site_with(made) as site:
        door, monitor, other, another = (phone(name) for name in ("door", "monitor", "other", "another"))
        await connected(site, door, monitor)
        await connected(site, other, another, b"another")
        stranger = End("127.0.0.66")
        while not engine.resting_ports:
            for _ in range(3):  # more than the relay reads in one turn of the loop
                stranger.send(rtp(b"flood"), door.place(0))
            await asyncio.sleep(0)
        dropped = engine.refused["foreign source"]
        assert dropped >= PATIENCE
        await heard(another.audio, other.say(0, b"other calls go on"))
        assert engine.refused["foreign source"] == dropped
        await heard(monitor.audio, door.say(0, b"after the tick"))
        stranger.close()


def test_a_gateway_with_a_relay_says_how_many_ports_are_free(tmp_path: Path) -> None:
    config = loopback_config(more='[media]\nengine = "relay"\nfirst_port = 21800\nlast_port = 21899\n')
    with RunningGateway(tmp_path, config) as gateway:
        host, port = gateway.address("metrics")
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
            assert b"portico_media_free_port_pairs 50.0\n" in answer.read()


# rtpengine alone


@needs("rtpengine")
async def test_a_dead_rtpengine_is_left_for_the_other_and_found_again(tmp_path: Path, phone: Callable[..., Phone]) -> None:
    with ExitStack() as running:
        daemons = [
            running.enter_context(RunningRtpengine(folder(tmp_path, name), ports))
            for name, ports in (("one", (21_500, 21_599)), ("two", (21_600, 21_699)))
        ]
        engine: RtpengineClient

        def made(told: Callable[[MediaOutcome], None]) -> MediaEngine:
            nonlocal engine
            engine = RtpengineClient([one.address for one in daemons], told, clock=time.monotonic, entropy=os.urandom)
            return engine

        async with site_with(made) as site:
            door, monitor = phone("door"), phone("monitor")
            daemons[0].kill()
            for number in range(16):  # some of these Call-IDs belong to the first instance
                await connected(site, door, monitor, b"call %d" % number)
                assert 21_600 <= monitor.place(0)[1] <= 21_699
                await heard(monitor.audio, door.say())
                site.delete(MediaKey(b"call %d" % number, b"door"))
            assert list(engine.alive.values()) == [False, True]
            daemons[1].kill()
            failed = await site.try_offer(MediaKey(b"call 90", b"door", b"", b"b"), door, LOOPBACK)
            assert isinstance(failed, MediaFailed)
            assert (failed.reason, failed.status) == ("engine down", 503)
            with RunningRtpengine(folder(tmp_path, "again"), (21_500, 21_599), daemons[0].address[1]):
                # An answer to a ping, which nobody tells us of.
                while not any(engine.alive.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await connected(site, door, monitor, b"call 91")
                await heard(monitor.audio, door.say())


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made
