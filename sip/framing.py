"""Byte stream -> messages (RFC 3261 18.3) and keep-alives (RFC 5626 3.5.1).

Rules: the head ends at the first empty line and Content-Length alone says where the body ends, so on a stream it is mandatory
and must be one plain number. The work is linear in the bytes fed, however they are cut. Bounds are checked before waiting: a peer
that declares 1 GB, sends no line end or speaks another protocol is refused at the first byte that shows it.
"""

import re
from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import LWS, TOKEN, decimal, unfold
from sip.message import Request
from sip.parser import parse

KEEPALIVE: Final = b"\r\n\r\n"
"""The ping of RFC 5626 3.5.1: answer it with one CRLF. Given out as this very object."""

PONG: Final = b"\r\n"
"""One CRLF: the answer to a ping, or a stray line end before a message (RFC 3261 7.5). Given out as this very object."""

MAX_START_LINE: Final = 8192
"""Octets in which a start line must have ended and named SIP."""

_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
_SIP = re.compile(rb"(?:\A| )SIP/", re.IGNORECASE)


class StreamFramer:
    """Cuts one connection's bytes into messages. After a fault the stream has no known place to go on: close the connection."""

    __slots__ = ("_buffer", "_half_ping", "_limit", "_line_seen", "_searched", "_total", "fault")

    def __init__(self, max_message: int = 65536) -> None:
        self._buffer = bytearray()
        self._limit = max_message
        self._searched = 0  # everything before it is known to hold no end of head
        self._total = 0  # length of the whole first message, 0 while its head is incomplete
        self._line_seen = False
        self._half_ping = False  # the last piece was one CRLF, so one more makes it a ping that came in two segments
        self.fault: MalformedMessage | None = None
        """What broke the stream, set as soon as it is known. `fault.partial` is the request to answer, if any."""

    def feed(self, data: bytes) -> list[bytes]:
        """Every message, `KEEPALIVE` and `PONG` that is complete now, in order.

        Raises `MalformedMessage` (400, 513, or 0 for what is not SIP) when the stream is broken and nothing was cut before the
        break in this call; else the pieces are returned first, `fault` is set, and the next call raises.
        """
        if self.fault is None:
            self._buffer += data
        pieces: list[bytes] = []
        while self.fault is None and (piece := self._next()):
            pieces.append(piece)
        if self.fault is not None and not pieces:
            raise self.fault
        return pieces

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their message: what a first-message or idle deadline is about."""
        return len(self._buffer)

    def _next(self) -> bytes:
        """Cut the next piece, or b"" when there is none (yet)."""
        buffer = self._buffer
        if self._total == 0:
            if buffer[:1] == b"\r":
                return self._line_ends()
            if not buffer or not self._head_complete():
                return b""
        if len(buffer) < self._total:
            return b""
        message = bytes(buffer[: self._total])
        del buffer[: self._total]
        self._half_ping = False
        self._total = self._searched = 0
        self._line_seen = False
        return message

    def _line_ends(self) -> bytes:
        """Line ends between messages: two are a ping, one is a pong. A lone CR waits for what follows it."""
        buffer = self._buffer
        if len(buffer) == 1 or buffer == b"\r\n\r":
            return b""
        if buffer[:2] != PONG:
            return self._break(0, b"Not SIP")
        if self._half_ping or buffer[:4] == KEEPALIVE:
            del buffer[: 2 if self._half_ping else 4]
            self._half_ping = False
            return KEEPALIVE
        del buffer[:2]
        self._half_ping = True
        return PONG

    def _head_complete(self) -> bool:
        """Find the end of the head and set `_total`; refuse early what can never become a message."""
        buffer = self._buffer
        if not self._line_seen and not self._check_start():
            return False
        end = buffer.find(KEEPALIVE, self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            if len(buffer) > self._limit:
                self._break(513, b"Message Too Large")
            return False
        head = bytes(buffer[: end + 4])
        stated = _LENGTH.findall(head[:-2])
        length = decimal(unfold(stated[0]).strip(LWS), 2**31 - 1) if len(stated) == 1 else -1
        if length < 0:
            self._break(400, b"Malformed Content-Length" if stated else b"Missing Content-Length", head)
            return False
        if end + 4 + length > self._limit:
            self._break(513, b"Message Too Large", head)
            return False
        self._total = end + 4 + length
        return True

    def _check_start(self) -> bool:
        """The first octet must be able to start a SIP message, and the first line must name SIP within its bound."""
        buffer = self._buffer
        limit = min(MAX_START_LINE, self._limit)
        end = buffer.find(b"\r\n", 0, limit)
        if buffer[0] not in TOKEN or buffer.find(b"\n", 0, end if end >= 0 else len(buffer)) >= 0:
            self._break(0, b"Not SIP")
        elif end >= 0 and _SIP.search(buffer, 0, end):
            self._line_seen = True
        elif end >= 0 or len(buffer) >= limit:
            self._break(0, b"Not SIP")
        return self._line_seen

    def _break(self, status: int, reason: bytes, head: bytes = b"") -> bytes:
        """Mark the stream as broken, with the request to answer where its head can be read."""
        partial: Request | None = None
        try:
            # The body is not there, so the length that was stated is cut away before reading the rest.
            found = parse(_LENGTH.sub(b"", head)) if head else None
            partial = found if isinstance(found, Request) and found.method != b"ACK" else None
        except MalformedMessage as error:
            partial = error.partial
        self.fault = MalformedMessage(status if partial is not None else 0, reason, partial)
        self._buffer.clear()
        return b""
