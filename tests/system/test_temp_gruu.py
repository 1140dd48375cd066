"""Temporary GRUUs (RFC 5627) of a UDP phone at a whole node: given, called, void, and unknown to another site."""

from pathlib import Path

import pytest

from sip.message import Request, Response
from sip.parser import parse
from tests.system.fleet import add_devices, add_site
from tests.system.peers import RunningGateway
from tests.system.udp_phone import CONFIG, House, UdpPhone

pytestmark = pytest.mark.system
INSTANCE = b"<urn:uuid:00000000-0000-1000-8000-0C1105AABBCC>"


def registered(phone: UdpPhone, call_id: bytes, *, expires: int = 3600) -> bytes:
    """Register; the temporary GRUU that it gives."""
    contact = b'<%b>;+sip.instance="%b"' % (phone.contact, INSTANCE)
    final = phone.registers(b"Supported: gruu", contact=contact, call_id=call_id, expires=expires)
    assert final.status == 200
    shown = final.get(b"contact") or b""
    return shown.partition(b'temp-gruu="')[2].partition(b'"')[0]


def call(caller: UdpPhone, uri: bytes) -> bytes:
    """An INVITE to this URI that has passed its challenge; the To shows nothing of whom it reaches."""
    lines = (b"Contact: <" + caller.contact + b">",)
    return caller.authorised(caller.request(b"INVITE", uri, to=b"<sip:anonymous@gw.test>", headers=lines))


def refused(caller: UdpPhone, uri: bytes) -> Response:
    return caller.asks(call(caller, uri))


def test_a_phone_is_called_by_its_temporary_gruu_as_long_as_its_registration_lives(tmp_path: Path) -> None:
    with RunningGateway(tmp_path, CONFIG) as gateway:
        house = House(gateway, add_devices(gateway, add_site(gateway, "North"), 2, first=0x9800))
        south = House(gateway, add_devices(gateway, add_site(gateway, "South"), 1, first=0x9810))
        caller, phone, stranger = house.phone("A"), house.phone("D"), south.phone("S")
        for one in (caller, stranger):
            assert one.registers().status == 200
        first, second = registered(phone, b"one"), registered(phone, b"one")
        assert first != second
        assert phone.user.encode() not in first
        for gruu in (first, second):
            invite = call(caller, gruu)
            caller.send(invite)
            caller.gets(100)
            arrived = phone.asked(b"INVITE")
            assert arrived.uri == phone.contact
            answer = phone.reply(arrived, 200).replace(b"Contact: <" + phone.contact, b"Contact: <" + gruu)
            phone.send(answer)
            answered = caller.gets(200)
            sent = parse(invite)
            assert isinstance(sent, Request)
            caller.send(caller.in_dialog(b"ACK", answered, sent))
            phone.asked(b"ACK")
            caller.send(caller.in_dialog(b"BYE", answered, sent))
            bye = phone.asked(b"BYE")
            assert bye.uri == phone.contact
            phone.answers(bye, 200)
            caller.gets(200, b"BYE")
        unknown = refused(stranger, b"sip:nobody@gw.test")
        found = refused(stranger, first)
        assert (found.status, found.reason) == (unknown.status, unknown.reason) == (404, b"Not Found")
        third = registered(phone, b"two")
        assert refused(caller, first).status == 404
        registered(phone, b"two", expires=0)
        assert refused(caller, third).status == 404
        house.close()
        south.close()
