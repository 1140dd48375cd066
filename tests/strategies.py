# ruff: noqa: E501  the list of fragments is a table
"""Hypothesis strategies: what a SIP peer may send, and what a hostile one does to it."""

from dataclasses import dataclass

from hypothesis import strategies as st

TOKEN_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~"

METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "INFO", "MESSAGE", "SUBSCRIBE", "NOTIFY", "NEWMETHOD")

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "via": ("Via", "via", "VIA", "v", "V", "vIa"),
    "from": ("From", "f", "FROM", "fRoM"),
    "to": ("To", "t", "T", "tO"),
    "call-id": ("Call-ID", "i", "CALL-ID", "call-Id"),
    "cseq": ("CSeq", "cseq", "CSEQ", "cSeQ"),
    "content-length": ("Content-Length", "l", "L", "content-LENGTH"),
    "max-forwards": ("Max-Forwards", "MAX-FORWARDS", "mAX-forwards"),
}

tokens = st.text(TOKEN_CHARS, min_size=1, max_size=20).map(str.encode)
users = st.text(TOKEN_CHARS.replace("%", "").replace("`", "") + "();?/&=$,", max_size=20).map(str.encode)
hosts = st.sampled_from([b"192.0.2.1", b"door.example.org", b"[2001:db8::9:1]", b"a", b"xn--bcher-kva.example"])
ports = st.integers(1, 65535)
header_text = st.binary(max_size=60).map(lambda raw: bytes(octet for octet in raw if octet >= 32 and octet not in (34, 127)))
"""A header value with any octet but controls and the double quote, UTF-8 or not."""


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as bytes, beside what must be read from it."""

    raw: bytes
    method: bytes
    uri: bytes
    call_id: bytes
    from_tag: bytes
    to_tag: bytes
    branch: bytes
    cseq: int
    max_forwards: int | None
    others: tuple[tuple[bytes, bytes], ...]
    body: bytes


@st.composite
def white_space(draw: st.DrawFn) -> bytes:
    """`SWS`: nothing, spaces, tabs or a fold."""
    return draw(st.sampled_from([b" ", b"", b"  ", b"\t", b"\r\n ", b" \r\n\t "]))


@st.composite
def header_line(draw: st.DrawFn, name: str, value: bytes) -> bytes:
    """One header line in any spelling of the name and any white space around the colon and the value."""
    spelling = draw(st.sampled_from(_SPELLINGS.get(name, (name,)))).encode()
    return spelling + draw(st.sampled_from([b"", b" ", b"\t "])) + b":" + draw(white_space()) + value


@st.composite
def wire_requests(draw: st.DrawFn) -> WireRequest:
    """A legal request with its headers in any order and any legal dress."""
    method = draw(st.sampled_from(METHODS)).encode()
    user, host = draw(users), draw(hosts)
    uri = b"sip:" + user + b"@" + host if user else b"sip:" + host
    from_tag, to_tag = draw(tokens), draw(st.one_of(st.just(b""), tokens))
    branch, call_id = b"z9hG4bK" + draw(tokens), draw(tokens) + b"@" + draw(tokens)
    cseq, forwards = draw(st.integers(0, 2**31 - 1)), draw(st.one_of(st.none(), st.integers(0, 255)))
    body = draw(st.binary(max_size=100))
    via = b"SIP/2.0/UDP " + draw(hosts) + b":%d" % draw(ports) + draw(st.sampled_from([b";rport", b""])) + b";branch=" + branch
    lines = [
        draw(header_line("via", via)),
        draw(header_line("from", draw(st.sampled_from([b'"A, B" ', b"", b"door "])) + b"<sip:door@example.org>;tag=" + from_tag)),
        draw(header_line("to", b"<" + uri + b">" + (b";tag=" + to_tag if to_tag else b""))),
        draw(header_line("call-id", call_id)),
        draw(header_line("cseq", b"%d " % cseq + method)),
        draw(header_line("content-length", b"%d" % len(body))),
    ]
    if forwards is not None:
        lines.append(draw(header_line("max-forwards", b"%d" % forwards)))
    others = tuple((b"X-" + draw(tokens), draw(header_text).strip(b" \t")) for _ in range(draw(st.integers(0, 4))))
    lines += [name + b": " + value for name, value in others]
    shuffled = draw(st.permutations(lines))
    raw = b"\r\n".join([method + b" " + uri + b" SIP/2.0", *shuffled, b"", body])
    return WireRequest(raw, method, uri, call_id, from_tag, to_tag, branch, cseq, forwards, others, body)


HOSTILE = (
    b"\0", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xa0", b"\xe2\x80\xa8", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\n ", b" ", b"\t",
    b":", b"::", b";", b";;", b",", b",,", b'"', b'\\"', b"\\", b"<", b">", b"<>", b"=", b"?", b"@", b"%", b"%00", b"[", b"]", b"[::", b"\xff",
    b"To", b"\r\nTo\x0b: <sip:x@y>", b"\r\nTo : <sip:x@y>;tag=1", b"\r\nl: 3", b"\r\nContent-Length: 1_0", b"\r\nContent-Length: +1",
    b"\r\nContent-Length: \xef\xbc\x91", b"\r\nContent-Length: 99999999999999999999", b"\r\nVia: ", b"\r\nCSeq: 1 ", b"\r\nX: 1",
    b"SIP/2.0", b"z9hG4bK", b";tag=", b";rport=", b";branch=", b"\xc2\xb2", b"-1", b"1e9", b"0" * 400, b"9" * 5000, b"(" * 50, b'"' * 51, b"<" * 50,
)  # fmt: skip
"""Fragments that have fooled parsers."""


VALUE_PARTS = (
    b"SIP/2.0/UDP", b"SIP / 2.0 / TCP", b" ", b"192.0.2.1", b"[::1]", b":5060", b";branch=z9hG4bK1", b";rport", b";tag=1", b";lr", b";x=", b";X=1", b"=1",
    b'"A, B" ', b"<sip:a@b>", b"<sip:a@b;lr>", b"sip:a@b", b", ", b"1 INVITE", b"Digest ", b'username="a"', b"nc=00000001", b'nonce="n"', b';q="0.5"', b"; y = z",
)  # fmt: skip
"""Pieces of which header values are made."""


@st.composite
def hostile_messages(draw: st.DrawFn) -> bytes:
    """A legal request cut, spliced, repeated and sprinkled with hostile fragments; now and then plain noise."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(HOSTILE), max_size=12).map(b"".join)))
    raw = draw(wire_requests()).raw
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(raw)))
        to = min(len(raw), at + draw(st.integers(0, 30)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            raw = raw[:at] + draw(st.sampled_from(HOSTILE)) + raw[at:]
        elif kind == 1:
            raw = raw[:at] + raw[to:]
        elif kind == 2:
            raw = raw[:at] + raw[at:to] * 3 + raw[to:]
        elif kind == 3:
            raw = raw[:at] + draw(st.binary(min_size=1, max_size=4)) + raw[at + 1 :]
        else:
            raw = raw[:at]
    return raw
