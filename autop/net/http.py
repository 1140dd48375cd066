"""`Http`: the server's side of HTTP/1.1 on one connection, without the connection: bytes in, requests out, answers in, bytes out.

Requests in their usual form are read, and answered, by `usual_form`. From the first other one on, h11 has the connection. It is
given little slices, so that its bound on an incomplete head holds within a slice.
"""

from dataclasses import dataclass

import h11

from autop.http_messages import Request, Response
from autop.usual_form import read_usual, write_usual

SLICE = 2048
"""Bytes given to h11 at a time."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came is no HTTP/1.1. `status`: how h11 would answer; 0: an answer is under way or over, so none can be given."""

    status: int


class Closed:
    """Nothing more comes of this connection."""


CLOSED = Closed()


class Http:
    """One connection's requests and answers, in turns: `next_request` until it has one, one answer, `next_cycle`."""

    __slots__ = ("_h11", "_head_bytes", "_inbox", "_last")

    def __init__(self, head_bytes: int) -> None:
        """`head_bytes`: the longest head that is read."""
        self._head_bytes = head_bytes
        self._h11: h11.Connection | None = None
        self._inbox = bytearray()
        self._last = False

    @property
    def has_unread(self) -> bool:
        """Whether bytes wait that no request was looked for in yet."""
        return bool(self._inbox)

    @property
    def has_begun(self) -> bool:
        """Whether a part of the next head is here."""
        return bool(self._inbox or (self._h11 is not None and self._h11.trailing_data[0]))

    def receive(self, data: bytes) -> None:
        """Bytes that came."""
        self._inbox += data

    def forget(self) -> None:
        """Drop what was not read."""
        self._inbox.clear()

    def next_request(self) -> Request | Malformed | Closed | None:
        """The next request; None: more bytes are needed."""
        if self._h11 is None:
            if not self._inbox:
                return None
            usual = read_usual(self._inbox)
            if usual is not None:
                request, length, self._last = usual
                del self._inbox[:length]
                return request
            self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=self._head_bytes)
        return self._look(self._h11)

    def _look(self, connection: h11.Connection) -> Request | Malformed | Closed | None:
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                if not self._inbox:
                    return None
                chunk = bytes(self._inbox[:SLICE])
                del self._inbox[:SLICE]
                connection.receive_data(chunk)
        except h11.RemoteProtocolError as wrong:
            answerable = connection.our_state in (h11.IDLE, h11.SEND_RESPONSE)
            return Malformed(wrong.error_status_hint if answerable else 0)
        if isinstance(event, h11.Request):
            return Request(event.method, event.target, list(event.headers), event.http_version)
        return CLOSED

    def answer(self, response: Response, body: bytes) -> bytes:
        """A whole answer; an empty body for HEAD."""
        if self._h11 is None:
            return write_usual(response, self._last) + body
        return self.begin(response) + (self.piece(body) if body else b"") + self.end()

    def begin(self, response: Response) -> bytes:
        """The head of an answer that goes out in pieces."""
        if self._h11 is None:
            return write_usual(response, self._last)
        return self._h11.send(h11.Response(status_code=response.status, headers=response.headers)) or b""

    def piece(self, content: bytes) -> bytes:
        """A piece of its content."""
        return content if self._h11 is None else self._h11.send(h11.Data(data=content)) or b""

    def end(self) -> bytes:
        """Its end."""
        return b"" if self._h11 is None else self._h11.send(h11.EndOfMessage()) or b""

    def next_cycle(self) -> bool | None:
        """After an answer: True, another request may follow; False, this was the last; None, the request had no proper end."""
        connection = self._h11
        if connection is None:
            return not self._last
        try:
            connection.next_event()  # the request's end
        except h11.RemoteProtocolError:
            return None
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return False
        connection.start_next_cycle()
        return True
