"""All streams of one link: frames in, outputs and bytes out. The core of both ends (docs/tunnel-protocol.md sections 4 to 8).

Shell contract: `feed(data, now)` for received bytes; then `take()` and act; then, while the transport has room, write
`outgoing(room)`; arm one timer for `next_deadline()`. A peer's fault never raises: it becomes `LinkFailed` as the last
output and an ERROR frame as the last bytes.
"""

import math
from collections.abc import Callable

from tunnel.codec import Decoder, pack_error, pack_goaway, pack_u32, unpack_error, unpack_goaway, unpack_u32
from tunnel.errors import Code, LocalError, PeerError
from tunnel.frames import ACK, FIN, MAX_STREAM_ID, Frame, FrameType, Limits, Side
from tunnel.live_stream import LiveStream
from tunnel.liveness import Liveness, Verdict
from tunnel.messages import Open, Opened
from tunnel.outbound import Piece
from tunnel.outputs import (
    DataReceived,
    LinkFailed,
    Output,
    PeerLeaving,
    StreamEnded,
    StreamFinished,
    StreamOffered,
    StreamOpened,
)
from tunnel.pacing import Pacing
from tunnel.send_order import SendOrder
from tunnel.stream import Event, State
from tunnel.talk import Talk


class Mux:
    """One end of a running link. Constructed once WELCOME is sent or received.

    `peer_streams` is how many streams the peer lets us have open (WELCOME `max_streams`); `entropy(n)` gives n random bytes.
    """

    def __init__(
        self, *, side: Side, limits: Limits, entropy: Callable[[int], bytes], now: float, peer_streams: int | None = None
    ) -> None:
        self._side = side
        self._limits = limits
        self._peer_streams = limits.max_streams if peer_streams is None else peer_streams
        self._liveness = Liveness(
            now, limits.ping_after, limits.dead_after, limits.ping_spread, int.from_bytes(entropy(2), "big") / 65_536
        )
        self._streams: dict[int, LiveStream] = {}
        self._next_id = 1 if side is Side.GATEWAY else 2
        self._highest_peer = 0
        self._order = SendOrder()
        self._decoder = Decoder()
        self._pacing = Pacing(limits, now)
        self._outputs: list[Output] = []
        self._opening: dict[int, float] = {}
        self.talk = Talk(side, self._order, limits.max_unacked_events)
        self._grown = 0
        """Bytes by which the windows of all streams stand above the initial one."""
        self._peer_leaving = False
        self._drain_until: float | None = None
        self.failed: LinkFailed | None = None
        self.late_frames = 0
        """Frames that crossed a RST of ours and were dropped."""
        self._ping(now)  # the empty path's round trip, which later ones are held against

    # ---- what the shell reads -------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether `outgoing` has something to give."""
        return self._order.pending

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    @property
    def leaving(self) -> bool:
        """Whether either end sent GOAWAY: nothing new may be opened."""
        return self._peer_leaving or self._drain_until is not None

    @property
    def round_trip(self) -> float | None:
        """The last ping time in seconds."""
        return self._liveness.round_trip

    @property
    def heard_at(self) -> float:
        """When the last byte arrived, as the `now` it came with."""
        return self._liveness.heard_at

    def queued(self, stream: int) -> int:
        """Bytes of the stream that still wait here for credit and turn; 0 for one that is over."""
        found = self._streams.get(stream)
        return found.outbound.size if found else 0

    def credits(self, stream: int) -> tuple[int, int]:
        """(bytes we may send, bytes the peer may send) on a stream."""
        found = self._streams[stream]
        return found.send_window.credit, found.inbound.credit

    def take(self) -> list[Output]:
        """Outputs since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    # ---- frames in ------------------------------------------------------------------------------------------

    def begin_with(self, decoder: Decoder) -> None:
        """Go on with the decoder that read the handshake: it may hold the beginning of our first frame."""
        self._decoder = decoder

    def feed(self, data: bytes, now: float) -> None:
        """Bytes arrived."""
        self._liveness.heard(now)
        try:
            self._decoder.push(data)
            while self.failed is None and (frame := self._decoder.next()) is not None:
                self.receive(frame, now)
        except PeerError as error:
            self.fail(error.code, error.text)

    def receive(self, frame: Frame, now: float) -> None:
        """One frame arrived."""
        if self.failed:
            return
        try:
            if frame.type is FrameType.DATA:
                self._on_data(frame)
                return
            _RECEIVERS.get(frame.type, Mux._unexpected)(self, frame, now)
            if self._order.control_frames > self._limits.max_control_frames:
                raise PeerError(Code.TOO_MUCH, "the peer asks faster than it reads")
        except PeerError as error:
            self.fail(error.code, error.text)

    def _unexpected(self, _frame: Frame, _now: float) -> None:
        raise PeerError(Code.PROTOCOL, "a handshake frame on a running link")

    def _on_error(self, frame: Frame, _now: float) -> None:
        code, text = unpack_error(frame.payload)
        self._end(LinkFailed(code, text, by_peer=True))

    def _on_ping(self, frame: Frame, now: float) -> None:
        if frame.flags & ACK:
            self._pacing.answered(self._liveness.answered(frame.payload, now), now)
        else:
            self._order.control(FrameType.PING, 0, frame.payload, ACK)

    def _on_goaway(self, frame: Frame, _now: float) -> None:
        code, last, retry_after, jitter = unpack_goaway(frame.payload)
        self._peer_leaving = True
        self._outputs.append(PeerLeaving(code, retry_after / 1000, jitter / 1000))
        for stream in [s for s in self._streams if s % 2 == self._side and s > last]:
            self._forget(stream, code)

    def _on_open(self, frame: Frame, _now: float) -> None:
        if frame.stream % 2 == self._side or frame.stream <= self._highest_peer:
            raise PeerError(Code.PROTOCOL, "OPEN with an id that is used or not the peer's")
        self._highest_peer = frame.stream
        wanted = Open.unpack(frame.payload)
        if self._drain_until is not None:
            self.late_frames += 1
            return
        if sum(1 for stream in self._streams if stream % 2 != self._side) >= self._limits.max_streams:
            self._order.control(FrameType.RST, frame.stream, pack_u32(Code.TOO_MANY_STREAMS))
            return
        self._streams[frame.stream] = LiveStream(State.OFFERED, self._limits.initial_window)
        self._outputs.append(StreamOffered(frame.stream, wanted.service, wanted.device))

    def _on_opened(self, frame: Frame, _now: float) -> None:
        opened = Opened.unpack(frame.payload)
        if (stream := self._known(frame)) is not None:
            stream.advance(Event.RECV_OPENED)
            self._opening.pop(frame.stream, None)
            self._outputs.append(StreamOpened(frame.stream, opened.authority, opened.spki))

    def _on_data(self, frame: Frame) -> None:
        if (stream := self._known(frame)) is None:
            return
        if size := len(frame.payload):
            stream.receive(size)
            pacing = self._pacing
            if stream.spell != pacing.spell:
                stream.spell, stream.in_spell = pacing.spell, 0
            pacing.received(size, stream.in_spell)
            stream.in_spell += size
            self._outputs.append(DataReceived(frame.stream, frame.payload))
        if frame.flags & FIN:
            self._outputs.append(StreamFinished(frame.stream))
            stream.advance(Event.RECV_FIN)
            self._forget_if_closed(frame.stream, stream)

    def _on_window(self, frame: Frame, _now: float) -> None:
        if (stream := self._known(frame)) is not None:
            stream.advance(Event.RECV_WINDOW)
            stream.send_window.granted(unpack_u32(frame.payload))
            self._order.schedule(frame.stream, stream)

    def _on_rst(self, frame: Frame, _now: float) -> None:
        if self._known(frame) is not None:
            self._forget(frame.stream, unpack_u32(frame.payload))

    def _on_talk(self, frame: Frame, _now: float) -> None:
        if (output := self.talk.receive(frame)) is not None:
            self._outputs.append(output)

    def _known(self, frame: Frame) -> LiveStream | None:
        """The frame's stream; None for one that is over. Raises PeerError for one that never was."""
        stream = self._streams.get(frame.stream)
        if stream is not None:
            return stream
        ours = frame.stream % 2 == self._side
        if frame.stream >= self._next_id if ours else frame.stream > self._highest_peer:
            raise PeerError(Code.PROTOCOL, "a frame for a stream that was never opened")
        self.late_frames += 1
        return None

    # ---- what the application asks --------------------------------------------------------------------------

    def open(self, service: str, now: float, device: str = "") -> int:
        """Open a stream (to a device's service, at a connector); `StreamOpened` or `StreamEnded` follows.

        Raises LocalError if the link takes no new ones.
        """
        ours = sum(1 for stream in self._streams if stream % 2 == self._side)
        if self.failed or self.leaving or self._next_id > MAX_STREAM_ID or ours >= self._peer_streams:
            raise LocalError("no new streams on this link")
        stream, self._next_id = self._next_id, self._next_id + 2
        self._order.control(FrameType.OPEN, stream, Open(service, device).pack())
        self._streams[stream] = LiveStream(State.OPENING, self._limits.initial_window)
        self._opening[stream] = now + self._limits.open_deadline
        return stream

    def accept(self, stream: int, authority: str = "", spki: bytes = b"") -> None:
        """Answer StreamOffered: the service is connected. Nothing happens if the stream ended meanwhile."""
        if (found := self._streams.get(stream)) is not None:
            found.advance(Event.SEND_OPENED)
            self._order.control(FrameType.OPENED, stream, Opened(authority, spki).pack())

    def write(self, stream: int, data: bytes) -> int:
        """Queue bytes; returns how many of the stream wait now, for the caller to bound. Nothing happens on one that is over.

        Raises LocalError after `finish` and before `accept`.
        """
        if (found := self._streams.get(stream)) is None:
            return 0
        if found.outbound.finished or not found.writable:
            raise LocalError("write on a stream that is finished or not accepted")
        found.outbound.push(data)
        self._order.schedule(stream, found)
        return found.outbound.size

    def finish(self, stream: int) -> None:
        """No more bytes from here: FIN follows what is queued. May be called again."""
        if (found := self._streams.get(stream)) is not None and not found.outbound.finished:
            if not found.finishable:
                raise LocalError("finish on a stream that is not accepted")
            found.outbound.finished = True
            self._order.schedule(stream, found)

    def reset(self, stream: int, code: Code) -> None:
        """End the stream now, both directions; queued bytes are dropped. Nothing happens if it is over."""
        if stream in self._streams:
            self._order.control(FrameType.RST, stream, pack_u32(code))
            self._forget(stream, code)

    def consumed(self, stream: int, size: int, now: float) -> bool:
        """The application took `size` received bytes. Whether that gives something to send: credit, perhaps a PING with it."""
        found = self._streams.get(stream)
        if found is None or not found.grantable or not found.inbound.consumed(size):
            return False
        window, initial = found.inbound, self._limits.initial_window
        grown = max(window.size - initial, 0)
        room = max(self._limits.most_together - self._grown, 0)
        grant = window.grant(min(self._pacing.window, max(window.size, initial) + room))
        self._grown += max(window.size - initial, 0) - grown
        if grant:
            self._order.control(FrameType.WINDOW, stream, pack_u32(grant))
        if self._liveness.may_probe(now):
            self._ping(now)
        return True

    def probe(self, now: float) -> None:
        """Ask whether the peer lives, if nobody has: its answer is heard whatever else it is busy with."""
        if not self._liveness.waiting:
            self._ping(now)

    def go_away(self, code: Code, retry_after: float, jitter: float, now: float) -> None:
        """Drain: refuse new streams, let old ones run `Limits.drain` seconds. Times in seconds."""
        if self._drain_until is None and not self.failed:
            self._drain_until = now + self._limits.drain
            payload = pack_goaway(code, self._highest_peer, int(retry_after * 1000), int(jitter * 1000))
            self._order.control(FrameType.GOAWAY, 0, payload)

    def fail(self, code: Code, text: str) -> None:
        """End the link from this side: every stream ends, ERROR is the last frame."""
        if not self.failed:
            self._end(LinkFailed(code, text))
            self._order.control(FrameType.ERROR, 0, pack_error(code, text))

    def lost(self) -> None:
        """The transport is gone without a word. Every stream ends."""
        if not self.failed:
            self._end(LinkFailed(Code.NO_ERROR, "connection lost", by_peer=True))

    # ---- time -----------------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When `on_deadline` is due; never for a failed link."""
        if self.failed:
            return math.inf
        deadline = self._liveness.next_deadline()
        if self._opening:
            deadline = min(deadline, next(iter(self._opening.values())))
        return deadline if self._drain_until is None else min(deadline, self._drain_until)

    def on_deadline(self, now: float) -> None:
        """Reset streams nobody opened in time, ping, notice death, end a drain."""
        if self.failed:
            return
        for stream in [s for s, deadline in self._opening.items() if deadline <= now]:
            self.reset(stream, Code.OPEN_TIMEOUT)
        if self._drain_until is not None and self._drain_until <= now:
            self.fail(Code.SHUTDOWN, "drained")
            return
        verdict = self._liveness.on_deadline(now)
        if verdict is Verdict.PING:
            self._ping(now)
        elif verdict is Verdict.DEAD:
            self.fail(Code.TIMEOUT, "silence")

    def _ping(self, now: float) -> None:
        self._order.control(FrameType.PING, 0, self._liveness.ping(now))

    # ---- bytes out ------------------------------------------------------------------------------------------

    def outgoing(self, room: int) -> list[Piece]:
        """What to write now: all control frames, then DATA of the streams in turn until `room` bytes are reached.

        The last frame may pass `room` by 16 KiB and a header. Empty when nothing may be sent.
        """
        pieces: list[Piece] = []
        for number, stream in self._order.take(room, pieces):
            self._forget_if_closed(number, stream)
        return pieces

    # ---- ends -----------------------------------------------------------------------------------------------

    def _forget_if_closed(self, number: int, stream: LiveStream) -> None:
        if stream.state is State.CLOSED:
            self._forget(number, Code.NO_ERROR, clean=True)

    def _forget(self, number: int, code: int, *, clean: bool = False) -> None:
        stream = self._streams.pop(number)
        stream.finishable = False  # its place in the round robin, if it has one, is passed over
        self._opening.pop(number, None)
        self._grown -= max(stream.inbound.size - self._limits.initial_window, 0)
        self._outputs.append(StreamEnded(number, code, clean))

    def _end(self, failure: LinkFailed) -> None:
        self._order.clear()
        for number in list(self._streams):
            self._forget(number, failure.code)
        self.failed = failure
        self._outputs.append(failure)


_RECEIVERS: dict[FrameType, Callable[[Mux, Frame, float], None]] = {
    FrameType.ERROR: Mux._on_error,
    FrameType.PING: Mux._on_ping,
    FrameType.GOAWAY: Mux._on_goaway,
    FrameType.OPEN: Mux._on_open,
    FrameType.OPENED: Mux._on_opened,
    FrameType.WINDOW: Mux._on_window,
    FrameType.RST: Mux._on_rst,
    FrameType.EVENT: Mux._on_talk,
    FrameType.CALL: Mux._on_talk,
    FrameType.RESULT: Mux._on_talk,
}
