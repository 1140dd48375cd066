"""Kamailio as an edge proxy before the gateway: phones register through it (Path), are called through it and hang up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sip.message import Request
from sip.parser import parse
from tests.system.kamailio import RunningKamailio
from tests.system.peers import ROOT, needs
from tests.system.udp_phone import House, UdpPhone, running_house

pytestmark = [pytest.mark.system, needs("kamailio")]
CONFIG = ROOT / "tests" / "system" / "kamailio_edge" / "kamailio.cfg"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("behind"), 6, 0xC000)


@pytest.fixture
def edge(house: House, tmp_path: Path) -> Iterator[RunningKamailio]:
    config = tmp_path / "kamailio.cfg"
    host, port = house.address
    config.write_text(CONFIG.read_text().replace("PORTICO_URI", f"sip:{host}:{port}"))
    with RunningKamailio(tmp_path, config=config) as running:
        yield running


def behind(edge: RunningKamailio, phone: UdpPhone) -> UdpPhone:
    """The phone registers through the edge."""
    phone.gateway = edge.address
    final = phone.registers(b"Supported: path")
    assert final.status == 200
    assert b"%b:%d" % (edge.address[0].encode(), edge.address[1]) in (final.get(b"path") or b"")
    return phone


def test_a_call_between_phones_behind_an_edge_proxy(house: House, edge: RunningKamailio) -> None:
    caller, callee = behind(edge, house.phone("A")), behind(edge, house.phone("D"))
    invite, (arrived,) = caller.calls(callee.user, callee)
    sent = parse(invite)
    assert isinstance(sent, Request)
    assert arrived.uri == callee.contact
    assert len(arrived.all(b"record-route")) >= 3, "edge, gateway, edge"
    callee.answers(arrived, 180)
    caller.gets(180)
    callee.answers(arrived, 200)
    final = caller.gets(200)
    caller.send(caller.in_dialog(b"ACK", final, sent))
    callee.asked(b"ACK")
    callee.send(callee.in_dialog_as_callee(b"BYE", arrived))
    ended = caller.asked(b"BYE")
    caller.answers(ended, 200)
    callee.gets(200, b"BYE")


def test_a_message_from_a_phone_of_the_gateway_to_one_behind_the_edge(house: House, edge: RunningKamailio) -> None:
    caller, callee = house.phone("A"), behind(edge, house.phone("D"))
    assert caller.registers().status == 200
    caller.send(caller.authorised(caller.request(b"MESSAGE", b"sip:%b@gw.test" % callee.user.encode(), body=b"hello")))
    arrived = callee.asked(b"MESSAGE")
    assert (arrived.body, arrived.get(b"route")) == (b"hello", None)
    callee.answers(arrived, 200)
    caller.gets(200, b"MESSAGE")
