"""SIP over WebSocket (RFC 7118): the HTTP upgrade, and one SIP message per WebSocket message.

wsproto does the framing of RFC 6455. No extension is accepted, so there is no compression to blow up. A client must offer the
sub-protocol `sip`. Browsers name the page's Origin, which must be allowed here; what is no browser sends none and is let in,
for it could name any.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError, RemoteProtocolError

from sip.errors import MalformedMessage

SUBPROTOCOL = "sip"
MAX_FRAGMENTS = 64
"""Frames of one message. Clients send a SIP message in one."""


class OriginRule:
    """Which pages' scripts may connect: those of the listed origins (`https://app.example`), "*" for all; none listed: pages of
    the host that the client has asked for."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(one.lower().rstrip("/") for one in origins)

    def allows(self, origin: str | None, host: str) -> bool:
        """`origin` as the client sent it, None if it sent none; `host` its Host header."""
        if origin is None or "*" in self._origins:
            return True
        if self._origins:
            return origin.lower() in self._origins
        try:
            named = urlsplit(origin).hostname
            return named is not None and named == urlsplit("//" + host).hostname
        except ValueError:
            return False


class WebSocketFraming:
    """The server's side of one WebSocket (a `Framing` of stream.py)."""

    fault: MalformedMessage | None = None
    """Never set: what breaks a WebSocket is answered with a close frame."""
    pings = True

    def __init__(self, message_octets: int, origins: OriginRule) -> None:
        self._limit = message_octets
        self._origins = origins
        self._socket = WSConnection(ConnectionType.SERVER)
        self._open = False
        self._parts: list[bytes] = []
        self._size = 0
        self._fragments = 0
        self._replies = b""
        self.ended = False

    @property
    def pending(self) -> int:
        """Octets of an unfinished message; while the upgrade is not done that counts as one."""
        return self._size if self._open else 1

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        messages: list[bytes] = []
        if self.ended:
            return messages
        try:
            self._socket.receive_data(data)
            for event in self._socket.events():
                if self._take(event, messages):
                    break
        except RemoteProtocolError as broken:
            self._say(broken.event_hint or RejectConnection(status_code=400))
            self.ended = True
        except (ProtocolError, UnicodeError, ValueError):
            # A header that is not ASCII, a Host that is no name: wsproto reads them without a net.
            self._say(CloseConnection(CloseReason.PROTOCOL_ERROR) if self._open else RejectConnection(status_code=400))
            self.ended = True
        return messages

    def replies(self) -> bytes:
        """The answer to the upgrade, pongs and close frames."""
        replies, self._replies = self._replies, b""
        return replies

    def wrap(self, data: bytes) -> bytes:
        """A message as a text frame, or a binary one where it is not UTF-8 (RFC 7118 5.1)."""
        if not self._open or self.ended:
            return b""
        try:
            return self._socket.send(TextMessage(data.decode("utf-8")))
        except UnicodeDecodeError:
            return self._socket.send(BytesMessage(data))

    def ping(self) -> bytes:
        """Browsers answer by themselves; no script has to do anything."""
        return self._socket.send(Ping()) if self._open and not self.ended else b""

    def farewell(self) -> bytes:
        """So that the page sees a server that goes away (1001), not a fault of the network."""
        if not self._open or self.ended:
            return b""
        self.ended = True
        return self._socket.send(CloseConnection(CloseReason.GOING_AWAY))

    def _take(self, event: Event, messages: list[bytes]) -> bool:
        """True: that was the last one."""
        if isinstance(event, Request):
            self._upgrade(event)
        elif isinstance(event, TextMessage | BytesMessage):
            self._message(event, messages)
        elif isinstance(event, Ping):
            self._say(event.response())
        elif isinstance(event, CloseConnection):
            self._say(event.response())
            self.ended = True
        return self.ended

    def _upgrade(self, request: Request) -> None:
        headers = dict(request.extra_headers)
        origin = headers.get(b"origin")
        if not self._origins.allows(None if origin is None else origin.decode("latin-1"), request.host):
            self._refuse(403)
        elif SUBPROTOCOL not in request.subprotocols:
            self._refuse(400)
        else:
            self._say(AcceptConnection(subprotocol=SUBPROTOCOL))
            self._open = True

    def _message(self, event: TextMessage | BytesMessage, messages: list[bytes]) -> None:
        part = event.data
        self._parts.append(part.encode("utf-8") if isinstance(part, str) else bytes(part))
        self._size += len(self._parts[-1])
        self._fragments += event.frame_finished
        if self._size > self._limit:
            self._close(CloseReason.MESSAGE_TOO_BIG)
        elif event.message_finished:
            messages.append(b"".join(self._parts))
            self._forget()
        elif self._fragments >= MAX_FRAGMENTS:
            self._close(CloseReason.POLICY_VIOLATION)

    def _forget(self) -> None:
        self._parts.clear()
        self._size = self._fragments = 0

    def _refuse(self, status: int) -> None:
        self._say(RejectConnection(status_code=status, headers=[(b"content-length", b"0"), (b"connection", b"close")]))
        self.ended = True

    def _close(self, reason: CloseReason) -> None:
        self._forget()
        self._say(CloseConnection(reason))
        self.ended = True

    def _say(self, event: Event) -> None:
        self._replies += self._socket.send(event)
