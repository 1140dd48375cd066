"""Responses made from requests (RFC 3261 8.2.6)."""

import pytest

from sip.errors import MalformedMessage
from sip.message import Request
from sip.parser import parse
from sip.responses import REASONS, make_response

RAW = (
    b"INVITE sip:monitor@example.org SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp\r\n"
    b"Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKd\r\n"
    b"Max-Forwards: 70\r\nf: <sip:door@example.org>;tag=a1\r\n"
    b"T:\r\n <sip:monitor@example.org>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\nTimestamp: 54\r\n"
    b"Record-Route: <sip:x;lr>\r\nContent-Length: 0\r\n\r\n"
)


def request(raw: bytes = RAW) -> Request:
    message = parse(raw)
    assert isinstance(message, Request)
    return message


def test_copies_what_the_rfc_says_as_received() -> None:
    answer = make_response(request(), 486, to_tag=b"t1", extra=[(b"retry-after", b"5"), (b"x-why", b"busy")])
    assert answer.to_bytes() == (
        b"SIP/2.0 486 Busy Here\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp\r\n"
        b"Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKd\r\n"
        b"f: <sip:door@example.org>;tag=a1\r\n"
        b"T:\r\n <sip:monitor@example.org>;tag=t1\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n"
        b"Retry-After: 5\r\nX-Why: busy\r\nContent-Length: 0\r\n\r\n"
    )


def test_timestamp_only_in_trying() -> None:
    assert make_response(request(), 100).get(b"timestamp") == b"54"
    assert make_response(request(), 180).get(b"timestamp") is None


def test_to_tag_is_added_once() -> None:
    tagged = request(RAW.replace(b"org>\r\nCall-ID", b"org>;tag=theirs\r\nCall-ID"))
    assert make_response(tagged, 200, to_tag=b"ours").to_tag == b"theirs"
    assert make_response(request(), 200).to_tag == b""


def test_reason() -> None:
    assert make_response(request(), 499).reason == b"Unknown"
    assert make_response(request(), 400, b"Malformed To").reason == b"Malformed To"
    assert make_response(request(), 400, b"").reason == b""
    assert all(100 <= status <= 699 and reason for status, reason in REASONS.items())


def test_partial_request_can_be_answered() -> None:
    with pytest.raises(MalformedMessage) as refusal:
        parse(RAW.replace(b"<sip:monitor@example.org>\r\nCall", b'"open <sip:m@example.org>\r\nCall'))
    answer = make_response(refusal.value.partial, refusal.value.status, refusal.value.reason, to_tag=b"ours")
    assert answer.status == 400
    assert answer.reason == b"Malformed To"
    assert answer.get(b"to") == b'"open <sip:m@example.org>'
    with pytest.raises(MalformedMessage) as refusal:
        parse(RAW.replace(b"T:\r\n <sip:monitor@example.org>\r\n", b""))
    assert refusal.value.reason == b"Missing To"
    assert make_response(refusal.value.partial, 400, to_tag=b"ours").get(b"to") is None
