"""SIP messages as the gateway holds them: the header lines exactly as received, with their names beside them.

A proxy touches a handful of headers and passes the rest on, so a message is two parallel lists, an edit is a list operation and
the output is one join: what nobody edited leaves byte for byte as it came. The values that every layer asks for (top Via, CSeq,
tags, ...) are parsed once and kept; an edit of their header drops them.
"""

from collections.abc import Sequence
from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import COMMA, LWS, QUESTION, decimal, first_comma, split_list
from sip.header_lines import value_of
from sip.header_values import NameAddr, Via, parse_cseq, parse_name_addr, parse_via
from sip.headers import LISTS, wire_name
from sip.uri import user_and_host

_ABSENT: Final = -1
_UNREAD: Final = -2


class Message:
    """What requests and responses share. `names` and `lines` are parallel and may be read freely; edit through the methods.

    `names` holds canonical header names (`sip.headers`), `lines` each header line without its final CRLF, folds kept. Values
    given to the edits are put on the wire as they are: they must be free of CR and LF, and that is the caller's duty.
    """

    __slots__ = (
        "_call_id",
        "_cseq",
        "_from",
        "_length",
        "_max_forwards",
        "_to",
        "_top_via",
        "body",
        "lines",
        "names",
    )

    def __init__(self, names: list[bytes], lines: list[bytes], body: bytes = b"") -> None:
        self.names = names
        self.lines = lines
        self.body = body
        # The body length that the Content-Length line states, or _ABSENT while there is no such line that we know to be right.
        self._length: int = _ABSENT
        self._top_via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: tuple[int, bytes] | None = None
        self._call_id: bytes = b""
        self._max_forwards: int = _UNREAD

    def take_read(
        self,
        via: Via,
        from_addr: NameAddr,
        to_addr: NameAddr,
        call_id: bytes,
        cseq: tuple[int, bytes],
        max_forwards: int,
        length: int,
    ) -> None:
        """Keep what the parser has read already. `max_forwards` and `length` (of the body) are -1 where they are not stated."""
        self._top_via = via
        self._from = from_addr
        self._to = to_addr
        self._call_id = call_id
        self._cseq = cseq
        self._max_forwards = max_forwards
        self._length = length

    # ---- reading -------------------------------------------------------------------------------------------------

    def has(self, name: bytes) -> bool:
        """Whether there is a line of that name, which is canonical."""
        return self.find(name) >= 0

    def find(self, name: bytes) -> int:
        """The index of the first line of that name, or -1."""
        for at, held in enumerate(self.names):
            if held == name:
                return at
        return -1

    def value_at(self, index: int) -> bytes:
        """The value of the header line at `index`, unfolded, without the white space around it."""
        return value_of(self.lines[index])

    def get(self, name: bytes) -> bytes | None:
        """The value of the first line of that name (a comma list whole), or None. `name` is canonical."""
        at = self.find(name)
        return None if at < 0 else value_of(self.lines[at])

    def all(self, name: bytes) -> list[bytes]:
        """Every value in order; comma lists are split for the headers that are lists, empty elements left out."""
        values: list[bytes] = []
        for at, held in enumerate(self.names):
            if held == name:
                values.append(value_of(self.lines[at]))
        if not values or name not in LISTS:
            return values
        if len(values) == 1:
            return split_list(values[0])
        return [part for value in values for part in split_list(value)]

    def count(self, name: bytes) -> int:
        """How many lines of that name there are."""
        return self.names.count(name)

    @property
    def top_via(self) -> Via:
        """The topmost Via. Raises `MalformedMessage` when it is missing or malformed (never after `sip.parser.parse`)."""
        via = self._top_via
        if via is None:
            via = self._top_via = parse_via(self._required(b"via", b"Missing Via"))
        return via

    @property
    def branch(self) -> bytes:
        """The branch of the top Via, b"" where it has none (RFC 2543)."""
        return self.top_via.branch

    @property
    def from_addr(self) -> NameAddr:
        """From. Raises `MalformedMessage` when missing or malformed."""
        addr = self._from
        if addr is None:
            addr = self._from = parse_name_addr(self._required(b"from", b"Missing From"), b"Malformed From")
        return addr

    @property
    def to_addr(self) -> NameAddr:
        """To. Raises `MalformedMessage` when missing or malformed."""
        addr = self._to
        if addr is None:
            addr = self._to = parse_name_addr(self._required(b"to", b"Missing To"), b"Malformed To")
        return addr

    @property
    def from_tag(self) -> bytes:
        """The From tag, b"" where there is none (RFC 2543)."""
        return self.from_addr.params.get(b"tag", b"")

    @property
    def to_tag(self) -> bytes:
        """The To tag, b"" where there is none: outside a dialog."""
        return self.to_addr.params.get(b"tag", b"")

    @property
    def cseq(self) -> tuple[int, bytes]:
        """(sequence number, method). Raises `MalformedMessage` when missing or malformed."""
        cseq = self._cseq
        if cseq is None:
            cseq = self._cseq = parse_cseq(self._required(b"cseq", b"Missing CSeq"))
        return cseq

    @property
    def call_id(self) -> bytes:
        """Call-ID, compared byte by byte (RFC 3261 20.8). Raises `MalformedMessage` when missing or empty."""
        call_id = self._call_id
        if call_id == b"":
            call_id = self._call_id = self._required(b"call-id", b"Missing Call-ID")
        return call_id

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards, 0 to 255 (RFC 3261 20.22), or None where absent. Raises `MalformedMessage` when it is no such number."""
        number = self._max_forwards
        if number == _UNREAD:
            value = self.get(b"max-forwards")
            number = _ABSENT if value is None else decimal(value, 255)
            if number < 0 and value is not None:
                raise MalformedMessage(400, b"Malformed Max-Forwards")
            self._max_forwards = number
        return None if number == _ABSENT else number

    def _required(self, name: bytes, missing: bytes) -> bytes:
        at = self.find(name)
        value = value_of(self.lines[at]) if at >= 0 else b""
        if value == b"":
            raise MalformedMessage(400, missing)
        return value

    # ---- editing -------------------------------------------------------------------------------------------------

    def prepend(self, name: bytes, value: bytes) -> None:
        """Put a new line before the first of that name, or at the top of the message when there is none."""
        at = max(0, self.find(name))
        self.names.insert(at, name)
        self.lines.insert(at, wire_name(name) + b": " + value)
        self._forget(name)

    def append(self, name: bytes, value: bytes) -> None:
        """Put a new line after all others."""
        self.names.append(name)
        self.lines.append(wire_name(name) + b": " + value)
        self._forget(name)

    def remove(self, name: bytes) -> None:
        """Take out every line of that name."""
        if name in self.names:
            keep = [index for index, held in enumerate(self.names) if held != name]
            self.lines[:] = [self.lines[index] for index in keep]
            self.names[:] = [self.names[index] for index in keep]
            self._forget(name)

    def replace(self, name: bytes, value: bytes) -> None:
        """Make `value` the only one of that name, in the place of the first (or at the end when there was none)."""
        at = self.find(name)
        if at < 0:
            self.append(name, value)
            return
        if self.names.count(name) > 1:
            self.remove(name)
            self.names.insert(at, name)
            self.lines.insert(at, b"")
        self.lines[at] = wire_name(name) + b": " + value
        self._forget(name)

    def remove_first_value(self, name: bytes) -> None:
        """Take out the first value of that name: the line, or its first element when it is a comma list."""
        at = self.find(name)
        if at < 0:
            return
        value = self.value_at(at)
        comma = first_comma(value) if name in LISTS else -1
        rest = value[comma + 1 :].lstrip(LWS + b",") if comma >= 0 else b""
        if rest:
            self.lines[at] = wire_name(name) + b": " + rest
        else:
            del self.names[at]
            del self.lines[at]
        self._forget(name)

    def set_top(self, name: bytes, value: bytes) -> None:
        """Rewrite the first value of that name and keep the rest of its line. Raises KeyError when there is none."""
        at = self.find(name)
        if at < 0:
            raise KeyError(name)
        old = self.value_at(at)
        comma = first_comma(old) if name in LISTS else -1
        self.lines[at] = wire_name(name) + b": " + value + (old[comma:] if comma >= 0 else b"")
        self._forget(name)

    def set_top_via(self, via: Via) -> None:
        """`set_top` for the Via, keeping the parsed form that the caller has (`via.raw` is what goes on the wire)."""
        at = self.find(b"via")
        if at >= 0 and COMMA not in self.lines[at]:
            self.lines[at] = b"Via: " + via.raw
        else:
            self.set_top(b"via", via.raw)
        self._top_via = via

    def _forget(self, name: bytes) -> None:
        """Drop what was parsed from that header."""
        if name == b"via":
            self._top_via = None
        elif name == b"max-forwards":
            self._max_forwards = _UNREAD
        elif name == b"to":
            self._to = None
        elif name == b"from":
            self._from = None
        elif name == b"cseq":
            self._cseq = None
        elif name == b"call-id":
            self._call_id = b""
        elif name == b"content-length":
            self._length = _ABSENT

    def _take_over(self, other: "Message") -> None:
        """Copy the parsed values of a message whose lines are the same."""
        self._length = other._length
        self._top_via = other._top_via
        self._from = other._from
        self._to = other._to
        self._cseq = other._cseq
        self._call_id = other._call_id
        self._max_forwards = other._max_forwards

    # ---- output --------------------------------------------------------------------------------------------------

    def start_line(self) -> bytes:
        """The first line without its CRLF."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The message on the wire. Content-Length states the length of `body`, whatever was received or edited before."""
        if self._length != len(self.body):
            self._state_length()
        return b"\r\n".join([self.start_line(), *self.lines, b"", self.body])

    def _state_length(self) -> None:
        length = len(self.body)
        self.replace(b"content-length", b"%d" % length)
        self._length = length


class Request(Message):
    """A request. `method` is case-sensitive (RFC 3261 7.1), `uri` the Request-URI as received."""

    __slots__ = ("_contacts", "_target", "_target_of", "method", "uri")

    def __init__(self, method: bytes, uri: bytes, names: list[bytes], lines: list[bytes], body: bytes = b"") -> None:
        super().__init__(names, lines, body)
        self.method = method
        self.uri = uri
        self._target: tuple[bytes, bytes, int | None] = (b"", b"", None)
        self._target_of: bytes = b""
        self._contacts: Sequence[NameAddr] | None = None

    def take_contact(self, contact: NameAddr) -> None:
        """Keep the only Contact, which the parser has read already."""
        self._contacts = (contact,)

    @property
    def contacts(self) -> Sequence[NameAddr]:
        """Every Contact of the request as it was received, read once; none where the only one is `*`.

        A REGISTER changes state by them, so all are read before any is believed (RFC 4475 3.1.2.13): raises `MalformedMessage`.
        """
        found = self._contacts
        if found is None:
            star = self.count(b"contact") == 1 and self.get(b"contact") == b"*"
            found = self._contacts = () if star else addresses(self, b"contact")
        return found

    @property
    def target(self) -> tuple[bytes, bytes, int | None]:
        """`sip.uri.user_and_host` of the Request-URI, read once per value of `uri`.

        Raises `MalformedMessage`: 416 for a scheme other than sip, sips and tel, 400 for a broken URI or one with headers,
        which RFC 3261 19.1.1 forbids here (RFC 4475 3.1.2.11).
        """
        uri = self.uri
        if uri is not self._target_of:
            self._target = user_and_host(uri, b"Malformed Request-URI")
            if QUESTION in uri and QUESTION in uri.rpartition(b"@")[2]:
                raise MalformedMessage(400, b"Headers In Request-URI")
            self._target_of = uri
        return self._target

    def start_line(self) -> bytes:
        return self.method + b" " + self.uri + b" SIP/2.0"

    def copy(self) -> "Request":
        """A shallow copy: its own lists, the same bytes."""
        other = Request(self.method, self.uri, self.names.copy(), self.lines.copy(), self.body)
        other._take_over(self)
        other._target = self._target
        other._target_of = self._target_of
        return other

    def __repr__(self) -> str:
        return f"<Request {self.method!r}>"


class Response(Message):
    """A response. `status` is 100 to 699; `reason` may be empty (RFC 4475 3.1.1.13)."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: bytes, names: list[bytes], lines: list[bytes], body: bytes = b"") -> None:
        super().__init__(names, lines, body)
        self.status = status
        self.reason = reason

    def start_line(self) -> bytes:
        return b"SIP/2.0 %d %s" % (self.status, self.reason)

    def copy(self) -> "Response":
        """A shallow copy: its own lists, the same bytes."""
        other = Response(self.status, self.reason, self.names.copy(), self.lines.copy(), self.body)
        other._take_over(self)
        return other

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def addresses(message: Message, name: bytes) -> Sequence[NameAddr]:
    """Every value of a name-addr list header (Contact, Route, Record-Route, Path), parsed. Raises `MalformedMessage` 400."""
    reason = b"Malformed " + wire_name(name)
    return [parse_name_addr(value, reason) for value in message.all(name)]
