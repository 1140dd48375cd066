"""All streams of one link: frames in, outputs and bytes out. The core of both ends (docs/tunnel-protocol.md sections 4 to 8).

Shell contract: `heard(now)` for received bytes and `receive(frame, now)` for each frame of them; then `take()` and act;
then, while the transport has room, write `outgoing(room, now)`; arm one timer for `next_deadline()`. A peer's fault
never raises: it becomes `LinkFailed` as the last output and an ERROR frame as the last bytes.
"""

from collections import deque
from collections.abc import Callable

from tunnel import stream as machine
from tunnel.codec import encode, pack_error, pack_goaway, pack_u32, unpack_error, unpack_goaway, unpack_u32
from tunnel.errors import Code, LocalError, PeerError
from tunnel.frames import ACK, FIN, MAX_DATA, MAX_STREAM_ID, SHARED_DATA, Frame, FrameType, Limits, Side
from tunnel.live_stream import LiveStream
from tunnel.liveness import Liveness, Verdict
from tunnel.messages import Call, DeviceEvent, Open, Opened, Result, pack_id, unpack_id
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
from tunnel.stream import Event, State

Piece = bytes | memoryview


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
        self._control: deque[bytes] = deque()
        self._turns: deque[int] = deque()
        self._outputs: list[Output] = []
        self._opening: dict[int, float] = {}
        self._open_ids: set[bytes] = set()
        """Peer's EVENTs (gateway) or CALLs (agent) not answered yet."""
        self._grown = 0
        self._peer_leaving = False
        self._drain_until: float | None = None
        self.failed: LinkFailed | None = None
        self.late_frames = 0
        """Frames that crossed a RST of ours and were dropped."""

    # ---- what the shell reads -------------------------------------------------------------------------------

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

    def heard(self, now: float) -> None:
        """Bytes arrived, whole frames or not: the peer lives."""
        self._liveness.heard(now)

    def receive(self, frame: Frame, now: float) -> None:
        """One frame arrived."""
        if self.failed:
            return
        try:
            self._RECEIVERS.get(frame.type, Mux._unexpected)(self, frame, now)
            if len(self._control) > self._limits.max_control_frames:
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
            self._liveness.answered(frame.payload, now)
        else:
            self._control.append(encode(FrameType.PING, 0, frame.payload, ACK))

    def _on_goaway(self, frame: Frame, _now: float) -> None:
        code, last, retry_after, jitter = unpack_goaway(frame.payload)
        self._peer_leaving = True
        self._outputs.append(PeerLeaving(code, retry_after / 1000, jitter / 1000))
        for stream in [s for s in self._streams if s % 2 == self._side and s > last]:
            self._forget(stream, code)

    def _on_open(self, frame: Frame, now: float) -> None:
        if frame.stream % 2 == self._side or frame.stream <= self._highest_peer:
            raise PeerError(Code.PROTOCOL, "OPEN with an id that is used or not the peer's")
        self._highest_peer = frame.stream
        service = Open.unpack(frame.payload).service
        if self._drain_until is not None:
            self.late_frames += 1
            return
        if sum(1 for stream in self._streams if stream % 2 != self._side) >= self._limits.max_streams:
            self._control.append(encode(FrameType.RST, frame.stream, pack_u32(Code.TOO_MANY_STREAMS)))
            return
        self._streams[frame.stream] = LiveStream(State.OFFERED, self._limits.initial_window, now)
        self._outputs.append(StreamOffered(frame.stream, service))

    def _on_opened(self, frame: Frame, _now: float) -> None:
        opened = Opened.unpack(frame.payload)
        if (stream := self._known(frame)) is not None:
            stream.advance(Event.RECV_OPENED)
            self._opening.pop(frame.stream, None)
            self._outputs.append(StreamOpened(frame.stream, opened.authority, opened.spki))

    def _on_data(self, frame: Frame, _now: float) -> None:
        if (stream := self._known(frame)) is None:
            return
        if frame.payload:
            stream.advance(Event.RECV_DATA)
            stream.inbound.received(len(frame.payload))
            self._outputs.append(DataReceived(frame.stream, frame.payload))
        if frame.flags & FIN:
            self._outputs.append(StreamFinished(frame.stream))
            stream.advance(Event.RECV_FIN)
            self._forget_if_closed(frame.stream, stream)

    def _on_window(self, frame: Frame, _now: float) -> None:
        if (stream := self._known(frame)) is not None:
            stream.advance(Event.RECV_WINDOW)
            stream.send_window.granted(unpack_u32(frame.payload))
            self._schedule(frame.stream, stream)

    def _on_rst(self, frame: Frame, _now: float) -> None:
        if self._known(frame) is not None:
            self._forget(frame.stream, unpack_u32(frame.payload))

    def _on_event(self, frame: Frame, _now: float) -> None:
        if frame.flags & ACK:
            self._only_from(Side.GATEWAY)
            self._outputs.append(EventAcknowledged(unpack_id(frame.payload)))
            return
        self._only_from(Side.AGENT)
        event = DeviceEvent.unpack(frame.payload)
        if self._newly_open(event.id):
            self._outputs.append(EventArrived(event))

    def _on_call(self, frame: Frame, _now: float) -> None:
        self._only_from(Side.GATEWAY)
        call = Call.unpack(frame.payload)
        if self._newly_open(call.id):
            self._outputs.append(CallArrived(call))

    def _on_result(self, frame: Frame, _now: float) -> None:
        self._only_from(Side.AGENT)
        self._outputs.append(ResultArrived(Result.unpack(frame.payload)))

    _RECEIVERS: dict[FrameType, Callable[["Mux", Frame, float], None]] = {  # noqa: RUF012 - the dispatch table, never written
        FrameType.ERROR: _on_error,
        FrameType.PING: _on_ping,
        FrameType.GOAWAY: _on_goaway,
        FrameType.OPEN: _on_open,
        FrameType.OPENED: _on_opened,
        FrameType.DATA: _on_data,
        FrameType.WINDOW: _on_window,
        FrameType.RST: _on_rst,
        FrameType.EVENT: _on_event,
        FrameType.CALL: _on_call,
        FrameType.RESULT: _on_result,
    }

    def _only_from(self, side: Side) -> None:
        if self._side is side:
            raise PeerError(Code.PROTOCOL, "a frame that only the other role may send")

    def _newly_open(self, message_id: bytes) -> bool:
        """Count an EVENT or CALL as unanswered. A repeat of one that still waits is no second one."""
        if message_id in self._open_ids:
            return False
        if len(self._open_ids) >= self._limits.max_unacked_events:
            raise PeerError(Code.TOO_MUCH, "too many unanswered events or calls")
        self._open_ids.add(message_id)
        return True

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

    def open(self, service: str, now: float) -> int:
        """Open a stream; `StreamOpened` or `StreamEnded` follows. Raises LocalError if the link takes no new ones."""
        ours = sum(1 for stream in self._streams if stream % 2 == self._side)
        if self.failed or self.leaving or self._next_id > MAX_STREAM_ID or ours >= self._peer_streams:
            raise LocalError("no new streams on this link")
        stream, self._next_id = self._next_id, self._next_id + 2
        self._control.append(encode(FrameType.OPEN, stream, Open(service).pack()))
        self._streams[stream] = LiveStream(State.OPENING, self._limits.initial_window, now)
        self._opening[stream] = now + self._limits.open_deadline
        return stream

    def accept(self, stream: int, authority: str = "", spki: bytes = b"") -> None:
        """Answer StreamOffered: the service is connected. Nothing happens if the stream ended meanwhile."""
        if (found := self._streams.get(stream)) is not None:
            found.advance(Event.SEND_OPENED)
            self._control.append(encode(FrameType.OPENED, stream, Opened(authority, spki).pack()))

    def write(self, stream: int, data: bytes) -> None:
        """Queue bytes. The caller bounds the queue by `queued`. Nothing happens on a stream that is over.

        Raises LocalError after `finish` and before `accept`.
        """
        if (found := self._streams.get(stream)) is not None:
            if found.outbound.finished or not machine.allowed(found.state, Event.SEND_DATA):
                raise LocalError("write on a stream that is finished or not accepted")
            found.outbound.push(data)
            self._schedule(stream, found)

    def finish(self, stream: int) -> None:
        """No more bytes from here: FIN follows what is queued. May be called again."""
        if (found := self._streams.get(stream)) is not None and not found.outbound.finished:
            if not machine.allowed(found.state, Event.SEND_FIN):
                raise LocalError("finish on a stream that is not accepted")
            found.outbound.finished = True
            self._schedule(stream, found)

    def reset(self, stream: int, code: Code) -> None:
        """End the stream now, both directions; queued bytes are dropped. Nothing happens if it is over."""
        if stream in self._streams:
            self._control.append(encode(FrameType.RST, stream, pack_u32(code)))
            self._forget(stream, code)

    def consumed(self, stream: int, size: int, now: float) -> None:
        """The application took `size` received bytes: time, perhaps, for the peer to send more."""
        if (found := self._streams.get(stream)) is None or not machine.allowed(found.state, Event.SEND_WINDOW):
            return
        before = found.inbound.size
        room = min(self._limits.max_window - before, self._limits.grown_windows - self._grown)
        grant = found.inbound.consumed(size, now, self._liveness.growth_trip(self._limits.queue_delay), max(room, 0))
        self._grown += found.inbound.size - before
        if grant:
            self._control.append(encode(FrameType.WINDOW, stream, pack_u32(grant)))
            if self._liveness.may_probe(now):
                self._ping(now)

    def send_event(self, event: DeviceEvent) -> None:
        """Agent: report something. The caller keeps it until EventAcknowledged."""
        self._control.append(encode(FrameType.EVENT, 0, event.pack()))

    def acknowledge(self, event_id: bytes) -> None:
        """Gateway: the event is kept. Nothing happens for an id that does not wait."""
        if event_id in self._open_ids:
            self._open_ids.discard(event_id)
            self._control.append(encode(FrameType.EVENT, 0, pack_id(event_id), ACK))

    def forget_event(self, event_id: bytes) -> None:
        """Gateway: it could not be kept; the agent will repeat it."""
        self._open_ids.discard(event_id)

    def send_call(self, call: Call) -> None:
        """Gateway: ask the device for something; ResultArrived follows, or the caller's deadline."""
        self._control.append(encode(FrameType.CALL, 0, call.pack()))

    def probe(self, now: float) -> None:
        """Ask whether the peer lives, if nobody has: its answer is heard whatever else it is busy with."""
        if not self._liveness.waiting:
            self._ping(now)

    def send_result(self, result: Result) -> None:
        """Agent: answer a call. Nothing happens for an id that does not wait."""
        if result.id in self._open_ids:
            self._open_ids.discard(result.id)
            self._control.append(encode(FrameType.RESULT, 0, result.pack()))

    def go_away(self, code: Code, retry_after: float, jitter: float, now: float) -> None:
        """Drain: refuse new streams, let old ones run `Limits.drain` seconds. Times in seconds."""
        if self._drain_until is None and not self.failed:
            self._drain_until = now + self._limits.drain
            payload = pack_goaway(code, self._highest_peer, int(retry_after * 1000), int(jitter * 1000))
            self._control.append(encode(FrameType.GOAWAY, 0, payload))

    def fail(self, code: Code, text: str) -> None:
        """End the link from this side: every stream ends, ERROR is the last frame."""
        if not self.failed:
            self._end(LinkFailed(code, text))
            self._control.append(encode(FrameType.ERROR, 0, pack_error(code, text)))

    def lost(self) -> None:
        """The transport is gone without a word. Every stream ends."""
        if not self.failed:
            self._end(LinkFailed(Code.NO_ERROR, "connection lost", by_peer=True))

    # ---- time -----------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        if self.failed:
            return None
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
        self._control.append(encode(FrameType.PING, 0, self._liveness.ping(now)))

    # ---- bytes out ------------------------------------------------------------------------------------------

    def outgoing(self, room: int) -> list[Piece]:
        """What to write now: all control frames, then DATA of the streams in turn until `room` bytes are reached.

        The last frame may pass `room` by 16 KiB and a header. Empty when nothing may be sent.
        """
        pieces: list[Piece] = list(self._control)
        self._control.clear()
        while self._turns and room > 0:
            number = self._turns.popleft()
            stream = self._streams.get(number)
            if stream is None:
                continue
            stream.in_turn = False
            if stream.sendable:
                most = SHARED_DATA if self._turns else min(max(room, SHARED_DATA), MAX_DATA)
                room -= stream.next_frame(number, most, pieces)
                self._forget_if_closed(number, stream)
                self._schedule(number, stream)
        return pieces

    def _schedule(self, number: int, stream: LiveStream) -> None:
        """Give the stream a place in the round robin if it has something to send and no place yet."""
        if stream.sendable and not stream.in_turn:
            stream.in_turn = True
            self._turns.append(number)

    # ---- ends -----------------------------------------------------------------------------------------------

    def _forget_if_closed(self, number: int, stream: LiveStream) -> None:
        if stream.state is State.CLOSED:
            self._forget(number, Code.NO_ERROR, clean=True)

    def _forget(self, number: int, code: int, *, clean: bool = False) -> None:
        stream = self._streams.pop(number)
        stream.state = State.CLOSED
        self._opening.pop(number, None)
        self._grown -= stream.inbound.size - stream.inbound.initial
        self._outputs.append(StreamEnded(number, code, clean))

    def _end(self, failure: LinkFailed) -> None:
        self._control.clear()
        self._turns.clear()
        for number in list(self._streams):
            self._forget(number, failure.code)
        self.failed = failure
        self._outputs.append(failure)
