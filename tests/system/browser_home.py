"""A home on a running gateway: a door and a monitor as UDP phones, and apps of two users as pages in one Chromium."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver.remote.webdriver import WebDriver

from sip.message import Request, Response
from sip.parser import parse
from tests.system.browser_app import Page, build, open_phone_browser, served
from tests.system.fleet import AddedDevice
from tests.system.peers import RunningGateway, free_tcp_port, free_udp_port, loopback_config
from tests.system.udp_phone import House, UdpPhone

SDP_TYPE = b"application/sdp"


def plain(port: int = 40_000) -> bytes:
    """The SDP of a door phone of today, which has its media at this port."""
    lines = b"v=0|o=- 1 1 IN IP4 127.0.0.1|s=-|c=IN IP4 127.0.0.1|t=0 0|m=audio %d RTP/AVP 0|a=rtpmap:0 PCMU/8000|" % port
    return lines.replace(b"|", b"\r\n")


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
        self.origin = origin
        self._browser = browser
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
        return Page(self._browser, origin or self.origin, self._account["username"], self._account["password"])

    def open_neighbours(self) -> Page:
        """The same of user 102."""
        return Page(self._browser, self.origin, self._neighbour["username"], self._neighbour["password"])

    @contextmanager
    def registered(self) -> Iterator[Page]:
        """The app of user 101, registered. At the end it takes its registration back."""
        page = self.open()
        page.starts(self.url)
        page.sees("registered")
        yield page
        page.script("app.stop()")
        page.sees("unregistered")
        page.close()


@contextmanager
def running_home(folder: Path, more: str = "") -> Iterator[Home]:
    """The home on a gateway of its own, whose configuration has `more` at its end."""
    site = folder / "page"
    site.mkdir()
    build(site)
    with ExitStack() as stack:
        port = stack.enter_context(served(site))
        # Ports that a restart finds again. Only pages of http://localhost:<port> are the app's.
        sip = f'[sip]\ndomains = ["gw.test"]\nwebsocket_origins = ["http://localhost:{port}"]\n'
        config = loopback_config(more=sip + more)
        config = config.replace("sip_udp = 0", f"sip_udp = {free_udp_port()}")
        config = config.replace("sip_wss = 0", f"sip_wss = {free_tcp_port()}")
        gateway = stack.enter_context(RunningGateway(folder, config))
        browser = open_phone_browser(folder / "profile", gateway.address("sip_wss"))
        stack.callback(browser.quit)
        home = Home(gateway, browser, f"http://localhost:{port}/")
        stack.callback(home.house.close)
        yield home


def called(phone: UdpPhone, number: str, body: bytes, *callees: UdpPhone) -> tuple[Request, list[Request]]:
    """The phone calls with this offer: its INVITE, and as each callee got it."""
    invite = phone.invite_to(number, b"Content-Type: " + SDP_TYPE, body=body)
    phone.send(invite)
    phone.gets(100)
    sent = parse(invite)
    assert isinstance(sent, Request)
    return sent, [one.asked(b"INVITE") for one in callees]


def answered(phone: UdpPhone, invite: Request, body: bytes) -> None:
    """The phone's 200 with this answer."""
    reply = parse(phone.reply(invite, 200, headers=((b"content-type", SDP_TYPE),)))
    reply.body = body
    phone.send(reply.to_bytes())


def loses(phone: UdpPhone, invite: Request) -> None:
    """The call is cancelled at this phone, as another one has answered or the caller has left."""
    phone.answers(phone.asked(b"CANCEL"), 200)
    phone.answers(invite, 487)
    phone.asked(b"ACK")


def final(phone: UdpPhone, status: int) -> Response:
    """The final answer to its INVITE."""
    while (got := phone.next()) and isinstance(got, Response) and got.status < 200:
        pass
    assert isinstance(got, Response)
    assert (got.status, got.cseq[1]) == (status, b"INVITE")
    return got
