"""A door phone with plain RTP and an app in a browser hear each other: rtpengine turns one kind of media into the other."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Self

import pytest

from sip.sdp import parse_sdp
from tests.system.browser_app import Page
from tests.system.browser_home import Home, answered, called, final, loses, plain, running_home
from tests.system.peers import LOOPBACK, needs, wait_until
from tests.system.rtpengine import RunningRtpengine

pytestmark = [pytest.mark.system, needs("chromium", "chromedriver", "npm", "node", "rtpengine")]

MEDIA_DEADLINE = 10.0
PACKET = 0.02
"""Seconds of sound in one packet."""
TONE = bytes([0x9E, 0x0B, 0x02, 0x0B, 0x1E, 0x8B, 0x82, 0x8B] * 20)
"""20 ms of PCMU: 1 kHz, loud (ITU-T G.711)."""


class DoorMedia:
    """The microphone and the speaker of a phone with plain RTP. It beeps to where it is told."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._socket.settimeout(PACKET)
        self._stopped = threading.Event()
        self._speaks = threading.Thread(target=self._speak)
        self._listens = threading.Thread(target=self._listen)
        self._to: tuple[str, int] | None = None
        self.port: int = self._socket.getsockname()[1]
        self.heard = 0
        """Packets of PCMU that were not silence."""

    def told(self, sdp: bytes) -> None:
        """Speak to where this SDP says; it must be plain RTP."""
        line = parse_sdp(sdp).media[0]
        assert b"m=audio %d RTP/AVP " % line.port in sdp
        assert not [one for one in (b"a=candidate", b"a=rtcp-mux", b"a=fingerprint", b"a=crypto") if one in sdp]
        self._to = (line.host, line.port)

    def _speak(self) -> None:
        count = 0
        while not self._stopped.wait(PACKET):
            if self._to is not None:
                head = struct.pack("!BBHII", 0x80, 0, count & 0xFFFF, count * len(TONE), 0xD00F)
                self._socket.sendto(head + TONE, self._to)
                count += 1

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                data = self._socket.recv(2048)
            except TimeoutError:
                continue
            # PCMU's silence is 0xFF and 0x7F.
            self.heard += data[:1] == b"\x80" and data[1] & 0x7F == 0 and bool(data[12:].strip(b"\xff\x7f\xfe\x7e"))

    def hears(self) -> bool:
        """Whether half a second of sound has come."""
        return self.heard >= 25

    def __enter__(self) -> Self:
        self._speaks.start()
        self._listens.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._speaks.join()
        self._listens.join()
        self._socket.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("browser-media")
    with ExitStack() as stack:
        engine = stack.enter_context(RunningRtpengine(folder, (21_600, 21_799)))
        host, port = engine.address
        media = f'[media]\nengine = "rtpengine"\nrtpengine = ["{host}:{port}"]\n'
        yield stack.enter_context(running_home(folder, media))


@pytest.fixture
def page(home: Home) -> Iterator[Page]:
    with home.registered() as opened:
        yield opened


@pytest.fixture
def media() -> Iterator[DoorMedia]:
    with DoorMedia() as made:
        yield made


def test_a_door_calls_and_the_page_answers(home: Home, page: Page, media: DoorMedia) -> None:
    invite, (rung,) = called(home.door, "101", plain(media.port), home.monitor)
    home.monitor.answers(rung, 180)
    assert page.sees("rings")["caller"] == home.door.user
    page.script("app.answer()")
    ok = final(home.door, 200)
    media.told(ok.body)
    loses(home.monitor, rung)
    home.door.send(home.door.in_dialog(b"ACK", ok, invite))
    page.sees("confirmed")
    wait_until("the door's sound at the page", page.hears, MEDIA_DEADLINE)
    wait_until("the page's sound at the door", media.hears, MEDIA_DEADLINE)
    home.door.send(home.door.in_dialog(b"BYE", ok, invite))
    home.door.gets(200, b"BYE")
    assert page.sees("ended")["originator"] == "remote"


def test_a_page_calls_a_phone(home: Home, page: Page, media: DoorMedia) -> None:
    page.script("app.dial(arguments[0])", home.monitor.user)
    rung = home.monitor.asked(b"INVITE")
    media.told(rung.body)
    answered(home.monitor, rung, plain(media.port))
    home.monitor.asked(b"ACK")
    page.sees("confirmed")
    wait_until("the phone's sound at the page", page.hears, MEDIA_DEADLINE)
    wait_until("the page's sound at the phone", media.hears, MEDIA_DEADLINE)
    page.script("app.hangUp()")
    home.monitor.answers(home.monitor.asked(b"BYE"), 200)
    page.sees("ended")
