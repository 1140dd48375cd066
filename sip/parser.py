"""Bytes -> one message. Raises nothing but `MalformedMessage`.

What is checked here is what RFC 4475 asks of any element: the start line, the shape of every header line, the mandatory headers
and those that may come once, Via, From, To, CSeq, Max-Forwards, Content-Length, and a Contact that binds. Other values are
passed on unread. The cost of a message is one pass of C calls over its head plus one dict lookup per line.
"""

import re
from typing import Final, cast

from sip.errors import MalformedMessage
from sip.grammar import CONTROLS, decimal, has_bare_control, is_token
from sip.headers import SINGLE, SPELLINGS, canonical, wire_name
from sip.message import Request, Response, addresses

MAX_LINES: Final = 512
"""Lines in a message head, folds counted. Real messages have 10 to 40; each costs time and memory beyond its bytes."""

_CRLF: Final = b"\r\n"
_spelling: Final = SPELLINGS.get
_known: Final = SPELLINGS.keys()
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
    head, blank, body = datagram.partition(b"\r\n\r\n")
    lines = head.split(_CRLF)
    # One C pass counts every control character: only the line ends may be there.
    clean = len(head.translate(None, CONTROLS)) == len(head) - 2 * len(lines) + 2
    start = lines[0]
    del lines[0]
    fault = b"" if blank else b"Message Truncated"
    if len(lines) > MAX_LINES:
        del lines[MAX_LINES:]
        fault = b"Too Many Headers"
    names: list[bytes | None] = [_spelling(line.partition(b":")[0]) for line in lines]
    # A line that is a bare name has no colon, and partition would take all of it for the name.
    if not _known.isdisjoint(lines) or (None in names and not _name_rest(names, lines)):
        names, lines, broken = _exact_names(lines)
        fault = fault or broken
    # Line by line: a quote left open in one header must not make a quoted-pair of what stands in the next.
    if not clean and (has_bare_control(start) or any(map(has_bare_control, lines))):
        fault = fault or b"Control Character"
    if start[:4].upper() == b"SIP/":
        return _response(start, cast(list[bytes], names), lines, body, fault)
    return _request(start, cast(list[bytes], names), lines, body, fault)


def _request(start: bytes, names: list[bytes], lines: list[bytes], body: bytes, fault: bytes) -> Request:
    parts = start.split(b" ")
    request = Request(parts[0], parts[1] if len(parts) > 1 else b"", names, lines, body)
    try:
        if len(parts) != 3 or parts[2] != b"SIP/2.0" or (parts[0] not in _METHODS and not is_token(parts[0])):
            _judge_request_line(start, parts)
        if fault:
            raise MalformedMessage(400, fault)
        _check_once(names)
        request.check()
        if request.method == b"REGISTER":
            _check_contacts(request)
        if b"date" in names and not _DATE.fullmatch(request.get(b"date") or b""):
            raise MalformedMessage(400, b"Malformed Date")
    except MalformedMessage as error:
        raise _answerable(error, request) from None
    return request


def _response(start: bytes, names: list[bytes], lines: list[bytes], body: bytes, fault: bytes) -> Response:
    """`Status-Line = SIP-Version SP Status-Code SP Reason-Phrase CRLF`; nothing wrong with a response is ever answered."""
    status = decimal(start[8:].partition(b" ")[0], 699)
    if status < 100 or start[11:12] not in (b" ", b"") or start[:8].upper() != b"SIP/2.0 ":
        raise MalformedMessage(0, b"Malformed Status-Line")
    if fault:
        raise MalformedMessage(0, fault)
    response = Response(status, start[12:], names, lines, body)
    try:
        _check_once(names)
        response.check()
    except MalformedMessage as error:
        raise MalformedMessage(0, error.reason) from None
    return response


def _name_rest(names: list[bytes | None], lines: list[bytes]) -> bool:
    """Name the lines that `SPELLINGS` does not know. False when one is a fold or broken, which is for `_exact_names`."""
    at = -1
    for _ in range(names.count(None)):
        at = names.index(None, at + 1)
        raw, colon, _rest = lines[at].partition(b":")
        name = canonical(raw)
        if name == b"" or colon == b"":
            return False
        names[at] = name
    return True


def _exact_names(lines: list[bytes]) -> tuple[list[bytes | None], list[bytes], bytes]:
    """The names of lines of which some are folded, unusual or broken: (names, lines with their folds joined, the fault or b"").

    A broken line is left out, so that the rest can still be answered.
    """
    names: list[bytes | None] = []
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


def _check_once(names: list[bytes]) -> None:
    """Refuse a second From, To, Call-ID, ...: two elements could each believe another one (RFC 4475 3.3.8, 3.3.9)."""
    surplus = len(names) - len(set(names))
    if surplus == 0 or surplus == names.count(b"via") - 1:
        return
    seen: set[bytes] = set()
    for name in names:
        if name in seen and name in SINGLE:
            raise MalformedMessage(400, b"Repeated " + wire_name(name))
        seen.add(name)


def _check_contacts(request: Request) -> None:
    """A REGISTER changes state by its Contacts, so all of them are read before any is believed (RFC 4475 3.1.2.13)."""
    if b"contact" in request.names and (request.get(b"contact") != b"*" or request.names.count(b"contact") > 1):
        addresses(request, b"contact")


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
