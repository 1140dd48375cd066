"""Just enough SDP (RFC 8866) for a media relay: where media goes, and how to change that by editing bytes.

`parse_sdp` notes where the addresses and ports stand; `rewrite` puts others there and leaves every other octet as it was, so what
the ends negotiate (codecs, crypto, attributes nobody here has heard of) passes untouched.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from sip.errors import MalformedSdp
from sip.grammar import CR, decimal, is_token

MAX_OCTETS: Final = 32_768
"""A browser's offer of audio and video with all its candidates takes about 10,000."""
MAX_LINES: Final = 1_000
MAX_MEDIA: Final = 16
"""m= lines of one description."""

PLAIN: Final = frozenset((b"RTP/AVP", b"RTP/AVPF"))
ENCRYPTED: Final = frozenset((b"RTP/SAVP", b"RTP/SAVPF"))
"""SRTP with keys in the SDP (RFC 4568)."""
DTLS: Final = frozenset((b"UDP/TLS/RTP/SAVP", b"UDP/TLS/RTP/SAVPF"))
"""SRTP with keys from a handshake on the media's own path (RFC 5764), as browsers have it."""
_DIRECTIONS: Final = frozenset((b"sendrecv", b"sendonly", b"recvonly", b"inactive"))
_UNSPECIFIED: Final = frozenset(("0.0.0.0", "::"))

Span = tuple[int, int]
"""From and to, as offsets into the body."""


class Address:
    """A `nettype addrtype connection-address`: `span` covers addrtype and address. `host` is "" where it is no IP literal."""

    __slots__ = ("host", "span")

    def __init__(self, host: str, span: Span) -> None:
        self.host = host
        self.span = span

    @property
    def is_hold(self) -> bool:
        """0.0.0.0 or ::, by which old phones say "send nothing" (RFC 3264 8.4)."""
        return self.host in _UNSPECIFIED


class MediaLine:
    """One m= line with what follows it. `port` 0 means rejected or off (RFC 3264 6).

    `host` is an IP literal in its usual form, or "" where the SDP names a host; `rtcp_port` is the a=rtcp's or the next after
    `port`. `telephone_events` maps payload types to their clock rate in Hz (RFC 4733).
    """

    __slots__ = (
        "addresses",
        "direction",
        "host",
        "kind",
        "port",
        "port_count",
        "port_span",
        "rtcp_address",
        "rtcp_mux",
        "rtcp_port",
        "rtcp_span",
        "telephone_events",
        "transport",
    )

    def __init__(self, kind: bytes, port: int, port_count: int, port_span: Span, transport: bytes) -> None:
        self.kind = kind
        self.port = port
        self.port_count = port_count
        self.port_span = port_span
        self.transport = transport
        self.host = ""
        self.addresses: list[Address] = []
        self.direction = b""
        self.rtcp_port = min(port + 1, 65535)
        self.rtcp_span: Span | None = None
        self.rtcp_address: Address | None = None
        self.rtcp_mux = False
        self.telephone_events: dict[int, int] = {}

    @property
    def is_rtp(self) -> bool:
        """Audio or video over plain RTP or SDES-keyed SRTP: what a relay that does not look inside can carry."""
        return self.kind in (b"audio", b"video") and (self.transport in PLAIN or self.transport in ENCRYPTED)

    @property
    def is_held(self) -> bool:
        """Whether the side that wrote this wants nothing sent to it."""
        return self.direction in (b"inactive", b"sendonly") or self.host in _UNSPECIFIED


class Sdp:
    """A session description: the octets, the session's c= lines and its media."""

    __slots__ = ("addresses", "media", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.addresses: list[Address] = []
        self.media: list[MediaLine] = []


def parse_sdp(raw: bytes) -> Sdp:
    """Read a body. Raises MalformedSdp, and nothing else, whatever the octets are."""
    if len(raw) > MAX_OCTETS:
        raise MalformedSdp("too long")
    if raw[:4] not in (b"v=0\r", b"v=0\n") or 0 in raw:
        raise MalformedSdp("NUL" if 0 in raw else "no v=0 line")
    sdp = Sdp(raw)
    direction = b"sendrecv"
    for start, end in _lines(raw):
        media = sdp.media[-1] if sdp.media else None
        kind = raw[start : start + 2]
        start += 2
        if kind == b"m=":
            if len(sdp.media) >= MAX_MEDIA:
                raise MalformedSdp("too many media")
            sdp.media.append(_media(raw, start, end))
        elif kind == b"c=":
            (sdp.addresses if media is None else media.addresses).append(_address(raw, start, end))
        elif kind == b"a=":
            if raw[start:end] in _DIRECTIONS:
                if media is None:
                    direction = raw[start:end]
                else:
                    media.direction = raw[start:end]
            elif media is not None:
                _attribute(raw, start, end, media)
        elif kind[1:] != b"=":
            raise MalformedSdp("line without a type")
    for one in sdp.media:
        one.direction = one.direction or direction
        where = one.addresses or sdp.addresses
        if not where and one.port:
            raise MalformedSdp("media without c=")
        one.host = where[0].host if where else ""
    return sdp


def rewrite(sdp: Sdp, host: str, ports: Sequence[tuple[int, int]]) -> bytes:
    """The description with `host` (an IP literal) for every address, and for each m= line these ports (RTP, RTCP).

    RTP port 0 turns a line off. Lines that are off already stay as they are, and so does the address that means hold.
    Raises ValueError where `ports` does not fit the media.
    """
    kind_and_host = (b"IP6 " if ":" in host else b"IP4 ") + host.encode("ascii")
    edits: list[tuple[Span, bytes]] = [(one.span, kind_and_host) for one in sdp.addresses if not one.is_hold]
    for media, (port, rtcp_port) in zip(sdp.media, ports, strict=True):
        if not media.port:
            continue
        edits.append((media.port_span, b"%d" % port))
        if not port:
            continue
        edits += [(one.span, kind_and_host) for one in media.addresses if not one.is_hold]
        if media.rtcp_span is not None:
            edits.append((media.rtcp_span, b"%d" % rtcp_port))
        if media.rtcp_address is not None and not media.rtcp_address.is_hold:
            edits.append((media.rtcp_address.span, kind_and_host))
    edits.sort()
    parts: list[bytes] = []
    at = 0
    for (start, end), text in edits:
        parts += [sdp.raw[at:start], text]
        at = end
    parts.append(sdp.raw[at:])
    return b"".join(parts)


def _lines(raw: bytes) -> list[Span]:
    """Where each line starts and ends. CR LF or LF alone ends one (RFC 8866 5); only at the end may lines be empty."""
    found: list[Span] = []
    at = 0
    while at < len(raw):
        feed = raw.find(b"\n", at)
        following = len(raw) if feed < 0 else feed + 1
        end = following if feed < 0 else feed
        if end > at and raw[end - 1] == CR:
            end -= 1
        if end == at:
            if raw[at:].strip(b"\r\n"):
                raise MalformedSdp("empty line")
            break
        found.append((at, end))
        if len(found) > MAX_LINES:
            raise MalformedSdp("too many lines")
        at = following
    return found


def _media(raw: bytes, start: int, end: int) -> MediaLine:
    """`media SP port ["/" integer] SP proto 1*(SP fmt)` (RFC 8866 5.14)."""
    parts = raw[start:end].split(b" ")
    if len(parts) < 4 or not is_token(parts[0]) or not parts[2]:
        raise MalformedSdp("m=")
    port_text, slash, count_text = parts[1].partition(b"/")
    port = decimal(port_text, 65535)
    count = decimal(count_text, 65535) if slash else 1
    if port < 0 or count < 0:
        raise MalformedSdp("m= port")
    at = start + len(parts[0]) + 1
    return MediaLine(parts[0].lower(), port, count, (at, at + len(port_text)), parts[2].upper())


def _address(raw: bytes, start: int, end: int) -> Address:
    """`IN SP ("IP4" / "IP6") SP address ["/" ttl]` (RFC 8866 5.7)."""
    parts = raw[start:end].split(b" ")
    if len(parts) != 3 or parts[0] != b"IN" or parts[1] not in (b"IP4", b"IP6") or not parts[2]:
        raise MalformedSdp("address")
    text = parts[2].partition(b"/")[0]
    return Address(_literal(text, parts[1] == b"IP6"), (start + 3, start + 3 + 4 + len(text)))


def _literal(text: bytes, ipv6: bool) -> str:
    """An IP literal in its usual form; "" for a host name. Raises MalformedSdp for what is neither or of the other family."""
    if text.translate(None, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_"):
        raise MalformedSdp("address")
    try:
        found = ip_address(text.decode("ascii"))
    except ValueError:
        return ""
    if (found.version == 6) is not ipv6:
        raise MalformedSdp("address family")
    return str(found)


def _attribute(raw: bytes, start: int, end: int, media: MediaLine) -> None:
    """The attributes of a media that matter here: rtcp-mux (RFC 5761), rtcp (RFC 3605), rtpmap of telephone-event."""
    colon = raw.find(b":", start, end)
    name = raw[start : end if colon < 0 else colon]
    if name in (b"rtcp-mux", b"rtcp-mux-only"):
        media.rtcp_mux = True
    elif name == b"rtcp" and colon >= 0:
        port_end = raw.find(b" ", colon, end)
        media.rtcp_span = (colon + 1, end if port_end < 0 else port_end)
        media.rtcp_port = decimal(raw[media.rtcp_span[0] : media.rtcp_span[1]], 65535)
        if media.rtcp_port < 0:
            raise MalformedSdp("a=rtcp")
        if port_end >= 0:
            media.rtcp_address = _address(raw, port_end + 1, end)
    elif name == b"rtpmap" and colon >= 0:
        type_text, _, rest = raw[colon + 1 : end].partition(b" ")
        encoding, _, rate_text = rest.partition(b"/")
        if encoding.lower() == b"telephone-event":
            payload_type, rate = decimal(type_text, 127), decimal(rate_text.partition(b"/")[0], 192_000)
            if payload_type < 0 or rate < 1:
                raise MalformedSdp("a=rtpmap")
            media.telephone_events[payload_type] = rate
