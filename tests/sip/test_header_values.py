"""Via, name-addr and CSeq values."""

import pytest

from sip.errors import MalformedMessage
from sip.header_values import NameAddr, parse_cseq, parse_name_addr, parse_params, parse_via


@pytest.mark.parametrize(
    ("value", "transport", "host", "port", "branch", "received", "rport"),
    [
        (b"SIP/2.0/UDP h", b"UDP", b"h", None, b"", b"", None),
        (b"SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1", b"UDP", b"192.0.2.1", 5060, b"z9hG4bK1", b"", 0),
        (b"SIP/2.0/TLS Host.Example;BRANCH=b;Received=192.0.2.9;RPORT=49", b"TLS", b"host.example", None, b"b", b"192.0.2.9", 49),
        (b"SIP/2.0/UDP [2001:DB8::1]:5070;received=[::1]", b"UDP", b"[2001:db8::1]", 5070, b"", b"[::1]", None),
        (b"SIP/2.0/UDP [2001:db8::1];received=2001:db8::9:255", b"UDP", b"[2001:db8::1]", None, b"", b"2001:db8::9:255", None),
        (b"SIP  / 2.0  / tcp     h   :  5061 ;  branch  =   b  ", b"TCP", b"h", 5061, b"b", b"", None),
        (b"sip/2.0/udp h\t;\tbranch\t=\tb", b"UDP", b"h", None, b"b", b"", None),
        (b"SIP/2.0/NEW [::1] : 5061;branch=b", b"NEW", b"[::1]", 5061, b"b", b"", None),
        (b'SIP/2.0/WS h;branch=b;x="a;branch=c, d"', b"WS", b"h", None, b"b", b"", None),
        (b"SIP/2.0/UDP h;branch=one, SIP/2.0/TCP i;branch=two", b"UDP", b"h", None, b"one", b"", None),
    ],
)
def test_via(
    value: bytes, transport: bytes, host: bytes, port: int | None, branch: bytes, received: bytes, rport: int | None
) -> None:
    via = parse_via(value)
    assert (via.transport, via.host, via.port, via.branch, via.received, via.rport) == (
        transport,
        host,
        port,
        branch,
        received,
        rport,
    )
    assert value.startswith(via.raw)


def test_via_maddr() -> None:
    assert parse_via(b"SIP/2.0/UDP h;maddr=192.0.2.255;ttl=1").maddr == b"192.0.2.255"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"SIP/2.0/UDP",
        b"SIP/2.0/UDP ",
        b"SIP/2.0 h",
        b"SIP/3.0/UDP h",
        b"HTTP/2.0/UDP h",
        b"SIP/2.0/U DP h",
        b"SIP/2.0/UDP h i",
        b"SIP/2.0/UDP h:0x1",
        b"SIP/2.0/UDP h:99999",
        b"SIP/2.0/UDP [::1",
        b"SIP/2.0/UDP h;;",
        b"SIP/2.0/UDP 192.0.2.15;;,;,,",
        b"SIP/2.0/UDP h;branch=",
        b"SIP/2.0/UDP h;branch=a;branch=b",
        b"SIP/2.0/UDP h;branch=a;BRANCH=b",
        b"SIP/2.0/UDP h;branch==a=",
        b"SIP/2.0/UDP h;rport=x",
        b"SIP/2.0/UDP h;rport=70000",
        b"SIP/2.0/UDP h;rport=",
        b'SIP/2.0/UDP h;x="open',
        b'SIP/2.0/UDP h;x=a"b"',
        b"SIP/2.0/UDP h;branch=a b",
        b"SIP/2.0/UDP h;br anch=a",
        b"SIP/2.0/UDP h;=a",
        b"SIP/2.0/UDP h;br\xc3\xa4nch=a",
    ],
)
def test_via_refuses(value: bytes) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        parse_via(value)
    assert (refusal.value.status, refusal.value.reason) == (400, b"Malformed Via")


@pytest.mark.parametrize(
    ("value", "display", "uri", "params"),
    [
        (b"<sip:a@b>", b"", b"sip:a@b", {}),
        (b"sip:a@b", b"", b"sip:a@b", {}),
        (b"sip:a@b;tag=1;x", b"", b"sip:a@b", {b"tag": b"1", b"x": b""}),
        (b"<sip:a@b;lr>;Tag=1", b"", b"sip:a@b;lr", {b"tag": b"1"}),
        (b'"A \\"B\\", C" <sip:a@b>;tag=1', b'A "B", C', b"sip:a@b", {b"tag": b"1"}),
        (b'"A;<x>,"<sip:a@b>', b"A;<x>,", b"sip:a@b", {}),
        (b"Front Door <sip:a@b>", b"Front Door", b"sip:a@b", {}),
        (b"caller<sip:a@b>", b"caller", b"sip:a@b", {}),
        (b"<sip:a@b?X=y>", b"", b"sip:a@b?X=y", {}),
        (b"isbn:2983792873", b"", b"isbn:2983792873", {}),
        (
            b'<sip:a@b>;+sip.instance="<urn:uuid:1>";reg-id=1',
            b"",
            b"sip:a@b",
            {b"+sip.instance": b"<urn:uuid:1>", b"reg-id": b"1"},
        ),
        (b'<sip:a@b> ; x = "a;b,c" ; q = 0.3', b"", b"sip:a@b", {b"x": b"a;b,c", b"q": b"0.3"}),
        (b'sip:a@b;x="<y>"', b"", b"sip:a@b", {b"x": b"<y>"}),
        (b"<sip:a@b>;tag=1@192.0.2.1:5060", b"", b"sip:a@b", {b"tag": b"1@192.0.2.1:5060"}),
        (b'""<sip:a@b>', b"", b"sip:a@b", {}),
    ],
)
def test_name_addr(value: bytes, display: bytes, uri: bytes, params: dict[bytes, bytes]) -> None:
    addr = parse_name_addr(value)
    assert (addr.display, addr.uri, addr.params) == (display, uri, params)
    assert isinstance(addr, NameAddr)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"<>",
        b"<",
        b">",
        b"<sip:a@b",
        b'"open <sip:a@b>',
        b'"x" y <sip:a@b>',
        b'"x"',
        b'x "y" <sip:a@b>',
        b"Bell, A <sip:a@b>",
        b"B\xc3\xb6b <sip:a@b>",
        b"< sip:a@b >",
        b"<sip:a b@c>",
        b"<sip:a@b> x",
        b"<sip:a@b>;",
        b"<sip:a@b>;;tag=1",
        b"<sip:a@b>;tag=",
        b"<sip:a@b>;tag=1;tag=2",
        b"<sip:a@b>;tag=1 2",
        b"<sip:a@b>,<sip:c@d>",
        b"sip:a@b?X=y",
        b"sip:a@b,sip:c@d",
        b"<a@b>",
        b"<9:x>",
        b"<sip:a@b\xc2\xa0>",
        b'<sip:a@b>;x="open',
        b'<sip:a@b>;x="y"z',
    ],
)
def test_name_addr_refuses(value: bytes) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        parse_name_addr(value, b"Malformed To")
    assert (refusal.value.status, refusal.value.reason) == (400, b"Malformed To")


def test_params_of_nothing() -> None:
    assert parse_params(b"", b"x") == {}
    assert parse_params(b"  ", b"x") == {}


@pytest.mark.parametrize(
    ("value", "cseq"),
    [(b"1 INVITE", (1, b"INVITE")), (b"0009   INVITE", (9, b"INVITE")), (b"2147483647\tX-Y", (2147483647, b"X-Y"))],
)
def test_cseq(value: bytes, cseq: tuple[int, bytes]) -> None:
    assert parse_cseq(value) == cseq


@pytest.mark.parametrize(
    "value",
    [b"", b"1", b"1 ", b"INVITE 1", b"-1 INVITE", b"2147483648 INVITE", b"1 INVITE x", b"1_0 INVITE", b"1 IN,VITE", b"\xb2 BYE"],
)
def test_cseq_refuses(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_cseq(value)
