"""A resident's app in a browser: JsSIP in Chromium over WSS rings, calls, opens the door and comes back by itself, and two of them
talk with media of their own, through a whole node."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from sip.message import Request, Response
from sip.parser import parse
from tests.system.browser_app import Page, build, open_phone_browser, served
from tests.system.fleet import AddedDevice
from tests.system.peers import RunningGateway, free_tcp_port, free_udp_port, loopback_config, needs, wait_until
from tests.system.udp_phone import House, UdpPhone

pytestmark = [pytest.mark.system, needs("chromium", "chromedriver", "npm", "node")]

MEDIA_DEADLINE = 10.0
GOING_AWAY = 1001
"""What RFC 6455 7.4.1 has a server say that stops."""
PLAIN = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
"""What a door phone of today says."""


def secure(setup: bytes) -> bytes:
    """What a phone with WebRTC says: browsers take it. Nobody is at the other end of its media. `setup`: RFC 5763."""
    fingerprint = b":".join([b"AB"] * 32)
    lines = b"v=0|o=- 1 1 IN IP4 127.0.0.1|s=-|t=0 0|a=group:BUNDLE 0|m=audio 9 UDP/TLS/RTP/SAVPF 0|c=IN IP4 127.0.0.1|a=mid:0|"
    lines += b"a=rtcp-mux|a=ice-ufrag:door|a=ice-pwd:a-password-that-is-long-enough|a=sendrecv|a=rtpmap:0 PCMU/8000|"
    lines += b"a=fingerprint:sha-256 " + fingerprint + b"|a=setup:" + setup + b"|"
    return lines.replace(b"|", b"\r\n")


class Home:
    """A door, a monitor and the browser app of user 101, all ringing together, and the app of user 102."""

    def __init__(self, gateway: RunningGateway, browser: WebDriver, origin: str) -> None:
        self.gateway = gateway
        self.house = House(gateway, [])
        self._browser = browser
        self._origin = origin
        host, port = gateway.address("sip_wss")
        self.url = f"wss://{host}:{port}"
        self.site = gateway.ask("POST", "/sites", {"name": "Home"})["id"]
        ada, self._account = self._user("101")
        _, self._neighbour = self._user("102")
        self.door = self._device("A", 1, kind=0, model="R29", users_may_monitor=True)
        self.monitor = self._device("D", 2, kind=2, model="C313", owner=ada)

    def _user(self, number: str) -> tuple[str, dict[str, Any]]:
        body = {"site": self.site, "first_name": "P", "last_name": number, "number": number, "app": True, "call_type": 0}
        made = self.gateway.ask("POST", "/users", body)
        return made["id"], made["account"]

    def _device(self, letter: str, number: int, **body: Any) -> UdpPhone:
        mac = f"0C11050088{number:02X}"
        self.gateway.ask("POST", "/mac-library", {"mac": mac, "site": self.site})
        made = self.gateway.ask("PUT", f"/devices/{mac}", {"site": self.site, "name": letter, **body})
        phone = self.house.phone(letter, AddedDevice(mac, made["account"]["username"], made["account"]["password"], ""))
        assert phone.registers().status == 200
        return phone

    def open(self, origin: str = "") -> Page:
        """A page of user 101's app that has not been started."""
        return Page(self._browser, origin or self._origin, self._account["username"], self._account["password"])

    def open_neighbours(self) -> Page:
        """The same of user 102."""
        return Page(self._browser, self._origin, self._neighbour["username"], self._neighbour["password"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder: Path = tmp_path_factory.mktemp("browser")
    site = folder / "page"
    site.mkdir()
    build(site)
    with ExitStack() as stack:
        port = stack.enter_context(served(site))
        # Ports that a restart finds again. Only pages of http://localhost:<port> are the app's.
        config = loopback_config(more=f'[sip]\ndomains = ["gw.test"]\nwebsocket_origins = ["http://localhost:{port}"]\n')
        config = config.replace("sip_udp = 0", f"sip_udp = {free_udp_port()}")
        config = config.replace("sip_wss = 0", f"sip_wss = {free_tcp_port()}")
        gateway = stack.enter_context(RunningGateway(folder, config))
        browser = open_phone_browser(folder / "profile", gateway.address("sip_wss"))
        stack.callback(browser.quit)
        made = Home(gateway, browser, f"http://localhost:{port}/")
        stack.callback(made.house.close)
        yield made


@pytest.fixture
def page(home: Home) -> Iterator[Page]:
    """The app of user 101, registered. At the end it has taken its registration back."""
    opened = home.open()
    opened.starts(home.url)
    opened.sees("registered")
    yield opened
    opened.script("app.stop()")
    opened.sees("unregistered")
    opened.close()


def called(phone: UdpPhone, number: str, body: bytes, *callees: UdpPhone) -> tuple[Request, list[Request]]:
    """The phone calls with this offer: its INVITE, and as each callee got it."""
    invite = phone.invite_to(number, b"Content-Type: application/sdp", body=body)
    phone.send(invite)
    phone.gets(100)
    sent = parse(invite)
    assert isinstance(sent, Request)
    return sent, [one.asked(b"INVITE") for one in callees]


def answered(phone: UdpPhone, invite: Request, body: bytes = PLAIN) -> None:
    """The phone's 200 with this answer."""
    reply = parse(phone.reply(invite, 200, headers=((b"content-type", b"application/sdp"),)))
    reply.body = body
    phone.send(reply.to_bytes())


def final(phone: UdpPhone, status: int) -> Response:
    """The final answer to its INVITE."""
    while (got := phone.next()) and isinstance(got, Response) and got.status < 200:
        pass
    assert isinstance(got, Response)
    assert (got.status, got.cseq[1]) == (status, b"INVITE")
    return got


def test_a_page_of_another_origin_is_not_let_in(home: Home) -> None:
    stranger = home.open(home._origin.replace("localhost", "127.0.0.1"))
    stranger.starts(home.url)
    assert stranger.sees("disconnected")["error"]
    assert stranger.count("connected") == 0
    stranger.script("app.stop()")
    stranger.close()


def test_the_monitor_answers_and_the_page_is_told_that_the_call_was_completed_elsewhere(home: Home, page: Page) -> None:
    invite, (rung,) = called(home.door, "101", PLAIN, home.monitor)
    assert page.sees("rings")["caller"] == home.door.user
    answered(home.monitor, rung)
    home.door.send(home.door.in_dialog(b"ACK", final(home.door, 200), invite))
    home.monitor.asked(b"ACK")
    ended = page.sees("failed")
    assert ended["cause"] == "Canceled"
    assert 'text="Call completed elsewhere"' in ended["reason"]
    home.monitor.send(home.monitor.in_dialog_as_callee(b"BYE", rung))
    home.door.answers(home.door.asked(b"BYE"), 200)
    home.monitor.gets(200, b"BYE")


def test_a_page_that_cannot_take_a_doors_media_leaves_the_monitor_ringing(home: Home, page: Page) -> None:
    invite, (rung,) = called(home.door, "101", PLAIN, home.monitor)
    page.sees("rings")
    page.script("app.answer()")
    page.sees("failed")
    answered(home.monitor, rung)
    ok = final(home.door, 200)
    home.door.send(home.door.in_dialog(b"ACK", ok, invite))
    home.monitor.asked(b"ACK")
    home.door.send(home.door.in_dialog(b"BYE", ok, invite))
    home.monitor.answers(home.monitor.asked(b"BYE"), 200)
    home.door.gets(200, b"BYE")


def test_the_page_answers_opens_the_door_and_hangs_up(home: Home, page: Page) -> None:
    invite, (rung,) = called(home.door, "101", secure(b"actpass"), home.monitor)
    home.monitor.answers(rung, 180)
    page.sees("rings")
    page.script("app.answer()")
    ok = final(home.door, 200)
    assert b"a=setup:active" in ok.body
    home.monitor.answers(home.monitor.asked(b"CANCEL"), 200)
    home.monitor.answers(rung, 487)
    home.monitor.asked(b"ACK")
    home.door.send(home.door.in_dialog(b"ACK", ok, invite))
    page.sees("confirmed")
    page.script("app.press('#')")
    info = home.door.asked(b"INFO")
    assert info.get(b"content-type") == b"application/dtmf-relay"
    assert info.body.startswith(b"Signal=#\r\n")
    home.door.answers(info, 200)
    page.script("app.hangUp()")
    home.door.answers(home.door.asked(b"BYE"), 200)
    assert page.sees("ended")["originator"] == "local"


def test_the_page_calls_the_monitor_which_hangs_up(home: Home, page: Page) -> None:
    page.script("app.dial(arguments[0])", home.monitor.user)
    rung = home.monitor.asked(b"INVITE")
    assert rung.body.decode() == page.sdp("local offer")
    home.monitor.answers(rung, 180)
    page.sees("progress")
    answered(home.monitor, rung, secure(b"active"))
    page.sees("confirmed")
    home.monitor.asked(b"ACK")
    home.monitor.send(home.monitor.in_dialog_as_callee(b"BYE", rung))
    home.monitor.gets(200, b"BYE")
    assert page.sees("ended")["originator"] == "remote"


def test_a_page_that_was_reloaded_is_the_same_phone_and_rings_once(home: Home, page: Page) -> None:
    page.reloads()
    assert page.sees("registered")["contact"].count("+sip.instance") == 1
    rings_once(home, page)


def test_a_page_finds_back_to_a_gateway_that_was_restarted(home: Home, page: Page) -> None:
    home.gateway.stop()
    assert page.sees("disconnected")["code"] == GOING_AWAY
    home.gateway.start()
    page.sees("registered")
    rings_once(home, page)


def rings_once(home: Home, page: Page) -> None:
    """The door calls 101 and gives up: monitor and page have rung once, and have stopped."""
    invite, (rung,) = called(home.door, "101", PLAIN, home.monitor)
    page.sees("rings")
    home.monitor.answers(rung, 180)
    home.door.gets(180)
    home.door.gets(180)
    cancel = home.door.request(
        b"CANCEL",
        invite.uri,
        tag=invite.from_tag,
        call_id=invite.call_id,
        cseq=invite.cseq[0],
        branch=invite.branch,
    )
    home.door.send(cancel)
    home.door.gets(200, b"CANCEL")
    home.monitor.answers(home.monitor.asked(b"CANCEL"), 200)
    home.monitor.answers(rung, 487)
    home.monitor.asked(b"ACK")
    page.sees("failed")
    final(home.door, 487)
    assert page.count("rings") == 1


def test_two_pages_talk_with_media_of_their_own(home: Home, page: Page) -> None:
    neighbour = home.open_neighbours()
    neighbour.starts(home.url)
    neighbour.sees("registered")
    neighbour.script("app.dial('101')")
    home.monitor.answers(home.monitor.asked(b"INVITE"), 486)
    home.monitor.asked(b"ACK")
    page.sees("rings")
    page.script("app.answer()")
    for one in (page, neighbour):
        one.sees("confirmed")
    # Not an octet of either SDP is ours: ICE candidates, keys and all.
    assert page.sdp("remote offer") == neighbour.sdp("local offer")
    assert neighbour.sdp("remote answer") == page.sdp("local answer")
    for one in (page, neighbour):
        wait_until("sound from the other page", lambda one=one: hears(one), MEDIA_DEADLINE)  # type: ignore[misc]
    neighbour.script("app.hangUp()")
    assert page.sees("ended")["originator"] == "remote"
    neighbour.script("app.stop()")
    neighbour.close()


def hears(page: Page) -> bool:
    """Whether the beeps of the other side's microphone arrive, encrypted."""
    media = page.media()
    return media["dtls"] == "connected" and media["packets"] >= 25 and media["energy"] > 0
