"""One connection of an autop listener: HTTP/1.1, one request at a time, every wait under an absolute deadline.

    HEAD --request--> ANSWERING --answer written--> HEAD        (keep-alive, pipelined requests in order)
      |                   |
      +-- refused --------+--> LINGERING --> lost               (read and forget, so that the client sees the answer)

The deadline of a head runs from its first byte, that of a request too; a connection that is between requests may idle. A firmware
download has a deadline for each piece, and one for all.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import cast

from autop.http_messages import Request
from autop.net.acknowledgement import FIRST_LOOK, LAST_LOOK
from autop.net.answers import refusal
from autop.net.arrival import Arrival
from autop.net.deadline import Deadline
from autop.net.http import Http, Malformed
from autop.net.ports import Seat
from autop.net.requests import unacceptable
from autop.net.responder import Responder, Service
from autop.observer import Outcome, Reason


class _State(Enum):
    HEAD = auto()
    ANSWERING = auto()
    LINGERING = auto()


class Connection(asyncio.Protocol):
    """The protocol of one connection, TLS or not. `made` and `lost` are called once each, at its begin and end; `proven` when the
    peer has got its own device's file. Its `seat` is released by whoever gets these calls."""

    def __init__(
        self,
        service: Service,
        seat: Seat,
        *,
        made: Callable[["Connection"], None],
        proven: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self._service = service
        self._limits = service.limits
        self.seat = seat
        self._made = made
        self._proven = proven
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._http = Http(service.limits.head_bytes)
        self._arrival = Arrival(service.fetches, service.clock_wall) if service.fetches is not None else None
        self._responder: Responder | None = None
        self.transport: asyncio.Transport | None = None
        self._state = _State.HEAD
        self._forgotten = 0
        self._peer = ""
        self._ended = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._head_began: float | None = None
        self._deadline = Deadline(self._loop, self._over)

    # -- what the transport tells ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's TLS transport is one in all but its class
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._responder = Responder(self._service, self._http, self, self._peer, self._arrival)
        self._head_begins()  # the first head's time runs from here: there is nothing to idle for
        self._made(self)

    def data_received(self, data: bytes) -> None:
        if self._state is _State.LINGERING:
            self._forgotten += len(data)
            if self._forgotten > self._limits.linger_bytes:
                self.abort()
            return
        self._http.receive(data)
        if self._state is _State.ANSWERING:
            self._pause_reading()
        else:
            self._advance()

    def eof_received(self) -> bool:
        self._ended = True
        self._has_arrived()
        if self._state is _State.HEAD:
            return False
        # A client may half-close once it has asked, and still wait for the answer; TLS has no half-close.
        return self._state is _State.ANSWERING and not self._is_tls()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        if self._task is not None:
            self._task.cancel()
        if exc is None:  # an end in order acknowledges all that came before it, a reset does not
            self._has_arrived()
        if self._arrival is not None:
            self._arrival.end()
        self.transport = None
        self._lost(self)

    # -- what the listener asks -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close as soon as the request under way, if any, is answered."""
        self._closing = True
        if self._state is _State.HEAD:
            self._close()

    def abort(self) -> None:
        """Drop the connection now."""
        if self.transport is not None:
            self.transport.abort()

    # -- what the responder asks (`Wire`) -------------------------------------------------------------------------

    async def drained(self) -> None:
        """Wait until the transport takes more."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def set_deadline(self, when: float) -> None:
        """When this connection is given up, in the loop's time."""
        self._deadline.set(when)

    def is_proven(self) -> None:
        """The peer has got its own device's file."""
        self._proven(self)

    # -- requests -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Look for a request until there is one, more bytes are wanted, or the peer broke the rules."""
        while self._state is _State.HEAD and self.transport is not None:
            if self._head_began is None and self._http.has_unread:
                self._head_begins()
            found = self._http.next_request()
            if found is None:
                if self._ended:
                    self._close()
                return  # the deadline says how long nothing may come
            if isinstance(found, Request):
                self._begin(found)
            elif isinstance(found, Malformed):
                self._refuse_malformed(found.status)
            else:
                self._close()

    def _head_begins(self) -> None:
        self._head_began = self._loop.time()
        self._deadline.set(self._head_began + self._limits.head_seconds)

    def _begin(self, request: Request) -> None:
        began = self._head_began if self._head_began is not None else self._loop.time()
        self._head_began = None
        self._deadline.set(began + self._limits.request_seconds)
        status, reason = unacceptable(request)
        if status:
            self._refuse(status, reason, request.method)
            return
        self._state = _State.ANSWERING
        assert self._responder is not None
        # Requests that already wait behind this one get turns of the loop of their own, so that nobody takes it for long.
        if self._http.has_unread or not self._responder.answer_known(request):
            self._task = self._loop.create_task(self._answer(request), name="autop answer")
        elif self._writable is None and self._has_arrived():
            self._turn()
        else:
            self._task = self._loop.create_task(self._finish_answer(), name="autop answer")

    async def _answer(self, request: Request) -> None:
        assert self._responder is not None
        if not await self._responder.answer(request):
            self.abort()
            return
        await self._finish_answer()

    async def _finish_answer(self) -> None:
        """The answer is written: wait until it is with the client, then go on."""
        if self.transport is None:
            return
        await self.drained()
        pause = FIRST_LOOK
        while not self._has_arrived():
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
        self._task = None
        self._turn()
        self._advance()
        if self._state is _State.HEAD and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def _has_arrived(self) -> bool:
        return self._arrival is None or self._arrival.look()

    def _turn(self) -> None:
        """After an answer: be ready for the next request of this connection, or end it."""
        if self.transport is None:
            return
        follows = self._http.next_cycle()
        if follows is None:
            self._close()
        elif self._closing or not follows:
            self._linger(unread=self._http.has_unread)
        else:
            self._state = _State.HEAD
            self._deadline.set(self._loop.time() + self._limits.idle_seconds)
            if self._http.has_begun:
                self._head_begins()

    # -- refusals -------------------------------------------------------------------------------------------------

    def _refuse_malformed(self, status: int) -> None:
        if not status:
            self._close()
            return
        self._refuse(status if status in (413, 431, 505) else 400, Reason.HEAD_TOO_LARGE if status == 431 else Reason.BAD_REQUEST)

    def _refuse(self, status: int, reason: Reason, method: bytes = b"") -> None:
        """Answer and close: what follows on this connection is not to be trusted, or not wanted."""
        assert self.transport is not None
        self._service.observer.answered(Outcome.REFUSED, reason, self._peer)
        response, body = refusal(status, self._service.date(), close=True)
        self.transport.write(self._http.answer(response, b"" if method == b"HEAD" else body))
        self._linger(unread=True)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _linger(self, *, unread: bool) -> None:
        """Let the client read the answer before the close: closing over unread bytes resets and would destroy it."""
        self._state = _State.LINGERING
        self._http.forget()
        transport = self.transport
        if transport is None:
            return
        if self._ended or not unread:
            self._close()
            return
        self._deadline.set(self._loop.time() + self._limits.linger_seconds)
        transport.resume_reading()
        if not self._is_tls():  # TLS cannot say "no more from me" and go on reading
            transport.write_eof()

    def _close(self) -> None:
        self._state = _State.LINGERING
        if self.transport is not None:
            self._deadline.set(self._loop.time() + self._limits.linger_seconds)
            self.transport.close()

    def _pause_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _is_tls(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    def _over(self) -> None:
        """The deadline has come."""
        if self._state is not _State.LINGERING and (self._head_began is not None or self._state is _State.ANSWERING):
            self._service.observer.answered(Outcome.REFUSED, Reason.TOO_SLOW, self._peer)
        self.abort()
