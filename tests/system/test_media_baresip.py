"""Two baresips call each other through the gateway, and each must hear the tone of the other: by the relay, and by rtpengine."""

import asyncio
import math
import struct
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sip.media_engine import MediaEngine, MediaOutcome
from sip.media_rule import MediaRule
from sip.net.rtp import RelayAddress, RtpRelay
from sip.net.rtpengine import RtpengineClient
from tests.system.baresip import Baresip, baresip_in
from tests.system.media_gateway import MakeEngine, media_gateway
from tests.system.peers import free_tcp_port, needs
from tests.system.rtpengine import RunningRtpengine
from tests.system.sip_gateway import Gateway

pytestmark = [pytest.mark.system, needs("baresip")]
LOOPBACK = "127.0.0.1"
RATE = 8000
TONES = {"u1": 440, "u2": 1000}
"""What each plays, in Hz."""
_CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:0
net_interface 127.0.0.1
audio_player aubridge,{user}
audio_alert aubridge,alert-{user}
audio_source aufile,{folder}/tone.wav
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {folder}
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
"""


@pytest.fixture(params=["relay", pytest.param("rtpengine", marks=needs("rtpengine"))])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeEngine]:
    if request.param == "relay":
        yield lambda told: RtpRelay([RelayAddress(LOOPBACK, LOOPBACK)], (22_000, 22_099), told)
        return
    with RunningRtpengine(tmp_path, (22_100, 22_199)) as running:

        def client(told: Callable[[MediaOutcome], None]) -> MediaEngine:
            return RtpengineClient([running.address], told, clock=time.monotonic, entropy=lambda count: b"\1" * count)

        yield client


@asynccontextmanager
async def phone(address: tuple[str, int], user: str, parent: Path) -> AsyncIterator[Baresip]:
    """A baresip that plays its tone, answers by itself, and keeps what it hears."""
    control = free_tcp_port()
    folder = parent / user
    folder.mkdir()
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        tone = [int(9000 * math.sin(2 * math.pi * TONES[user] * at / RATE)) for at in range(RATE * 10)]
        file.writeframes(struct.pack(f"<{len(tone)}h", *tone))
    account = f"<sip:{user}@{address[0]}:{address[1]}>;auth_pass=secret;answermode=auto;regint=120\n"
    (folder / "accounts").write_text(account)
    (folder / "contacts").write_text("")
    (folder / "config").write_text(_CONFIG.format(user=user, folder=folder, control=control))
    async with baresip_in(folder, control) as running:
        yield running


def strength(folder: Path, hertz: int) -> float:
    """How much of this tone is in the last quarter second that a phone has heard, 0.0 to 1.0 of its own energy (Goertzel)."""
    for file in folder.glob("dump-*-dec.wav"):
        heard = file.read_bytes()[44:][-RATE // 2 :]
        heard = heard[: len(heard) // 2 * 2]
        samples = struct.unpack(f"<{len(heard) // 2}h", heard)
        energy = float(sum(one * one for one in samples))
        if len(samples) < RATE // 4 or not energy:
            return 0.0
        turn = 2 * math.pi * hertz / RATE
        real: float = sum(one * math.cos(turn * at) for at, one in enumerate(samples))
        imaginary: float = sum(one * math.sin(turn * at) for at, one in enumerate(samples))
        return 2 * (real * real + imaginary * imaginary) / (len(samples) * energy)
    return 0.0


async def until(what: str, true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that nothing tells of."""
    try:
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(what) from None


async def registered(running: Gateway) -> None:
    await until("not registered", lambda: all(running.stored.get(user) for user in TONES))


async def test_each_hears_the_other_and_the_end_frees_the_ports(make: MakeEngine, tmp_path: Path) -> None:
    async with media_gateway(make, MediaRule(always=True)) as (running, address, engine):
        assert isinstance(engine, RtpRelay | RtpengineClient)
        for user in TONES:
            running.add(user)
        async with phone(address, "u1", tmp_path) as first, phone(address, "u2", tmp_path) as second:
            await registered(running)
            first.tell("dial", "u2")
            await second.seen("CALL_ESTABLISHED")
            await first.seen("CALL_ESTABLISHED")
            assert engine.calls == 1
            await until("u1 does not hear", lambda: strength(tmp_path / "u1", TONES["u2"]) > 0.8)
            await until("u2 does not hear", lambda: strength(tmp_path / "u2", TONES["u1"]) > 0.8)
            assert strength(tmp_path / "u1", TONES["u1"]) < 0.2
            if isinstance(engine, RtpRelay):
                await until("not by the relay", lambda: engine.packets > 50)
            second.tell("hangup")
            await first.seen("CALL_CLOSED")
            await until("still at the engine", lambda: engine.calls == 0)
            if isinstance(engine, RtpRelay):
                assert engine.free_pairs == 50


async def test_neighbours_talk_directly(tmp_path: Path) -> None:
    async with media_gateway(lambda told: RtpRelay([RelayAddress(LOOPBACK, LOOPBACK)], (22_000, 22_099), told), MediaRule()) as (
        running,
        address,
        engine,
    ):
        assert isinstance(engine, RtpRelay)
        for user in TONES:
            running.add(user)
        async with phone(address, "u1", tmp_path) as first, phone(address, "u2", tmp_path) as second:
            await registered(running)
            first.tell("dial", "u2")
            await second.seen("CALL_ESTABLISHED")
            await until("u1 does not hear", lambda: strength(tmp_path / "u1", TONES["u2"]) > 0.8)
            assert (engine.calls, engine.free_pairs) == (0, 50)
