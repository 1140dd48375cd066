"""Outbound (RFC 5626) and GRUU (RFC 5627) as devices meet them: Flow-Timer, 439, 430, the next flow, one device of several."""

import pytest

from sip.flow import Flow
from sip.gruu import instance_of, pub_gruu
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.phones import Phone, Stage
from tests.sip.test_traps_calls import calling

INSTANCE = b'"<urn:uuid:00000000-0000-1000-8000-0C1105AABBCC>"'
OTHER = b'"<urn:uuid:00000000-0000-1000-8000-0C1105AABBDD>"'
GRUU = b"sip:101@gw.test;gr=urn:uuid:00000000-0000-1000-8000-0C1105AABBCC"


def on_stream(stage: Stage, letter: str, user: str, name: str, *, account: bool = True) -> Phone:
    """A phone on a TCP connection of its own."""
    phone = stage.phone(letter, user, account=account)
    phone.flow = Flow("tcp", name, phone.flow.host, 40_000)
    return stage.add(phone)


def register(
    stage: Stage, phone: Phone, *, reg_id: int = 0, instance: bytes = INSTANCE, supported: bytes = b"outbound"
) -> Response:
    contact = b"<" + phone.contact + b">;+sip.instance=" + instance + (b";reg-id=%d" % reg_id if reg_id else b"")
    return stage.register(phone, b"Supported: " + supported, contact=contact, call_id=b"reg-" + phone.letter.encode())


def tcp_stage() -> Stage:
    stage = Stage()
    stage.core.advertise("tcp", "192.0.2.1", 5060)
    return stage


def test_flow_timer_and_require_only_where_outbound_is_used() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    used = register(stage, phone, reg_id=1)
    assert (used.status, used.get(b"require"), used.get(b"flow-timer")) == (200, b"outbound", b"120")
    plain = stage.register(stage.phone("E", "102"), b"Supported: outbound")
    assert (plain.get(b"require"), plain.get(b"flow-timer")) == (None, None)


def test_reg_id_without_an_instance_is_ignored() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    final = stage.register(phone, b"Supported: outbound", contact=b"<" + phone.contact + b">;reg-id=1")
    assert (final.status, final.get(b"require")) == (200, None)


@pytest.mark.parametrize(
    ("path", "status"),
    [(b"", 439), (b"Path: <sip:edge.test;lr>", 439), (b"Path: <sip:core.test;lr>, <sip:edge.test;lr;ob>", 200)],
)
def test_439_when_the_first_hop_keeps_no_flows(path: bytes, status: int) -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    contact = b"<" + phone.contact + b">;reg-id=1;+sip.instance=" + INSTANCE
    headers = [b"Supported: outbound, path", *([path] if path else [])]
    data = phone.register(*headers, contact=contact).replace(
        b"Max-Forwards", b"Via: SIP/2.0/UDP phone.test;branch=z9hG4bKfirst\r\nMax-Forwards", 1
    )
    stage.book.receive(data, phone.flow).sees("D 401 REGISTER")
    stage.book.receive(phone.with_credentials(data, stage.last(phone)), phone.flow).sees(f"D {status} REGISTER")
    assert bool(stage.core.bindings("101", 0.0)) is (status == 200)


def test_a_dead_flow_is_430_at_once() -> None:
    stage = tcp_stage()
    caller = stage.registered("A", "100")
    callee = on_stream(stage, "D", "101", "c1")
    assert register(stage, callee).status == 200
    calling(stage, caller, "101", callee)
    stage.book.call(stage.core.flow_closed, callee.flow).sees("A 430 INVITE")
    assert stage.core.bindings("101", stage.book.now) == ()
    assert stage.last(caller).reason == b"Flow Failed"


def test_a_dead_flow_is_replaced_by_the_devices_other_one() -> None:
    stage = tcp_stage()
    caller = stage.registered("A", "100")
    first, second = on_stream(stage, "D", "101", "c1"), on_stream(stage, "E", "101", "c2", account=False)
    second.password = first.password
    assert register(stage, second, reg_id=2).status == 200
    stage.book.after(1.0)
    assert register(stage, first, reg_id=1).status == 200
    calling(stage, caller, "101", first)
    stage.book.call(stage.core.flow_closed, first.flow).sees("E INVITE")
    arrived = stage.sent(second, b"INVITE")
    assert arrived.count(b"record-route") == 2  # one for UDP, one for TCP: those of the flow it came over are not left in it
    stage.book.receive(second.reply(arrived, 200), second.flow).sees("A 200 INVITE")


def test_a_430_from_an_edge_proxy_is_answered_by_the_other_flow_too_and_a_second_one_is_final() -> None:
    stage = Stage()
    caller = stage.registered("A", "100")
    first, second = stage.phone("D", "101"), stage.phone("E", "101", account=False)
    second.password = first.password
    register(stage, second, reg_id=2)
    stage.book.after(1.0)
    register(stage, first, reg_id=1)
    calling(stage, caller, "101", first)
    stage.book.receive(first.reply(stage.sent(first, b"INVITE"), 430), first.flow).sees("D ACK", "E INVITE")
    stage.book.receive(second.reply(stage.sent(second, b"INVITE"), 430), second.flow).sees("E ACK", "A 430 INVITE")


def test_a_pub_gruu_is_given_to_who_asks_and_reaches_that_device_only() -> None:
    stage = Stage()
    caller = stage.registered("A", "100")
    one, other = stage.phone("D", "101"), stage.phone("E", "101", account=False)
    other.password = one.password
    assert b"gruu" not in register(stage, other, instance=OTHER).to_bytes()
    final = register(stage, one, supported=b"gruu, outbound")
    assert f'pub-gruu="{GRUU.decode()}"'.encode() in (final.all(b"contact")[-1])
    message = stage.challenged(caller, caller.request(b"MESSAGE", GRUU, to=b"<sip:101@gw.test>"))
    stage.book.receive(message, caller.flow).sees("D MESSAGE")
    assert stage.sent(one, b"MESSAGE").uri == one.contact
    gone = stage.challenged(caller, caller.request(b"MESSAGE", GRUU[:-1] + b"F", to=b"<sip:101@gw.test>"))
    stage.book.receive(gone, caller.flow).sees("A 480 MESSAGE")


def test_in_a_dialog_a_gruu_becomes_the_devices_contact() -> None:
    stage = Stage()
    caller, callee = stage.registered("A", "100"), stage.phone("D", "101")
    register(stage, callee, supported=b"gruu")
    invite = calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    answer = callee.reply(arrived, 200).replace(b"Contact: <" + callee.contact, b"Contact: <" + GRUU)
    stage.book.receive(answer, callee.flow).sees("A 200 INVITE")
    request = parse(invite)
    assert isinstance(request, Request)
    bye = caller.in_dialog(b"BYE", stage.last(caller), request)
    assert bye.startswith(b"BYE " + GRUU)
    stage.book.receive(bye, caller.flow).sees("D BYE")
    assert stage.sent(callee, b"BYE").uri == callee.contact


def test_a_device_cannot_set_its_own_gruu() -> None:
    stage = Stage()
    phone = stage.phone("D", "101")
    final = stage.register(phone, contact=b"<" + phone.contact + b'>;pub-gruu="sip:102@gw.test;gr=x";q=0.5')
    assert final.get(b"contact") == b"<" + phone.contact + b">;q=0.5;expires=3600"


def test_instance_ids_go_through_the_gr_parameter_and_back() -> None:
    for instance in (INSTANCE.strip(b'"'), b"<urn:x;y=1>", "<ü>".encode()):
        assert instance_of(pub_gruu(b"sip:101@gw.test:5070;user=phone", instance)) == instance
    assert instance_of(b"sip:101@gw.test;gr=") == b""
    assert instance_of(b"sip:101@gw test;gr=x") == b""
