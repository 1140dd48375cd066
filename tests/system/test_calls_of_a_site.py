"""A whole node and a house on UDP: a number rings its stages in order, policy, schedules and subscriptions hold, and a panel is
told the LAN address that a monitor registered with."""

import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sip.message import Request, Response
from tests.system.fleet import AddedDevice
from tests.system.peers import RunningGateway, wait_until
from tests.system.udp_phone import CONFIG, House, UdpPhone

pytestmark = pytest.mark.system

LAN = b"192.168.77.20"


class Home:
    """Doors A (unmonitored) and B (monitored), monitor D and app E of user 101, a silent monitor Q of user 102; and, at another
    site, door S. Everybody is registered."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.house = House(gateway, [])
        self.files: dict[str, str] = {}
        self.site = gateway.ask("POST", "/sites", {"name": "Home", "ring_seconds": 1})["id"]
        ada, self.app = self.person("E", "101", call_type=3, app=True, ip_call=True)
        bob, _ = self.person("", "102", call_type=6)
        self.door = self.device("A", 1, self.site, kind=0, model="R29", network_group="lan", button_number="101")
        self.open_door = self.device("B", 2, self.site, kind=0, model="R29", users_may_monitor=True)
        self.monitor = self.device("D", 3, self.site, kind=2, model="C313", owner=ada, network_group="lan")
        silent = {"do_not_disturb": True}
        self.silent = self.device("Q", 4, self.site, kind=2, model="C313", owner=bob, schedule=silent)
        other = gateway.ask("POST", "/sites", {"name": "Elsewhere"})["id"]
        self.stranger = self.device("S", 5, other, kind=0, model="R29")
        for phone in (self.door, self.open_door, self.silent, self.stranger, self.app):
            assert phone.registers().status == 200
        assert self.monitor.registers(contact=b"<sip:%b@%b:5060>" % (self.monitor.user.encode(), LAN)).status == 200

    def person(self, letter: str, number: str, **more: Any) -> tuple[str, UdpPhone]:
        """A user of the site, and the phone of its app where it has one (else one that is nobody's)."""
        body = {"site": self.site, "first_name": "P", "last_name": number, "number": number, **more}
        made = self.gateway.ask("POST", "/users", body)
        account = made.get("account", {"username": "nobody", "password": ""})
        return made["id"], self.house.phone(letter, AddedDevice("", account["username"], account["password"], ""))

    def device(self, letter: str, number: int, site: str, **body: Any) -> UdpPhone:
        mac = f"0C11050077{number:02X}"
        self.gateway.ask("POST", "/mac-library", {"mac": mac, "site": site})
        made = self.gateway.ask("PUT", f"/devices/{mac}", {"site": site, "name": letter, **body})
        self.files[letter] = f"{made['autop_url']}{mac}"
        return self.house.phone(letter, AddedDevice(mac, made["account"]["username"], made["account"]["password"], ""))

    def file(self, letter: str, extension: str = "cfg") -> str:
        """A device's own file, fetched over HTTPS."""
        trust = ssl.create_default_context(cafile=self.gateway.ready["ca_file"])
        with urllib.request.urlopen(f"{self.files[letter]}.{extension}", context=trust, timeout=10) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder: Path = tmp_path_factory.mktemp("home")
    with RunningGateway(folder, CONFIG) as gateway:
        made = Home(gateway)
        try:
            yield made
        finally:
            made.house.close()


def refused(caller: UdpPhone, dialled: str) -> Response:
    """The final answer to an INVITE that rings nobody."""
    return caller.asks(caller.invite_to(dialled))


def rejected(callee: UdpPhone, invite: Request, status: int) -> None:
    """The callee's final answer, and the gateway's ACK of it."""
    callee.answers(invite, status)
    callee.asked(b"ACK")


def test_a_number_rings_the_monitor_then_the_app(home: Home) -> None:
    _, (rung,) = home.door.calls("101", home.monitor)
    home.monitor.answers(rung, 180)
    home.door.gets(180)
    home.monitor.answers(home.monitor.asked(b"CANCEL"), 200)
    rejected(home.monitor, rung, 487)
    rejected(home.app, home.app.asked(b"INVITE"), 486)
    home.door.gets(486)


def test_a_monitor_reaches_a_door_only_where_users_may_monitor_it(home: Home) -> None:
    unknown = refused(home.monitor, "999999999")
    assert unknown.status == 404
    assert refused(home.monitor, home.door.user).start_line() == unknown.start_line()
    _, (rung,) = home.monitor.calls(home.open_door.user, home.open_door)
    rejected(home.open_door, rung, 486)
    home.monitor.gets(486)


def test_another_site_reaches_nobody_here(home: Home) -> None:
    for dialled in ("101", home.door.user, home.open_door.user, home.monitor.user, home.app.user):
        assert refused(home.stranger, dialled).status == 404
    for phone in (home.door, home.open_door, home.monitor, home.app):
        assert not [line for line in phone.arrivals(0.05) if line.startswith(b"INVITE")]


def test_where_nobody_may_be_disturbed_the_caller_is_told_at_once(home: Home) -> None:
    assert refused(home.door, "102").status == 480
    _, (rung,) = home.door.calls(home.silent.user, home.silent)
    rejected(home.silent, rung, 486)
    home.door.gets(486)


def test_an_app_whose_subscription_has_run_out_cannot_register(home: Home) -> None:
    _, running = home.person("F", "103", app=True, app_until="2101-01-01T00:00:00Z")
    _, ended = home.person("G", "104", app=True, app_until="2020-01-01T00:00:00Z")
    assert running.registers().status == 200
    assert ended.registers().status == 401
    assert refused(home.door, "104").status == 480


def test_a_panel_is_told_the_lan_address_of_a_monitor_in_its_group(home: Home) -> None:
    wanted = "Config.Programable.SOFTKEY01.LocalParam1 = 192.168.77.20;101;;;;;;\n"
    wait_until("the address to be known", lambda: wanted in home.file("A"), 10.0)
    assert LAN.decode() not in home.file("B")
    assert 'Name="P 101" Office="101"' in home.file("A", "xml")
