"""`Link`: one TLS connection carrying a mux, at either end. An asyncio protocol on the running loop.

Life: frames go to `on_frame` (the handshake) until `start` puts a mux in; from then on the link belongs to its `LinkOwner`, which
hears of everything the mux says. One timer, armed for the earliest deadline. No task per link: an idle one costs its
TLS state and a few hundred bytes.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from tunnel.codec import Decoder, encode, pack_error
from tunnel.errors import Code, PeerError
from tunnel.frames import Frame, FrameType
from tunnel.messages import Call, DeviceEvent, Result
from tunnel.mux import Mux
from tunnel.net.pipe import LOW, StreamEnd, StreamPipe
from tunnel.outputs import (
    CallArrived,
    DataReceived,
    EventAcknowledged,
    EventArrived,
    LinkFailed,
    Output,
    PeerLeaving,
    ResultArrived,
    StreamEnded,
    StreamFinished,
    StreamOffered,
    StreamOpened,
)

TLS_DEADLINE = 10.0
"""Seconds for a TLS handshake (DESIGN.md section 6), and for TLS's farewell."""
TLS_BUFFER = 32_768
BATCH = 65_536
"""Bytes taken from the mux at a time. With TLS_BUFFER and one frame of overshoot: less than 128 KiB queued in all."""
WRITE_DEADLINE = 30.0
"""Seconds a peer may leave our bytes untaken."""
FAREWELL = 1.0
"""Seconds an ERROR frame gets to leave before the connection is cut."""
NOTSENT_LOWAT = 65_536
"""Unsent bytes the kernel may hold: more would stand in front of every control frame."""


class LinkOwner(Protocol):
    """Who is told what the other end does."""

    def stream_offered(self, link: "Link", pipe: StreamPipe, service: str) -> None: ...

    def event_arrived(self, link: "Link", event: DeviceEvent) -> None: ...

    def event_acknowledged(self, link: "Link", event_id: bytes) -> None: ...

    def call_arrived(self, link: "Link", call: Call) -> None: ...

    def result_arrived(self, link: "Link", result: Result) -> None: ...

    def peer_leaving(self, link: "Link", leaving: PeerLeaving) -> None: ...

    def link_ended(self, link: "Link", failure: LinkFailed) -> None: ...


def tune(sock: socket.socket) -> None:
    """Socket options of a channel connection, before TLS: no Nagle, dead peers noticed, little unsent in the kernel.

    The gateway's end gets the same from the node's acceptor."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(WRITE_DEADLINE * 1000))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)


class Link(asyncio.Protocol):
    """See the module's text. `on_frame` may raise PeerError; `on_lost` hears of an end before `start`, `made` that TLS is up."""

    __slots__ = (
        "_armed_for",
        "_blocked",
        "_decoder",
        "_ends",
        "_loop",
        "_made",
        "_mux",
        "_on_frame",
        "_on_lost",
        "_owner",
        "_paused_at",
        "_timer",
        "_transport",
        "bytes_in",
        "bytes_out",
        "flushing",
    )

    def __init__(
        self,
        on_frame: Callable[[Frame], None],
        on_lost: Callable[[PeerError | None], None],
        made: Callable[["Link"], None] | None = None,
    ) -> None:
        self._made = made
        self._loop = asyncio.get_running_loop()
        self._on_frame: Callable[[Frame], None] | None = on_frame
        self._on_lost: Callable[[PeerError | None], None] | None = on_lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._mux: Mux | None = None
        self._owner: LinkOwner | None = None
        self._ends: dict[int, StreamEnd] = {}
        self._blocked: set[StreamEnd] = set()
        self._paused_at: float | None = None
        self.flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0  # the handle cannot be asked: for a deadline that is now, uvloop's has no when()
        self.bytes_in = 0
        self.bytes_out = 0

    # ---- asyncio.Protocol -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's
        self._transport.set_write_buffer_limits(high=TLS_BUFFER, low=0)  # type: ignore[union-attr]
        made, self._made = self._made, None
        if made is not None:
            made(self)

    def data_received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        mux = self._mux
        if mux is not None:
            mux.feed(data, self._loop.time())
            self._deliver()
            if not self.flushing and (mux.pending or mux.next_deadline() < self._armed_for):
                self.flush_soon()
            return
        try:
            self._decoder.push(data)
            while (self._on_frame or self._mux) and (frame := self._decoder.next()) is not None:
                if self._on_frame is not None:
                    self._on_frame(frame)
                elif self._mux is not None:  # the frame before was WELCOME, and more came with it
                    self._mux.receive(frame, self._loop.time())
        except PeerError as error:
            self.fail(error)
        self._deliver()
        if self._mux is not None:
            self.flush_soon()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._cut_timer()
        if self._mux is not None:
            self._mux.lost()
            self._deliver()
        elif self._on_lost is not None:
            on_lost, self._on_lost, self._on_frame = self._on_lost, None, None
            on_lost(None)

    def pause_writing(self) -> None:
        self._paused_at = self._loop.time()
        self._arm()

    def resume_writing(self) -> None:
        self._paused_at = None
        self._flush()

    # ---- handshake phase ------------------------------------------------------------------------------------

    @property
    def tls(self) -> ssl.SSLObject:
        """The connection's TLS state (certificates, ALPN). Raises ConnectionError once the connection is gone."""
        if self._transport is None:
            raise ConnectionError("the connection is gone")
        found: ssl.SSLObject = self._transport.get_extra_info("ssl_object")
        return found

    def send(self, frame: tuple[FrameType, bytes]) -> None:
        """Send one handshake frame."""
        if self._transport is not None:
            self._transport.write(encode(frame[0], 0, frame[1]))

    def start(self, mux: Mux, owner: LinkOwner) -> bool:
        """The handshake is done: from here on the mux reads and `owner` hears. False if the connection is gone already."""
        if self._transport is None or self._on_lost is None:
            return False
        mux.begin_with(self._decoder)
        self._mux, self._owner = mux, owner
        self._on_frame = self._on_lost = None
        self._arm()
        self.flush_soon()
        return True

    def fail(self, error: PeerError) -> None:
        """End the link from this side with an ERROR frame."""
        if self._mux is not None:
            self._mux.fail(error.code, error.text)
            self._deliver()
            return
        if self._on_lost is not None:
            on_lost, self._on_lost, self._on_frame = self._on_lost, None, None
            if self._transport is not None:
                self._transport.write(encode(FrameType.ERROR, 0, pack_error(error.code, error.text)))
            self._close()
            on_lost(error)

    # ---- running --------------------------------------------------------------------------------------------

    @property
    def open_streams(self) -> int:
        return len(self._ends)

    @property
    def queued(self) -> int:
        """Bytes written and not yet taken by the kernel's socket, as far as the TLS layer tells."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def leaving(self) -> bool:
        """Whether nothing new may be opened: GOAWAY went one way or the other, or the link is over."""
        return self._mux is None or self._mux.leaving or self._mux.failed is not None

    @property
    def round_trip(self) -> float | None:
        """The last measured ping time in seconds."""
        return self._mux.round_trip if self._mux is not None else None

    @property
    def heard_at(self) -> float | None:
        """When the last byte arrived, by the loop's clock; None before there is a mux."""
        return self._mux.heard_at if self._mux is not None else None

    def open(self, service: str, device: str = "") -> StreamPipe:
        """Open a stream (to a device's service, at a connector). Raises LocalError if the link takes no new ones."""
        mux = self._running()
        stream = mux.open(service, self._loop.time(), device)
        pipe = self._ends[stream] = StreamPipe(self, mux, stream)
        self.flush_soon()
        return pipe

    def send_event(self, event: DeviceEvent) -> None:
        self._running().talk.send_event(event)
        self.flush_soon()

    def acknowledge(self, event_id: bytes) -> None:
        self._running().talk.acknowledge(event_id)
        self.flush_soon()

    def forget_event(self, event_id: bytes) -> None:
        self._running().talk.forget_event(event_id)

    def send_call(self, call: Call) -> None:
        self._running().talk.send_call(call)
        self.flush_soon()

    def probe(self) -> None:
        """PING, unless one is on its way."""
        self._running().probe(self._loop.time())
        self.flush_soon()

    def send_result(self, result: Result) -> None:
        self._running().talk.send_result(result)
        self.flush_soon()

    def go_away(self, code: Code, retry_after: float, jitter: float) -> None:
        """Drain (protocol section 7)."""
        self._running().go_away(code, retry_after, jitter, self._loop.time())
        self.flush_soon()

    # ---- PipeLink -------------------------------------------------------------------------------------------

    def write_stream(self, stream: int, data: bytes) -> int:
        queued = self._running().write(stream, data)
        self.flush_soon()
        return queued

    def finish_stream(self, stream: int) -> None:
        self._running().finish(stream)
        self.flush_soon()

    def reset_stream(self, stream: int, code: Code) -> None:
        self._running().reset(stream, code)
        self.flush_soon()

    def consumed(self, stream: int, size: int) -> None:
        if self._running().consumed(stream, size, self._loop.time()):
            self.flush_soon()

    def accept_stream(self, stream: int, authority: str, spki: bytes) -> None:
        self._running().accept(stream, authority, spki)
        self.flush_soon()

    def wait_writable(self, end: StreamEnd) -> None:
        self._blocked.add(end)

    def hand_over(self, end: StreamEnd) -> None:
        self._ends[end.stream] = end

    # ---- inside ---------------------------------------------------------------------------------------------

    def _running(self) -> Mux:
        assert self._mux is not None, "start comes first"
        return self._mux

    def flush_soon(self) -> None:
        """Write at the end of this turn of the loop, so that many small writes make one TLS record."""
        if not self.flushing:
            self.flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flushing = False
        mux = self._mux
        if mux is None:
            return
        while self._transport is not None and self._paused_at is None:
            pieces = mux.outgoing(BATCH)
            if not pieces:
                break
            batch = b"".join(pieces)
            self.bytes_out += len(batch)
            self._transport.write(batch)
        if self._blocked:
            for end in [one for one in self._blocked if mux.queued(one.stream) <= LOW]:
                self._blocked.discard(end)
                end.now_writable()
        self._deliver()
        if mux.failed is not None:
            self._close()
        elif self._timer is None or mux.next_deadline() < self._armed_for:
            self._arm()

    def _deliver(self) -> None:
        """Act on what the mux said. Owners may call back into the link: their effects wait for the next flush."""
        mux, owner = self._mux, self._owner
        if mux is None or owner is None:
            return
        while outputs := mux.take():
            for output in outputs:
                if type(output) is DataReceived:
                    self._ends[output.stream].now_received(output.data)
                else:
                    self._act(owner, output)

    def _act(self, owner: LinkOwner, output: Output) -> None:
        match output:
            case StreamOpened(stream, authority, spki):
                self._ends[stream].now_opened(authority, spki)
            case StreamFinished(stream):
                self._ends[stream].now_finished()
            case StreamEnded(stream, code, clean):
                end = self._ends.pop(stream)
                self._blocked.discard(end)
                end.now_ended(code, clean)
            case StreamOffered(stream, service, device):
                pipe = self._ends[stream] = StreamPipe(self, self._running(), stream, device)
                owner.stream_offered(self, pipe, service)
            case EventArrived(event):
                owner.event_arrived(self, event)
            case EventAcknowledged(event_id):
                owner.event_acknowledged(self, event_id)
            case CallArrived(call):
                owner.call_arrived(self, call)
            case ResultArrived(result):
                owner.result_arrived(self, result)
            case PeerLeaving():
                owner.peer_leaving(self, output)
            case LinkFailed():
                self.flush_soon()
                owner.link_ended(self, output)

    def _arm(self) -> None:
        """One timer for the earliest deadline. A deadline that moved away lets it fire early and look again: that is
        cheaper than a new timer for each received byte."""
        deadline = self._deadline()
        if deadline == math.inf or self._transport is None:
            self._cut_timer()
        elif self._timer is None or deadline < self._armed_for:
            self._cut_timer()
            self._armed_for = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _deadline(self) -> float:
        if self._mux is None or self._mux.failed is not None:
            return math.inf
        deadline = self._mux.next_deadline()
        return deadline if self._paused_at is None else min(deadline, self._paused_at + WRITE_DEADLINE)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._mux is None:
            return
        if self._paused_at is not None and now >= self._paused_at + WRITE_DEADLINE:
            self._mux.fail(Code.TIMEOUT, "the peer does not read")
        self._mux.on_deadline(now)
        self._deliver()
        self._flush()

    def _cut_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        """Let the last bytes leave for a moment, then cut. The peer may be gone, so nothing waits for it."""
        self._cut_timer()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(FAREWELL, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
