"""Bytes -> one message. Raises nothing but `MalformedMessage`.

What is checked here is what RFC 4475 asks of any element: the start line, the shape of every header line, the mandatory headers
and those that may come once, Via, From, To, CSeq, Max-Forwards, Content-Length, and a Contact that binds. Other values are
passed on unread. The cost of a message is one pass of C calls over its head plus one lookup per line (`header_lines.py`).
"""

import re
from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import CALL_ID, COMMA, CONTROLS, decimal, has_bare_control, is_token
from sip.header_lines import HeaderLine, header_line, required, value_of
from sip.header_values import MAGIC_COOKIE, parse_via
from sip.headers import canonical, wire_name
from sip.message import Message, Request, Response

MAX_LINES: Final = 512
"""Lines in a message head, folds counted. Real messages have 10 to 40; each costs time and memory beyond its bytes."""

_CRLF: Final = b"\r\n"
_METHODS: Final = frozenset(
    b"INVITE ACK BYE CANCEL REGISTER OPTIONS INFO MESSAGE NOTIFY SUBSCRIBE PRACK UPDATE REFER PUBLISH".split(b" ")
)
_VERSION: Final = re.compile(rb" SIP/([0-9]+\.[0-9]+)(?= *\Z)", re.IGNORECASE)
# Date = wkday "," SP 2DIGIT SP month SP 4DIGIT SP 2DIGIT ":" 2DIGIT ":" 2DIGIT SP "GMT" (RFC 3261 20.17 allows no other zone)
_DATE: Final = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
    rb"[0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
    re.IGNORECASE,
)


def parse(datagram: bytes) -> Request | Response:
    """Parse one whole message: a datagram, or what `sip.framing` cut from a stream.

    Bytes beyond Content-Length are dropped (RFC 3261 18.3); without it the body runs to the end. Raises `MalformedMessage` with
    status 0 for noise, for anything wrong with a response or an ACK, and where no Via was found to answer to.
    """
    if datagram[:1] == b"\r":
        # RFC 3261 7.5: "implementations processing SIP messages over stream-oriented transports MUST ignore any CRLF appearing
        # before the start-line"; peers send them in datagrams as well.
        datagram = datagram.lstrip(_CRLF)
    end = datagram.find(b"\r\n\r\n")
    fault = b"" if end >= 0 else b"Message Truncated"
    head = datagram if fault else datagram[:end]
    body = b"" if fault else datagram[end + 4 :]
    lines = head.split(_CRLF)
    # One C pass counts every control character: only the line ends may be there.
    clean = len(head.translate(None, CONTROLS)) == len(head) - 2 * len(lines) + 2
    start = lines[0]
    del lines[0]
    if len(lines) > MAX_LINES:
        del lines[MAX_LINES:]
        fault = b"Too Many Headers"
    names: list[bytes] = []
    read: list[HeaderLine] = []
    for line in lines:
        one = header_line(line)
        if one is None:
            names, lines, broken = _exact_names(lines)
            read = [HeaderLine(name, value_of(line)) for name, line in zip(names, lines, strict=True)]
            fault = fault or broken
            break
        read.append(one)
        names.append(one.name)
    # Line by line: a quote left open in one header must not make a quoted-pair of what stands in the next.
    if not clean and (has_bare_control(start) or any(map(has_bare_control, lines))):
        fault = fault or b"Control Character"
    if start[:4].upper() == b"SIP/":
        return _response(start, read, names, lines, body, fault)
    return _request(start, read, names, lines, body, fault)


def _request(start: bytes, read: list[HeaderLine], names: list[bytes], lines: list[bytes], body: bytes, fault: bytes) -> Request:
    parts = start.split(b" ")
    request = Request(parts[0], parts[1] if len(parts) > 1 else b"", names, lines, body)
    try:
        if len(parts) != 3 or parts[2] != b"SIP/2.0" or (parts[0] not in _METHODS and not is_token(parts[0])):
            _judge_request_line(start, parts)
        if fault:
            raise MalformedMessage(400, fault)
        _read_fields(request, read)
        request.target  # noqa: B018
        if request.cseq[1] != request.method:
            raise MalformedMessage(400, b"CSeq Method Mismatch")  # RFC 3261 8.1.1.5
        if request.method == b"REGISTER":
            _read_contacts(request, read)
        if request.has(b"date") and not _DATE.fullmatch(request.get(b"date") or b""):
            raise MalformedMessage(400, b"Malformed Date")
    except MalformedMessage as error:
        raise _answerable(error, request) from None
    return request


def _response(
    start: bytes, read: list[HeaderLine], names: list[bytes], lines: list[bytes], body: bytes, fault: bytes
) -> Response:
    """`Status-Line = SIP-Version SP Status-Code SP Reason-Phrase CRLF`; nothing wrong with a response is ever answered."""
    status = decimal(start[8:].partition(b" ")[0], 699)
    if status < 100 or start[11:12] not in (b" ", b"") or start[:8].upper() != b"SIP/2.0 ":
        raise MalformedMessage(0, b"Malformed Status-Line")
    if fault:
        raise MalformedMessage(0, fault)
    response = Response(status, start[12:], names, lines, body)
    try:
        _read_fields(response, read)
    except MalformedMessage as error:
        raise MalformedMessage(0, error.reason) from None
    return response


def _exact_names(lines: list[bytes]) -> tuple[list[bytes], list[bytes], bytes]:
    """The names of lines of which some are folded, unusual or broken: (names, lines with their folds joined, the fault or b"").

    A broken line is left out, so that the rest can still be answered.
    """
    names: list[bytes] = []
    whole: list[list[bytes]] = []
    fault = b""
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if whole:
                whole[-1].append(line)
            else:
                fault = fault or b"Folded Start Line"
            continue
        raw, colon, _ = line.partition(b":")
        name = canonical(raw) if colon else b""
        fault = fault if name else fault or b"Malformed Header Name"
        names.append(name)
        whole.append([line])
    joined = [_CRLF.join(parts) for parts in whole]
    if fault:
        kept = [index for index, name in enumerate(names) if name]
        return [names[index] for index in kept], [joined[index] for index in kept], fault
    return names, joined, fault


def _judge_request_line(start: bytes, parts: list[bytes]) -> None:
    """Say what is wrong with a request line that is not plainly right, or return when it is right after all.

    `Request-Line = Method SP Request-URI SP SIP-Version CRLF`, single spaces and nothing around them (RFC 4475 3.1.2.7 to 10).
    """
    version = _VERSION.search(start)
    if version is None or not is_token(parts[0]):
        raise MalformedMessage(0, b"Not SIP")
    if len(parts) != 3 or version.end() != len(start):
        raise MalformedMessage(400, b"Malformed Request-Line")
    if version.group(1) != b"2.0":
        raise MalformedMessage(505, b"Version Not Supported")


def _read_fields(message: Message, read: list[HeaderLine]) -> None:
    """Read every field that the layers above rely on. Raises `MalformedMessage` 400 that names the first broken header.

    RFC 3261 8.1.1 and 20: Via, From, To, Call-ID and CSeq are mandatory; Max-Forwards may be absent (RFC 2543 peers). A second
    From, To, Call-ID, ... is refused: two elements could each believe another one (RFC 4475 3.3.8, 3.3.9).
    """
    via: HeaderLine | None = None
    from_line: HeaderLine | None = None
    to_line: HeaderLine | None = None
    call_id_line: HeaderLine | None = None
    cseq_line: HeaderLine | None = None
    hops_line: HeaderLine | None = None
    length_line: HeaderLine | None = None
    seen = 0
    for one in read:
        name = one.name
        if one.single:
            if seen & one.single:
                raise MalformedMessage(400, b"Repeated " + wire_name(name))
            seen |= one.single
            if name == b"from":
                from_line = one
            elif name == b"to":
                to_line = one
            elif name == b"call-id":
                call_id_line = one
            elif name == b"cseq":
                cseq_line = one
            elif name == b"max-forwards":
                hops_line = one
            elif name == b"content-length":
                length_line = one
        elif via is None and name == b"via":
            via = one
    top_via = parse_via(required(via, b"Missing Via").value)
    if len(top_via.branch) == len(MAGIC_COOKIE) and top_via.branch.lower() == MAGIC_COOKIE.lower():
        # RFC 4475 3.2.1: the cookie promises uniqueness, and nothing follows it.
        raise MalformedMessage(400, b"Empty Via Branch")
    from_addr = required(from_line, b"Missing From").address(b"Malformed From")
    to_addr = required(to_line, b"Missing To").address(b"Malformed To")
    call_id = required(call_id_line, b"Missing Call-ID").value
    if call_id.strip(CALL_ID):
        raise MalformedMessage(400, b"Malformed Call-ID")
    cseq = required(cseq_line, b"Missing CSeq").cseq()
    hops = -1 if hops_line is None else hops_line.number()
    if hops_line is not None and not 0 <= hops <= 255:
        raise MalformedMessage(400, b"Malformed Max-Forwards")
    length = -1 if length_line is None else _body_length(message, length_line.number())
    message.take_read(top_via, from_addr, to_addr, call_id, cseq, hops, length)


def _body_length(message: Message, stated: int) -> int:
    """RFC 3261 18.3: what follows the stated length is cut off; a body shorter than stated is refused."""
    if stated < 0:
        raise MalformedMessage(400, b"Malformed Content-Length")
    if stated > len(message.body):
        raise MalformedMessage(400, b"Content-Length Beyond Message")
    if stated < len(message.body):
        message.body = message.body[:stated]
    return stated


def _read_contacts(request: Request, read: list[HeaderLine]) -> None:
    """Read what a REGISTER binds, nearly always one Contact that is no list."""
    contacts = [one for one in read if one.name == b"contact"]
    if len(contacts) == 1 and COMMA not in contacts[0].value and contacts[0].value != b"*":
        request.take_contact(contacts[0].address(b"Malformed Contact"))
    else:
        request.contacts  # noqa: B018


def _answerable(error: MalformedMessage, request: Request) -> MalformedMessage:
    """The error with the request attached, or silenced when there must be no answer: to noise, to an ACK, or to nowhere."""
    if error.status == 0 or request.method == b"ACK" or not is_token(request.method):
        return MalformedMessage(0, error.reason)
    kept = [index for index, line in enumerate(request.lines) if not has_bare_control(line)]
    if len(kept) != len(request.lines):
        request.names = [request.names[index] for index in kept]
        request.lines = [request.lines[index] for index in kept]
    if b"via" not in request.names:
        return MalformedMessage(0, error.reason)
    return MalformedMessage(error.status, error.reason, request)
