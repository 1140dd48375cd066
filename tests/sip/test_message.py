"""Messages: reading, the cached fields, every edit, and output that changes nothing it was not told to change."""

import pytest

from sip.errors import MalformedMessage
from sip.message import Message, Request, Response, addresses
from sip.parser import parse

RAW = (
    b"INVITE sip:monitor@example.org SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp , SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKd\r\n"
    b"Via: SIP/2.0/TCP 10.0.0.6;branch=z9hG4bKe\r\n"
    b"Max-Forwards:   70\r\n"
    b'f: "Door, Front" <sip:door@example.org>;tag=a1\r\n'
    b"To: <sip:monitor@example.org>\r\n"
    b"Call-ID: c1@10.0.0.5\r\n"
    b"CSeq: 7 INVITE\r\n"
    b"Subject: one\r\n two\r\n\tthree\r\n"
    b'Contact: "A, B" <sip:a@b>, <sip:c,d@e>;q=0.5\r\n'
    b"Supported: path, gruu,\r\n outbound\r\n"
    b"X-Unknown :  kept,  as it is  \r\n"
    b"Content-Length: 4\r\n\r\nbody"
)


def invite() -> Request:
    message = parse(RAW)
    assert isinstance(message, Request)
    return message


def test_reading() -> None:
    message = invite()
    assert message.get(b"subject") == b"one two three"
    assert message.get(b"x-unknown") == b"kept,  as it is"
    assert message.get(b"absent") is None
    assert message.all(b"supported") == [b"path", b"gruu", b"outbound"]
    assert message.all(b"contact") == [b'"A, B" <sip:a@b>', b"<sip:c,d@e>;q=0.5"]
    assert message.all(b"x-unknown") == [b"kept,  as it is"]
    assert message.all(b"absent") == []
    assert [value.partition(b"=")[2] for value in message.all(b"via")] == [b"z9hG4bKp", b"z9hG4bKd", b"z9hG4bKe"]
    assert message.count(b"via") == 2
    assert [address.uri for address in addresses(message, b"contact")] == [b"sip:a@b", b"sip:c,d@e"]


def test_typed_fields() -> None:
    message = invite()
    assert message.top_via.host == b"192.0.2.9"
    assert message.branch == b"z9hG4bKp"
    assert message.from_addr.display == b"Door, Front"
    assert (message.from_tag, message.to_tag) == (b"a1", b"")
    assert message.cseq == (7, b"INVITE")
    assert message.call_id == b"c1@10.0.0.5"
    assert message.max_forwards == 70
    assert message.target == (b"monitor", b"example.org", None)


def test_unedited_output_is_the_input() -> None:
    assert invite().to_bytes() == RAW


def test_repr_tells_no_content() -> None:
    assert repr(invite()) == "<Request b'INVITE'>"
    assert repr(Response(200, b"OK", [], [])) == "<Response 200>"


def test_prepend_goes_before_the_first_of_its_kind() -> None:
    message = invite()
    message.prepend(b"via", b"SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKus")
    message.prepend(b"record-route", b"<sip:203.0.113.1;lr>")
    lines = message.to_bytes().split(b"\r\n")
    assert lines[1] == b"Record-Route: <sip:203.0.113.1;lr>"
    assert lines[2] == b"Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKus"
    assert lines[3].startswith(b"v: SIP/2.0/UDP 192.0.2.9")
    assert message.branch == b"z9hG4bKus"
    assert message.to_bytes().replace(b"\r\n".join(lines[1:3]) + b"\r\n", b"") == RAW


def test_append_goes_to_the_end() -> None:
    message = invite()
    message.append(b"reason", b"SIP;cause=200")
    assert message.to_bytes() == RAW.replace(b"\r\n\r\n", b"\r\nReason: SIP;cause=200\r\n\r\n")


def test_remove_takes_every_line() -> None:
    message = invite()
    message.remove(b"via")
    message.remove(b"absent")
    assert b"z9hG4bK" not in message.to_bytes()
    with pytest.raises(MalformedMessage):
        message.top_via  # noqa: B018


def test_replace() -> None:
    message = invite()
    message.replace(b"max-forwards", b"69")
    assert message.max_forwards == 69
    assert message.to_bytes() == RAW.replace(b"Max-Forwards:   70", b"Max-Forwards: 69")
    message.replace(b"via", b"SIP/2.0/UDP h;branch=z9hG4bKonly")
    assert message.all(b"via") == [b"SIP/2.0/UDP h;branch=z9hG4bKonly"]
    assert message.names[0] == b"via"
    message.replace(b"expires", b"60")
    assert message.lines[-1] == b"Expires: 60"


def test_remove_first_value_inside_a_comma_list_then_the_line() -> None:
    message = invite()
    message.remove_first_value(b"via")
    assert message.branch == b"z9hG4bKd"
    assert message.count(b"via") == 2
    message.remove_first_value(b"via")
    assert message.branch == b"z9hG4bKe"
    message.remove_first_value(b"via")
    assert message.count(b"via") == 0
    message.remove_first_value(b"via")
    message.remove_first_value(b"contact")
    assert message.all(b"contact") == [b"<sip:c,d@e>;q=0.5"]
    message.remove_first_value(b"x-unknown")  # not a comma list, so its comma is just a character
    assert message.count(b"x-unknown") == 0


def test_set_top_keeps_the_rest_of_the_line() -> None:
    message = invite()
    message.set_top(b"via", b"SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp;received=198.51.100.1")
    assert message.top_via.received == b"198.51.100.1"
    assert message.all(b"via")[1] == b"SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKd"
    with pytest.raises(KeyError):
        message.set_top(b"route", b"<sip:x>")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        (b"to", b"<sip:x@y>;tag=t9", lambda message: message.to_tag == b"t9"),
        (b"from", b"<sip:x@y>;tag=t9", lambda message: message.from_tag == b"t9"),
        (b"cseq", b"8 ACK", lambda message: message.cseq == (8, b"ACK")),
        (b"call-id", b"other", lambda message: message.call_id == b"other"),
        (b"max-forwards", b"1", lambda message: message.max_forwards == 1),
        (b"via", b"SIP/2.0/UDP h;branch=b", lambda message: message.branch == b"b"),
    ],
)
def test_an_edit_drops_the_cached_field(name: bytes, value: bytes, read: "object") -> None:
    assert callable(read)
    message = invite()
    assert not read(message)
    message.replace(name, value)
    assert read(message)


def test_copy_is_independent() -> None:
    message = invite()
    twin = message.copy()
    twin.prepend(b"via", b"SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKus")
    twin.replace(b"max-forwards", b"3")
    twin.uri = b"sip:other@192.0.2.77"
    assert message.to_bytes() == RAW
    assert (message.branch, message.max_forwards, message.target[0]) == (b"z9hG4bKp", 70, b"monitor")
    assert (twin.branch, twin.max_forwards, twin.target) == (b"z9hG4bKus", 3, (b"other", b"192.0.2.77", None))
    answer = Response(200, b"OK", [b"to"], [b"To: <sip:a@b>;tag=1"])
    other = answer.copy()
    other.append(b"server", b"x")
    assert (answer.names, other.to_tag) == ([b"to"], b"1")


def test_content_length_is_always_right() -> None:
    message = invite()
    message.body = b"longer body"
    assert message.to_bytes() == RAW.replace(b"Length: 4", b"Length: 11").replace(b"\r\n\r\nbody", b"\r\n\r\nlonger body")
    message.remove(b"content-length")
    assert b"Content-Length: 11\r\n\r\nlonger body" in message.to_bytes()
    message.replace(b"content-length", b"999")
    assert message.to_bytes().count(b"Content-Length: 11\r\n") == 1
    assert Response(200, b"OK", [], []).to_bytes() == b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("value", [b"-1", b"256", b"7_0", b"", b"seventy"])
def test_bad_max_forwards(value: bytes) -> None:
    message = invite()
    message.replace(b"max-forwards", value)
    with pytest.raises(MalformedMessage) as refusal:
        message.max_forwards  # noqa: B018
    assert refusal.value.reason == b"Malformed Max-Forwards"


def test_max_forwards_absent() -> None:
    message = invite()
    message.remove(b"max-forwards")
    assert message.max_forwards is None


def test_a_bare_message_has_no_start_line() -> None:
    with pytest.raises(NotImplementedError):
        Message([], []).to_bytes()


def test_addresses_name_their_header() -> None:
    message = invite()
    message.prepend(b"route", b"<sip:a>, sip:b?c")
    with pytest.raises(MalformedMessage) as refusal:
        addresses(message, b"route")
    assert refusal.value.reason == b"Malformed Route"
