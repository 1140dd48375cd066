"""What a trunk gets to see of a call, and what the caller gets to see of the trunk."""

from sip.message import Request
from sip.parser import parse
from sip.responses import make_response
from sip.trunk_leg import hide, leg_names, show

INVITE = b"\r\n".join(
    [
        b"INVITE sip:101@gw.test SIP/2.0",
        b"Via: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bKinner;rport=5060;received=10.1.2.3, SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKy",
        b"Via: SIP/2.0/TCP 10.8.8.8;branch=z9hG4bKx",
        b"Max-Forwards: 70",
        b'From: "Gate, North" <sip:100000001@gw.test>;tag=abc',
        b"To: <sip:101@gw.test>",
        b"Call-ID: c1",
        b"CSeq: 7 INVITE",
        b"Contact: <sip:100000001@198.51.100.1:5060>",
        b'Proxy-Authorization: Digest username="100000001", realm="portico", nonce="n", uri="u", response="r"',
        b"Authorization: Digest x=y",
        b"P-Asserted-Identity: <sip:boss@10.1.2.3>",
        b"Remote-Party-ID: <sip:boss@10.1.2.3>",
        b"Diversion: <sip:101@10.1.2.3>",
        b"History-Info: <sip:101@10.1.2.3>",
        b"Path: <sip:10.1.2.3>",
        b"User-Agent: Akuvox R29 10.1.2.3",
        b"Content-Length: 0",
        b"",
        b"",
    ]
)
NAMES = leg_names("+49301234567", "+4930999", "carrier.example")


def invite() -> Request:
    message = parse(INVITE)
    assert isinstance(message, Request)
    return message


def test_no_inner_host_number_or_credential_leaves() -> None:
    original = invite()
    leg = original.copy()
    hide(leg, NAMES)
    wire = leg.to_bytes()
    for secret in (b"10.1.2.3", b"10.9.9.9", b"10.8.8.8", b"gw.test", b"101@", b"Gate", b"Digest", b"Akuvox", b"boss"):
        assert secret not in wire, secret
    assert leg.uri == leg.to_addr.uri == b"sip:+49301234567@carrier.example;user=phone"
    assert leg.from_addr.uri == b"sip:+4930999@carrier.example;user=phone"
    assert (leg.from_tag, leg.to_tag, leg.call_id, leg.cseq) == (b"abc", b"", b"c1", (7, b"INVITE"))
    assert original.to_bytes() == INVITE, "the caller's request is kept for the answer"


def test_the_answer_is_one_to_the_callers_own_request() -> None:
    original = invite()
    leg = original.copy()
    hide(leg, NAMES)
    leg.prepend(b"via", b"SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKours")
    answer = make_response(leg, 180, to_tag=b"theirs", extra=((b"server", b"Carrier"), (b"contact", b"<sip:x@203.0.113.9>")))
    show(answer, original)
    assert answer.all(b"via") == original.all(b"via")
    assert answer.get(b"from") == original.get(b"from")
    assert answer.get(b"to") == b"<sip:101@gw.test>;tag=theirs"
    assert answer.get(b"server") is None
    in_dialog = original.copy()
    in_dialog.replace(b"to", b"<sip:101@gw.test>;tag=theirs")
    again = make_response(leg, 200, to_tag=b"theirs")
    show(again, in_dialog)
    assert again.get(b"to") == b"<sip:101@gw.test>;tag=theirs"


def test_no_number_presented_is_anonymous() -> None:
    assert leg_names("0301234567", "", "carrier.example").caller == b"sip:anonymous@anonymous.invalid"
