"""One connection of an autop listener: HTTP/1.1 by h11, one request at a time, every wait under an absolute deadline.

    HEAD --request--> ANSWERING --answer written--> HEAD        (keep-alive, pipelined requests in order)
      |                   |
      +-- refused --------+--> LINGERING --> lost               (read and forget, so that the client sees the answer)

The deadline of a head runs from its first byte, that of a request too; a connection that is between requests may idle. A firmware
download has a deadline for each piece, and one for all.
"""

import asyncio
import contextlib
from collections.abc import Callable
from email.utils import formatdate
from enum import Enum, auto
from typing import Protocol, cast

import h11

from autop.answer_plan import Plan, plan
from autop.fingerprint import entity_tags
from autop.identify import Asked, identify
from autop.net.acknowledgement import FIRST_LOOK, LAST_LOOK, Acknowledgement
from autop.net.answers import planned, refusal, unplanned
from autop.net.configurations import File, Refused
from autop.net.download import Downloads, pieces
from autop.net.image import OpenImage, UpgradeEar
from autop.net.limits import ListenerLimits
from autop.net.proof import Presented
from autop.net.requests import presented, unacceptable, user_agent
from autop.observer import AutopObserver, Outcome, Reason
from registry.errors import RegistryError

FIRMWARE_TYPE = b"application/octet-stream"
_SLICE = 2048
"""Bytes given to h11 at a time, so that its bound on an incomplete head holds within a slice."""


class FileSource(Protocol):
    """Where files come from (`Configurations`)."""

    async def find(self, asked: Asked | None, presented: Presented) -> File | OpenImage | Refused: ...


class FetchSink(Protocol):
    """Told of every fetch of a configuration that ended well. Called on the event loop; must not block."""

    def fetched(self, file: File, peer: str, wall: float, *, complete: bool, held: str) -> None:
        """`complete`: the peer's TCP has acknowledged every byte of the file; else the client said (304) that it has them.
        `held`: the one entity tag, without quotes, that it named and that is not the file's; empty for none."""
        ...


class Seat(Protocol):
    """The place that a stranger holds at the node's acceptor."""

    def release(self) -> None:
        """The peer is known, or gone. Further calls do nothing."""
        ...


class _State(Enum):
    HEAD = auto()
    ANSWERING = auto()
    LINGERING = auto()


class Connection(asyncio.Protocol):
    """The protocol of one connection, TLS or not. `made` and `lost` are called once each, at its begin and end; `proven` when the
    peer has got its own device's file. Its `seat` is released by whoever gets these calls."""

    def __init__(
        self,
        *,
        files: FileSource,
        observer: AutopObserver,
        clock_wall: Callable[[], float],
        limits: ListenerLimits,
        downloads: Downloads,
        ear: UpgradeEar | None,
        seat: Seat,
        made: Callable[["Connection"], None],
        proven: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
        fetches: FetchSink | None = None,
    ) -> None:
        self._files = files
        self._observer = observer
        self._clock_wall = clock_wall
        self._limits = limits
        self._downloads = downloads
        self._ear = ear
        self.seat = seat
        self._made = made
        self._proven = proven
        self._lost = lost
        self._fetches = fetches
        self._unacknowledged: tuple[File, str, Acknowledgement] | None = None
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._state = _State.HEAD
        self._inbox = bytearray()
        self._forgotten = 0
        self._ended = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._head_began: float | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- what the transport tells ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's TLS transport is one in all but its class
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._head_begins()  # the first head's time runs from here: there is nothing to idle for
        self._made(self)

    def data_received(self, data: bytes) -> None:
        if self._state is _State.LINGERING:
            self._forgotten += len(data)
            if self._forgotten > self._limits.linger_bytes:
                self._abort()
            return
        self._inbox += data
        if self._state is _State.ANSWERING:
            self._pause_reading()
        else:
            self._advance()

    def eof_received(self) -> bool:
        self._ended = True
        self._note_acknowledged()
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
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if exc is None:  # an end in order acknowledges all that came before it, a reset does not
            self._note_acknowledged()
        if self._unacknowledged is not None:
            self._unacknowledged[2].end()
        self._transport = None
        self._lost(self)

    # -- what the listener asks -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close as soon as the request under way, if any, is answered."""
        self._closing = True
        if self._state is _State.HEAD:
            self._close()

    def abort(self) -> None:
        """Drop the connection now."""
        self._abort()

    # -- requests -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Feed h11 until it has a request, wants more bytes, or the peer broke the rules."""
        while self._state is _State.HEAD and self._transport is not None:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as wrong:
                self._refuse_malformed(wrong)
                return
            if event is h11.NEED_DATA:
                if not self._feed():
                    return
            elif isinstance(event, h11.Request):
                self._begin(event)
            else:
                self._close()

    def _feed(self) -> bool:
        """Hand h11 the next slice. False: there is none, and the deadline says how long there may be none."""
        if not self._inbox:
            if self._ended:
                self._close()
            return False
        if self._head_began is None:
            self._head_begins()
        chunk = bytes(self._inbox[:_SLICE])
        del self._inbox[:_SLICE]
        self._http.receive_data(chunk)
        return True

    def _head_begins(self) -> None:
        self._head_began = self._loop.time()
        self._set_deadline(self._head_began + self._limits.head_seconds)

    def _begin(self, request: h11.Request) -> None:
        began = self._head_began if self._head_began is not None else self._loop.time()
        self._head_began = None
        self._set_deadline(began + self._limits.request_seconds)
        status, reason = unacceptable(request)
        if status:
            self._refuse(status, reason, request.method)
            return
        self._state = _State.ANSWERING
        self._task = self._loop.create_task(self._answer(request), name="autop answer")

    async def _answer(self, request: h11.Request) -> None:
        asked_at = self._loop.time()
        asked = identify(request.target)
        found = await self._files.find(asked, presented(asked, request, self._peer, self._transport))
        if isinstance(found, Refused):
            # The same instant for every refusal: what the look-up cost must not show.
            wait = self._limits.late_seconds if found.is_late else self._limits.refusal_seconds
            await asyncio.sleep(asked_at + wait - self._loop.time())
        if isinstance(found, File | Refused):
            if self._transport is None:
                return
            self._write(request, found)
        elif not await self._download(request, found):
            self._abort()
            return
        await self._drained()
        pause = FIRST_LOOK
        while not self._note_acknowledged():
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
        self._task = None
        self._next_request()

    async def _drained(self) -> None:
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def _write(self, request: h11.Request, found: File | Refused) -> None:
        if isinstance(found, Refused):
            asks = [(b"WWW-Authenticate", challenge) for challenge in found.challenges]
            response, body = refusal(401 if asks else 404, self._date(), close=False, more=asks)
            self._observer.answered(found.outcome, found.reason, self._peer)
            self._send(response, b"" if request.method == b"HEAD" else body)
            return
        wanted = plan(request.method, request.headers, found.etag, len(found.body))
        if not self._refused_by_plan(wanted, found.etag):
            self._count(wanted)
            content = found.body[wanted.start : wanted.start + wanted.length] if wanted.with_body else b""
            self._send(planned(wanted, found.etag, found.content_type, self._date()), content)
        self._proven(self)
        has_it = wanted.status == 304 or (wanted.length == len(found.body) and wanted.with_body)
        if found.is_configuration and has_it and request.method != b"HEAD":
            self._observer.fetched(found.mac, found.hash, self._peer, self._clock_wall())
            if found.live is not None and self._ear is not None:
                self._ear.configuration_fetched(found.mac, found.live, user_agent(request))
            self._note_fetch(request, found, is_held=wanted.status == 304)

    def _note_fetch(self, request: h11.Request, file: File, *, is_held: bool) -> None:
        """The client has the file (304), or will have once its TCP has acknowledged all that was written."""
        if self._fetches is None:
            return
        held = _held([value for name, value in request.headers if name == b"if-none-match"])
        if not is_held:
            self._watch(file, held)
        elif held == file.hash:  # "*" and lists say nothing of what the client has
            self._fetches.fetched(file, self._peer, self._clock_wall(), complete=False, held="")

    def _note_acknowledged(self) -> bool:
        """Whether no file is on its way any more. Tells of the fetch that has become complete."""
        waiting = self._unacknowledged
        if waiting is None or self._fetches is None:
            return True
        file, held, acknowledgement = waiting
        if not acknowledgement.is_complete():
            return False
        acknowledgement.end()
        self._unacknowledged = None
        self._fetches.fetched(file, self._peer, self._clock_wall(), complete=True, held=held)
        return True

    def _watch(self, file: File, held: str) -> None:
        """Remember that `file` is on its way. Where nobody can know whether it arrived, the fetch is not counted."""
        assert self._transport is not None
        with contextlib.suppress(OSError):
            self._unacknowledged = file, held, Acknowledgement(self._transport)

    def _refused_by_plan(self, wanted: Plan, etag: bytes) -> bool:
        if wanted.status not in (412, 416):
            return False
        self._observer.answered(Outcome.REFUSED, Reason.CONDITION)
        response, body = unplanned(wanted, etag, self._date())
        self._send(response, body if wanted.with_body else b"")
        return True

    def _count(self, wanted: Plan) -> None:
        self._observer.answered(Outcome.NOT_MODIFIED if wanted.status == 304 else Outcome.SERVED, Reason.NONE)

    async def _download(self, request: h11.Request, image: OpenImage) -> bool:
        """Answer with firmware, piece by piece. False: the answer cannot be completed, the connection is to be cut."""
        entered = False
        try:
            if self._transport is None:
                return False
            self._proven(self)
            wanted = plan(request.method, request.headers, image.etag, image.size)
            if self._refused_by_plan(wanted, image.etag):
                return True
            if wanted.with_body:
                entered = self._downloads.enter(image.mac)
                if not entered:
                    self._observer.answered(Outcome.LIMITED, Reason.BUSY)
                    wait = b"%d" % self._downloads.retry_after(image.mac)
                    self._send(*refusal(503, self._date(), close=False, more=[(b"Retry-After", wait)]))
                    return True
                if not await image.begin():
                    self._write(request, Refused(Outcome.LIMITED, Reason.NO_SUCH_FILE))
                    return True
            self._count(wanted)
            return await self._stream(image, wanted)
        except (OSError, RegistryError):
            self._observer.answered(Outcome.ERROR, Reason.UNAVAILABLE)
            return False
        finally:
            if entered:
                self._downloads.leave(image.mac)
            image.close()

    async def _stream(self, image: OpenImage, wanted: Plan) -> bool:
        last = self._loop.time() + self._limits.download_seconds
        head = self._http.send(planned(wanted, image.etag, FIRMWARE_TYPE, self._date())) or b""
        transport = self._transport
        if transport is None:
            return False
        transport.write(head)
        if wanted.with_body:
            async for content in pieces(image, wanted, self._limits.download_piece):
                if self._transport is None:
                    return False
                self._set_deadline(min(last, self._loop.time() + self._limits.request_seconds))
                transport.write(self._http.send(h11.Data(data=content)) or b"")
                self._downloads.sent += len(content)
                await self._drained()
        transport.write(self._http.send(h11.EndOfMessage()) or b"")
        return True

    def _next_request(self) -> None:
        """After an answer: the next request of this connection, or its end."""
        transport = self._transport
        if transport is None:
            return
        try:
            self._http.next_event()  # the request's end
        except h11.RemoteProtocolError:
            self._close()
            return
        if self._closing or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._linger(unread=bool(self._inbox))
            return
        self._http.start_next_cycle()
        self._state = _State.HEAD
        self._set_deadline(self._loop.time() + self._limits.idle_seconds)
        if self._http.trailing_data[0]:
            self._head_begins()
        self._advance()
        if self._state is _State.HEAD and self._transport is not None and not self._transport.is_closing():
            transport.resume_reading()

    # -- refusals -------------------------------------------------------------------------------------------------

    def _refuse_malformed(self, wrong: h11.RemoteProtocolError) -> None:
        if self._http.our_state is not h11.IDLE and self._http.our_state is not h11.SEND_RESPONSE:
            self._close()
            return
        status = wrong.error_status_hint
        self._refuse(status if status in (413, 431, 505) else 400, Reason.HEAD_TOO_LARGE if status == 431 else Reason.BAD_REQUEST)

    def _refuse(self, status: int, reason: Reason, method: bytes = b"") -> None:
        """Answer and close: what follows on this connection is not to be trusted, or not wanted."""
        self._observer.answered(Outcome.REFUSED, reason, self._peer)
        response, body = refusal(status, self._date(), close=True)
        self._send(response, b"" if method == b"HEAD" else body)
        self._linger(unread=True)

    # -- bytes and time -------------------------------------------------------------------------------------------

    def _send(self, response: h11.Response, body: bytes) -> None:
        assert self._transport is not None
        head = self._http.send(response) or b""
        content = self._http.send(h11.Data(data=body)) if body else b""
        end = self._http.send(h11.EndOfMessage()) or b""
        self._transport.write(head + (content or b"") + end)

    def _date(self) -> bytes:
        return formatdate(self._clock_wall(), usegmt=True).encode("ascii")

    def _linger(self, *, unread: bool) -> None:
        """Let the client read the answer before the close: closing over unread bytes resets and would destroy it."""
        self._state = _State.LINGERING
        self._inbox.clear()
        transport = self._transport
        if transport is None:
            return
        if self._ended or not unread:
            self._close()
            return
        self._set_deadline(self._loop.time() + self._limits.linger_seconds)
        transport.resume_reading()
        if not self._is_tls():  # TLS cannot say "no more from me" and go on reading
            transport.write_eof()

    def _close(self) -> None:
        self._state = _State.LINGERING
        if self._transport is not None:
            self._set_deadline(self._loop.time() + self._limits.linger_seconds)
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _is_tls(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is not None

    def _set_deadline(self, when: float) -> None:
        """Move the one deadline. The timer is only re-armed for an earlier time; a later one is seen when it fires."""
        self._deadline = when
        if self._timer is None or when < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._on_deadline)
            return
        if self._state is not _State.LINGERING and (self._head_began is not None or self._state is _State.ANSWERING):
            self._observer.answered(Outcome.REFUSED, Reason.TOO_SLOW, self._peer)
        self._abort()


def _held(named: list[bytes]) -> str:
    """The one entity tag of If-None-Match, if it is like ours: the SHA-256 of a file."""
    tags = entity_tags(named) if named else None
    if not tags or len(tags) != 1:
        return ""
    (tag,) = tags
    text = tag.strip(b'"')
    return text.decode("ascii") if len(text) == 64 and all(mark in b"0123456789abcdef" for mark in text) else ""
