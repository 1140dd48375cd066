"""Dialogs against the RFCs' own messages: RFC 3261 24.2 (Alice calls Bob) and RFC 3665 3.2 (through two proxies)."""

import pytest

from simulators.agent_events import IncomingCall
from simulators.dialog import Dialog, is_loose
from sip.errors import MalformedMessage
from sip.message import Request, Response
from sip.parser import parse
from tests.simulators.wire import Wire


def wire_text(text: str) -> bytes:
    return text.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n"


def request(text: str) -> Request:
    message = parse(wire_text(text))
    assert isinstance(message, Request)
    return message


def response(text: str) -> Response:
    message = parse(wire_text(text))
    assert isinstance(message, Response)
    return message


RFC_3261_F4 = """
INVITE sip:bob@192.0.2.4 SIP/2.0
Via: SIP/2.0/UDP server10.biloxi.com;branch=z9hG4bK4b43c2ff8.1
Via: SIP/2.0/UDP bigbox3.site3.atlanta.com;branch=z9hG4bK77ef4c2312983.1;received=192.0.2.2
Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8;received=192.0.2.1
Max-Forwards: 68
To: Bob <sip:bob@biloxi.com>
From: Alice <sip:alice@atlanta.com>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 INVITE
Contact: <sip:alice@pc33.atlanta.com>
Content-Length: 0
"""

RFC_3665_INVITE = """
INVITE sip:bob@biloxi.example.com SIP/2.0
Via: SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74b43
Max-Forwards: 70
Route: <sip:ss1.atlanta.example.com;lr>
From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl
To: Bob <sip:bob@biloxi.example.com>
Call-ID: 3848276298220188511@atlanta.example.com
CSeq: 1 INVITE
Contact: <sip:alice@client.atlanta.example.com;transport=tcp>
"""

RFC_3665_200 = """
SIP/2.0 200 OK
Via: SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74b43;received=192.0.2.101
Record-Route: <sip:ss2.biloxi.example.com;lr>, <sip:ss1.atlanta.example.com;lr>
From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl
To: Bob <sip:bob@biloxi.example.com>;tag=314159
Call-ID: 3848276298220188511@atlanta.example.com
CSeq: 1 INVITE
Contact: <sip:bob@client.biloxi.example.com;transport=tcp>
"""


def test_rfc_3261_24_2_bob_answers_as_the_rfc_shows() -> None:
    wire = Wire()
    server, here = ("192.0.2.3", 5060), ("192.0.2.4", 5060)
    bob = wire.agent("bob", server, here)
    bob.receive(wire_text(RFC_3261_F4), server, wire.now)
    outputs = bob.take()
    ringing = parse(outputs[0].data)  # type: ignore[union-attr]
    assert isinstance(ringing, Response)
    assert ringing.status == 180
    assert outputs[1] == IncomingCall("a84b4c76e66710", "alice", "Alice")
    bob.answer("a84b4c76e66710", wire.now)
    ok = parse(bob.take()[0].data)  # type: ignore[union-attr]
    assert isinstance(ok, Response)
    for answer in (ringing, ok):
        # F5 and F9: "Via" lines as they came, From and Call-ID and CSeq unchanged, To with a tag, a Contact.
        assert answer.all(b"via") == request(RFC_3261_F4).all(b"via")
        assert answer.get(b"from") == b"Alice <sip:alice@atlanta.com>;tag=1928301774"
        assert answer.call_id == b"a84b4c76e66710"
        assert answer.cseq == (314159, b"INVITE")
        assert answer.to_tag == ringing.to_tag != b""
        assert answer.get(b"contact") == b"<sip:bob@192.0.2.4:5060>"
    assert ok.get(b"content-type") == b"application/sdp"
    # F12 and F13: the BYE that Bob sends goes to Alice's Contact, From and To swapped.
    ack = RFC_3261_F4.replace("INVITE", "ACK").replace("z9hG4bK4b43c2ff8.1", "z9hG4bK4b43c2ff9")
    bob.receive(
        wire_text(ack.replace("<sip:bob@biloxi.com>", f"<sip:bob@biloxi.com>;tag={ok.to_tag.decode()}")), server, wire.now
    )
    bob.hang_up("a84b4c76e66710", wire.now)
    bye = next(parse(output.data) for output in bob.take() if hasattr(output, "data"))
    assert isinstance(bye, Request)
    assert (bye.method, bye.uri) == (b"BYE", b"sip:alice@pc33.atlanta.com")
    assert bye.get(b"to") == b"Alice <sip:alice@atlanta.com>;tag=1928301774"
    assert bye.get(b"from") == b"Bob <sip:bob@biloxi.com>;tag=" + ok.to_tag
    assert bye.get(b"max-forwards") == b"70"


def test_rfc_3665_3_2_the_route_set_of_the_caller_is_record_route_reversed() -> None:
    dialog = Dialog.as_caller(request(RFC_3665_INVITE), response(RFC_3665_200))
    ack = dialog.request(b"ACK", b"SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74b76", 1)
    assert ack.to_bytes() == wire_text("""
ACK sip:bob@client.biloxi.example.com;transport=tcp SIP/2.0
Via: SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74b76
Max-Forwards: 70
Route: <sip:ss1.atlanta.example.com;lr>
Route: <sip:ss2.biloxi.example.com;lr>
From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl
To: Bob <sip:bob@biloxi.example.com>;tag=314159
Call-ID: 3848276298220188511@atlanta.example.com
CSeq: 1 ACK
Content-Length: 0
""")


def test_the_route_set_of_the_called_side_is_record_route_as_it_came() -> None:
    text = RFC_3665_INVITE.replace(
        "Route: <sip:ss1.atlanta.example.com;lr>",
        "Record-Route: <sip:ss2.biloxi.example.com;lr>, <sip:ss1.atlanta.example.com;lr>",
    )
    dialog = Dialog.as_called(request(text), b"314159")
    bye = dialog.request(b"BYE", b"SIP/2.0/TCP client.biloxi.example.com:5060;branch=z9hG4bKnashds7", dialog.next_cseq())
    assert bye.all(b"route") == [b"<sip:ss2.biloxi.example.com;lr>", b"<sip:ss1.atlanta.example.com;lr>"]
    assert bye.uri == b"sip:alice@client.atlanta.example.com;transport=tcp"
    assert bye.get(b"from") == b"Bob <sip:bob@biloxi.example.com>;tag=314159"
    assert bye.get(b"to") == b"Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl"
    assert bye.cseq == (1, b"BYE")


def test_a_strict_router_gets_the_request_uri_and_the_target_goes_last() -> None:
    # RFC 3261 12.2.1.1 with the route set of its example.
    dialog = Dialog.as_caller(request(RFC_3665_INVITE), response(RFC_3665_200))
    dialog.routes = (b"<sip:proxy1>", b"<sip:proxy2>", b"<sip:proxy3;lr>")
    dialog.target = b"sip:user@remoteua"
    message = dialog.request(b"BYE", b"SIP/2.0/UDP a;branch=z9hG4bKx", 2)
    assert message.uri == b"sip:proxy1"
    assert message.all(b"route") == [b"<sip:proxy2>", b"<sip:proxy3;lr>", b"<sip:user@remoteua>"]


@pytest.mark.parametrize(
    ("route", "loose"),
    [
        (b"<sip:p;lr>", True),
        (b"<sip:p;LR=on>", True),
        (b"<sip:p;transport=udp;lr;x=1>", True),
        (b"<sip:p;lrx>", False),
        (b"<sip:p>;lr", False),
        (b"<sip:p?h=;lr>", False),
        (b"<sip:lr@p>", False),
    ],
)
def test_what_a_loose_router_is(route: bytes, loose: bool) -> None:
    assert is_loose(route) is loose


def test_requests_of_the_other_side_must_come_in_order() -> None:
    dialog = Dialog.as_called(request(RFC_3665_INVITE), b"1")
    later = request(RFC_3665_INVITE.replace("CSeq: 1 ", "CSeq: 5 "))
    assert dialog.in_order(later)
    assert not dialog.in_order(later)
    assert not dialog.in_order(request(RFC_3665_INVITE.replace("CSeq: 1 ", "CSeq: 4 ")))


def test_a_dialog_needs_a_contact() -> None:
    text = RFC_3665_200.replace("Contact: <sip:bob@client.biloxi.example.com;transport=tcp>\n", "")
    with pytest.raises(MalformedMessage):
        Dialog.as_caller(request(RFC_3665_INVITE), response(text))
