"""`Http`: the server's side of HTTP/1.1 on one connection, without the connection: bytes in, requests out, answers in, bytes out.

h11 reads and writes. It is given little slices, so that its bound on an incomplete head holds within a slice.
"""

from dataclasses import dataclass

import h11

SLICE = 2048
"""Bytes given to h11 at a time."""

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head. Names of headers are lower-case; `http_version` is like b"1.1"."""

    method: bytes
    target: bytes
    headers: Headers
    http_version: bytes = b"1.1"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer's head."""

    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came is no HTTP/1.1. `status`: how h11 would answer; 0: an answer is under way or over, so none can be given."""

    status: int


class Closed:
    """Nothing more comes of this connection."""


CLOSED = Closed()


class Http:
    """One connection's requests and answers, in turns: `next_request` until it has one, one answer, `next_cycle`."""

    __slots__ = ("_h11", "_inbox")

    def __init__(self, head_bytes: int) -> None:
        """`head_bytes`: the longest head that is read."""
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=head_bytes)
        self._inbox = bytearray()

    @property
    def has_unread(self) -> bool:
        """Whether bytes wait that no request was looked for in yet."""
        return bool(self._inbox)

    @property
    def has_begun(self) -> bool:
        """Whether a part of the next head is here."""
        return bool(self._inbox or self._h11.trailing_data[0])

    def receive(self, data: bytes) -> None:
        """Bytes that came."""
        self._inbox += data

    def forget(self) -> None:
        """Drop what was not read."""
        self._inbox.clear()

    def next_request(self) -> Request | Malformed | Closed | None:
        """The next request; None: more bytes are needed."""
        try:
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                if not self._inbox:
                    return None
                chunk = bytes(self._inbox[:SLICE])
                del self._inbox[:SLICE]
                self._h11.receive_data(chunk)
        except h11.RemoteProtocolError as wrong:
            answerable = self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE)
            return Malformed(wrong.error_status_hint if answerable else 0)
        if isinstance(event, h11.Request):
            return Request(event.method, event.target, list(event.headers), event.http_version)
        return CLOSED

    def answer(self, response: Response, body: bytes) -> bytes:
        """A whole answer; an empty body for HEAD."""
        return self.begin(response) + (self.piece(body) if body else b"") + self.end()

    def begin(self, response: Response) -> bytes:
        """The head of an answer that goes out in pieces."""
        return self._h11.send(h11.Response(status_code=response.status, headers=response.headers)) or b""

    def piece(self, content: bytes) -> bytes:
        """A piece of its content."""
        return self._h11.send(h11.Data(data=content)) or b""

    def end(self) -> bytes:
        """Its end."""
        return self._h11.send(h11.EndOfMessage()) or b""

    def next_cycle(self) -> bool | None:
        """After an answer: True, another request may follow; False, this was the last; None, the request had no proper end."""
        try:
            self._h11.next_event()  # the request's end
        except h11.RemoteProtocolError:
            return None
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True
