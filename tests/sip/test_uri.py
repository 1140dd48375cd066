"""SIP URIs: the routing fast path, the whole parse, and the comparison rules with the examples of RFC 3261 19.1.4."""

import pytest

from sip.errors import MalformedMessage
from sip.uri import SipUri, equivalent, parse_uri, scheme_of, unescape, user_and_host


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        (b"sip:alice@example.org", (b"alice", b"example.org", None)),
        (b"SIP:alice@Example.ORG:5061;transport=tcp?x=y", (b"alice", b"example.org", 5061)),
        (b"sips:example.org", (b"", b"example.org", None)),
        (b"sip:a;b=c?d@host", (b"a;b=c?d", b"host", None)),
        (b"sip:alice:secret@host", (b"alice", b"host", None)),
        (b"sip:%61lice%40home@host", (b"alice@home", b"host", None)),
        (b"sip:null-%00-null@host", (b"null-\0-null", b"host", None)),
        (b"sip:*97#@host", (b"*97#", b"host", None)),
        (b"sip:[2001:DB8::10]:5070", (b"", b"[2001:db8::10]", 5070)),
        (b"sip:[2001:db8::10:5070]", (b"", b"[2001:db8::10:5070]", None)),
        (b"sip:u@[2001:db8:::192.0.2.1]", (b"u", b"[2001:db8:::192.0.2.1]", None)),
        (b"tel:+1-201-555-0123;phone-context=x", (b"+12015550123", b"", None)),
        (b"TEL:863-1234", (b"8631234", b"", None)),
    ],
)
def test_user_and_host(uri: bytes, parts: tuple[bytes, bytes, int | None]) -> None:
    assert user_and_host(uri) == parts


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        (b"", 400),
        (b"alice@host", 400),
        (b"sip:", 400),
        (b"sip:@host", 400),
        (b"sip:a@", 400),
        (b"sip:a@b@c", 400),
        (b"sip:a b@host", 400),
        (b"sip:a@host:", 400),
        (b"sip:a@host:port", 400),
        (b"sip:a@host:65536", 400),
        (b"sip:a@host:-1", 400),
        (b"sip:a@host:5_060", 400),
        (b"sip:2001:db8::10", 400),
        (b"sip:a@[2001:db8::10", 400),
        (b"sip:a@[2001:db8::10]5060", 400),
        (b"sip:a@[host]", 400),
        (b"sip:a@[]", 400),
        (b"sip:a@h\xc3\xb6st", 400),
        (b"sip:a\0@host", 400),
        (b"sip:a%4@host", 400),
        (b"sip:a%zz@host", 400),
        (b"<sip:a@host>", 400),
        (b"tel:", 400),
        (b"tel:12+34", 400),
        (b"tel:\xd9\xa1\xd9\xa2", 400),
        (b"http://host/", 416),
        (b"soap.beep://192.0.2.103:3002", 416),
        (b"9sip:a@host", 400),
    ],
)
def test_user_and_host_refuses(uri: bytes, status: int) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        user_and_host(uri, b"Malformed Request-URI")
    assert refusal.value.status == status


def test_scheme_and_escapes() -> None:
    assert scheme_of(b"SIPS:x") == b"sips"
    assert scheme_of(b"no-colon") == scheme_of(b":x") == scheme_of(b"s\xc3\xafp:x") == b""
    assert unescape(b"%41%zz%") == b"A%zz%"


def test_whole_uri_round_trip() -> None:
    uri = parse_uri(b"sips:al%20ice:pw@Example.org:5061;transport=tcp;lr?Subject=a%26b&x=1")
    assert (uri.scheme, uri.user, uri.host, uri.port) == ("sips", "al ice", "example.org", 5061)
    assert uri.params == {"transport": "tcp", "lr": ""}
    assert uri.headers == {"subject": "a&b", "x": "1"}
    assert parse_uri(uri.to_bytes()) == uri
    assert "pw" not in repr(uri)


def test_own_uri_is_escaped() -> None:
    uri = SipUri("sip", "a@b\r\nX: y", "host", params={"x": "a;b"})
    assert uri.to_bytes() == b"sip:a%40b%0D%0AX%3A%20y@host;x=a%3Bb"
    assert parse_uri(uri.to_bytes()) == uri


@pytest.mark.parametrize("uri", [b"tel:123", b"sip:a@b;x=1;X=2", b"sip:a@b;;x", b"sip:a@b?x=1&x=2", b"sip:a@b?&", b"sip:a@b;=1"])
def test_parse_uri_refuses(uri: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_uri(uri)


# The examples of RFC 3261 19.1.4.
@pytest.mark.parametrize(
    ("left", "right"),
    [
        (b"sip:%61lice@atlanta.com;transport=TCP", b"sip:alice@AtLanTa.CoM;Transport=tcp"),
        (b"sip:carol@chicago.com", b"sip:carol@chicago.com;newparam=5"),
        (b"sip:carol@chicago.com;security=on", b"sip:carol@chicago.com;newparam=5"),
        (
            b"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            b"sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            b"sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            b"sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ],
)
def test_equivalent(left: bytes, right: bytes) -> None:
    assert equivalent(left, right)
    assert equivalent(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (b"SIP:ALICE@AtLanTa.CoM;Transport=udp", b"sip:alice@AtLanTa.CoM;Transport=UDP"),
        (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:5060"),
        (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;transport=udp"),
        (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:6000;transport=tcp"),
        (b"sip:carol@chicago.com", b"sip:carol@chicago.com?Subject=next%20meeting"),
        (b"sip:bob@phone21.boxesbybob.com", b"sip:bob@192.0.2.4"),
        (b"sip:carol@chicago.com;security=on", b"sip:carol@chicago.com;security=off"),
        (b"sip:bob@biloxi.com", b"sips:bob@biloxi.com"),
        (b"sip:b%3Bx@biloxi.com", b"sip:b;x@biloxi.com"),
        (b"sip:bob:one@biloxi.com", b"sip:bob:two@biloxi.com"),
        (b"tel:123", b"tel:1-23"),
        (b"sip:bob@biloxi.com;user=phone", b"sip:bob@biloxi.com"),
        (b"sip:bob@biloxi.com;maddr=192.0.2.1", b"sip:bob@biloxi.com"),
    ],
)
def test_not_equivalent(left: bytes, right: bytes) -> None:
    assert not equivalent(left, right)
    assert not equivalent(right, left)
