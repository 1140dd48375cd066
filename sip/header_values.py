"""Structured header values, parsed on demand: Via, name-addr headers, CSeq. All raise only `MalformedMessage` (400).

They are plain slotted classes rather than dataclasses: a Via and two name-addrs are made for every message on the wire.
"""

import re
from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import (
    BACKSLASH,
    COMMA,
    LWS,
    QUESTION,
    SEMICOLON,
    SPACE,
    TAB,
    TOKEN,
    TOKEN_CLASS,
    URI,
    URI_CLASS,
    decimal,
    first_comma,
    is_token,
    quoted_end,
    unquote,
)
from sip.uri import scheme_of, split_host_port

CSEQ_LIMIT: Final = 2**31 - 1
"""RFC 3261 8.1.1.5: "The sequence number value MUST be expressible as a 32-bit unsigned integer and MUST be less than 2**31."""

MAGIC_COOKIE: Final = b"z9hG4bK"
"""RFC 3261 8.1.1.7: a branch that starts with it is unique by itself. A lower-case comparison is ours (RFC 3261 7.3.1)."""

_TRANSPORTS: Final[dict[bytes, bytes]] = {b"SIP/2.0/" + name: name for name in (b"UDP", b"TCP", b"TLS", b"WS", b"WSS", b"SCTP")}
_TOKEN_AND_LWS: Final = TOKEN + LWS
_PLAIN_PARAMS: Final = TOKEN + b";="
_UNQUOTED_ENDS: Final = b'"<>, \t'

# The forms that nearly every value on the wire has, each read with one call. What they do not match is read by the exact rules
# below, and what they do match means the same there (tests/sip/test_usual_forms.py holds them to it). Possessive throughout, so
# that no value takes more than linear time.
_USUAL_VIA = re.compile(
    rb"SIP/2\.0/(UDP|TCP|TLS|WSS?) ([A-Za-z0-9._-]++|\[[0-9A-Fa-f:.]{2,}\])(?::([0-9]{1,5}))?"
    rb"(;rport)?;branch=(%b++)(;rport)?(?:;received=([0-9.]++))?" % TOKEN_CLASS
).fullmatch
_USUAL_ADDRESS = re.compile(
    rb"""("[^"\\]*+"[ \t]*+|%b[ \t%b]*+)?<(sips?:%b*+)>(?:;tag=(%b++))?"""
    % (TOKEN_CLASS, TOKEN_CLASS[1:-1], URI_CLASS, TOKEN_CLASS)
).fullmatch
_USUAL_CSEQ = re.compile(rb"([0-9]{1,9}) ([A-Z]+)").fullmatch


class Via:
    """One Via value (RFC 3261 20.42). Not to be changed: messages share it.

    `transport` is in upper case, `host` in lower case with IPv6 brackets kept, `port` None where none was given. `branch`,
    `received` and `maddr` are b"" where absent. `rport` is None where absent and 0 where the peer sent the bare flag that asks
    for it (RFC 3581); 0 is no port that a value could have. `raw` is the value as received, unfolded.
    """

    __slots__ = ("branch", "host", "maddr", "port", "raw", "received", "rport", "transport")

    def __init__(
        self,
        transport: bytes,
        host: bytes,
        port: int | None,
        branch: bytes = b"",
        received: bytes = b"",
        rport: int | None = None,
        maddr: bytes = b"",
        raw: bytes = b"",
    ) -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.branch = branch
        self.received = received
        self.rport = rport
        self.maddr = maddr
        self.raw = raw

    def __repr__(self) -> str:
        return f"Via({self.raw!r})"


class NameAddr:
    """`[display-name] <uri> *(;param)` or `addr-spec *(;param)`: From, To, Contact, Route, Path (RFC 3261 20.10).

    `raw_display` is the display name as received, `uri` too, `params` have lower-case names and values without quotes (a flag
    has b""). Not to be changed: messages share it.
    """

    __slots__ = ("params", "raw_display", "uri")

    def __init__(self, raw_display: bytes, uri: bytes, params: dict[bytes, bytes]) -> None:
        self.raw_display = raw_display
        self.uri = uri
        self.params = params

    def __repr__(self) -> str:
        return f"NameAddr({self.raw_display!r}, {self.uri!r}, {self.params!r})"

    @property
    def display(self) -> bytes:
        """The display name without its quotes, b"" where there is none."""
        return unquote(self.raw_display) if self.raw_display[:1] == b'"' else self.raw_display


def parse_params(text: bytes, reason: bytes) -> dict[bytes, bytes]:
    """`*( SEMI generic-param )` -> names in lower case and values unquoted. `text` is b"" or starts with ";" (white space aside).

    A parameter given twice is refused: RFC 3261 7.3.1, "any given parameter-name MUST NOT appear more than once".
    """
    if text.strip(_PLAIN_PARAMS):
        return _exact_params(text, reason)
    parts = text.split(b";")
    params: dict[bytes, bytes] = {}
    for part in parts[1:]:
        name, _, value = part.partition(b"=")
        params[name.lower()] = value
    if parts[0] or len(params) != len(parts) - 1 or b"" in params or text.find(b"=;") >= 0 or text[-1:] == b"=":
        raise MalformedMessage(400, reason)
    return params


def _exact_params(text: bytes, reason: bytes) -> dict[bytes, bytes]:
    """`parse_params` where white space, quoted-strings or characters other than those of tokens occur."""
    params: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        if text[at] in LWS:
            at += 1
            continue
        if text[at : at + 1] != b";":
            raise MalformedMessage(400, reason)
        semicolon = text.find(b";", at + 1)
        quote = text.find(b'"', at + 1, semicolon if semicolon >= 0 else len(text))
        if quote >= 0:
            end = quoted_end(text, quote)
            name, equals, before = text[at + 1 : quote].partition(b"=")
            if end < 0 or equals == b"" or before.strip(LWS):
                raise MalformedMessage(400, reason)
            value = unquote(text[quote:end])
        else:
            end = semicolon if semicolon >= 0 else len(text)
            name, equals, value = text[at + 1 : end].partition(b"=")
            value = value.strip(LWS)
            if value.translate(None, _UNQUOTED_ENDS) != value or (equals and value == b""):
                raise MalformedMessage(400, reason)
        name = name.strip(LWS).lower()
        if not is_token(name) or name in params:
            raise MalformedMessage(400, reason)
        params[name] = value
        at = end
    return params


def parse_via(value: bytes) -> Via:
    """The first Via value in `value` (which may be a comma list, unfolded). Raises `MalformedMessage` 400 "Malformed Via"."""
    if COMMA in value:
        comma = first_comma(value)
        if comma >= 0:
            value = value[:comma].rstrip(LWS)
    return _usual_via(value) or _exact_via(value)


def _usual_via(value: bytes) -> Via | None:
    """`parse_via` for the usual form, None for any other."""
    found = _USUAL_VIA(value)
    if found is None:
        return None
    texts: tuple[bytes, ...] = found.groups(b"")
    port = decimal(texts[2], 65535) if texts[2] else None
    if (port is not None and port < 0) or (texts[3] and texts[5]):
        return None
    rport = 0 if texts[3] or texts[5] else None
    return Via(texts[0], texts[1].lower(), port, texts[4], texts[6], rport, b"", value)


def _exact_via(value: bytes) -> Via:
    at = value.find(b";")
    head = value if at < 0 else value[:at]
    protocol, _, sent_by = head.partition(b" ")
    transport = _TRANSPORTS.get(protocol, b"")
    if transport == b"" or SPACE in sent_by or TAB in sent_by:
        transport, sent_by = _sent_protocol(head)
    host, port = split_host_port(sent_by, b"Malformed Via")
    if at < 0:
        return Via(transport, host, port, b"", b"", None, b"", value)
    params = parse_params(value[at:], b"Malformed Via")
    rport: int | None = None
    if b"rport" in params:
        rport_text = params[b"rport"]
        rport = decimal(rport_text, 65535) if rport_text else 0
        if rport < 0:
            raise MalformedMessage(400, b"Malformed Via")
    return Via(
        transport, host, port, params.get(b"branch", b""), params.get(b"received", b""), rport, params.get(b"maddr", b""), value
    )


def _sent_protocol(value: bytes) -> tuple[bytes, bytes]:
    """`sent-protocol LWS sent-by` with white space around SLASH and COLON -> (transport, sent-by without it)."""
    name, first, rest = value.partition(b"/")
    version, second, rest = rest.partition(b"/")
    rest = rest.lstrip(LWS).replace(b"\t", b" ")
    transport, space, rest = rest.partition(b" ")
    if not first or not second or not space or name.strip(LWS).upper() != b"SIP" or version.strip(LWS) != b"2.0":
        raise MalformedMessage(400, b"Malformed Via")
    if not is_token(transport):
        raise MalformedMessage(400, b"Malformed Via")
    host, bracket, port = rest.strip(LWS).rpartition(b"]")
    name, colon, port = port.partition(b":")
    return transport.upper(), host + bracket + name.rstrip(LWS) + colon + port.lstrip(LWS)


def parse_name_addr(value: bytes, reason: bytes = b"Malformed Address") -> NameAddr:
    """One name-addr or addr-spec with its header parameters. Raises `MalformedMessage` 400 with `reason`.

    Without angle brackets every ";" starts a header parameter, and a "?" or "," may not stand in the URI (RFC 3261 20, 20.10).
    """
    found = _USUAL_ADDRESS(value)
    if found is None:
        return _exact_name_addr(value, reason)
    texts: tuple[bytes, ...] = found.groups(b"")
    display, uri, tag = texts[0], texts[1], texts[2]
    return NameAddr(display.rstrip(LWS), uri, {b"tag": tag} if tag else {})


def _exact_name_addr(value: bytes, reason: bytes) -> NameAddr:
    opening = value.find(b"<")
    display = b""
    if value[:1] == b'"':
        end = value.find(b'"', 1) + 1 if BACKSLASH not in value else quoted_end(value, 0)
        if end <= 0:
            raise MalformedMessage(400, reason)
        display = value[:end]
        opening = value.find(b"<", end)
        if opening < 0 or value[end:opening].strip(LWS):
            raise MalformedMessage(400, reason)
    elif opening > 0:
        display = value[:opening]
        if display.translate(None, _TOKEN_AND_LWS):
            if SEMICOLON not in display:
                raise MalformedMessage(400, reason)
            opening = -1
        else:
            display = display.strip(LWS)
    if opening < 0:
        uri, semicolon, params_text = value.partition(b";")
        uri = uri.rstrip(LWS)
        if QUESTION in uri or COMMA in uri:
            raise MalformedMessage(400, reason)
        rest = semicolon + params_text
        display = b""
    else:
        closing = value.find(b">", opening)
        if closing < 0:
            raise MalformedMessage(400, reason)
        uri = value[opening + 1 : closing]
        rest = value[closing + 1 :]
    if uri.translate(None, URI) or (uri[:4] != b"sip:" and scheme_of(uri) == b""):
        raise MalformedMessage(400, reason)
    return NameAddr(display, uri, parse_params(rest, reason) if rest else {})


def parse_cseq(value: bytes) -> tuple[int, bytes]:
    """`1*DIGIT LWS Method`. Raises `MalformedMessage` 400 "Malformed CSeq"."""
    found = _USUAL_CSEQ(value)
    if found is not None:
        text, usual = found.groups()
        return decimal(text, CSEQ_LIMIT), usual
    number_text, _, method = value.partition(b" ")
    number = decimal(number_text, CSEQ_LIMIT)
    if number < 0 or not is_token(method):
        number_text, _, method = value.replace(b"\t", b" ").partition(b" ")
        number = decimal(number_text, CSEQ_LIMIT)
        method = method.strip(b" ")
        if number < 0 or not is_token(method):
            raise MalformedMessage(400, b"Malformed CSeq")
    return number, method
