"""Two muxes joined by a pipe that delivers everything, in order, whenever it likes and cut anywhere.

Held after every step: no window is negative or above its bound, no byte is lost, doubled or swapped, no end blames the
other. At the end, once the pipe has delivered everything and the readers have read, every finished stream is over at both
ends and nothing is stuck.
"""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from tunnel.errors import Code, LocalError
from tunnel.frames import Limits, Side
from tunnel.mux import Mux
from tunnel.outputs import DataReceived, LinkFailed, StreamEnded, StreamFinished, StreamOffered, StreamOpened

LIMITS = Limits(initial_window=1000, max_window=4000, most_together=5000, least_together=100, least_window=50, max_streams=6)


class End:
    """One mux with its application: what it wrote, what it read, what is still unread."""

    def __init__(self, side: Side) -> None:
        self.mux = Mux(side=side, limits=LIMITS, entropy=bytes, now=0.0)
        self.written: dict[int, bytearray] = {}
        self.read: dict[int, bytearray] = {}
        self.unread: dict[int, deque[int]] = {}
        self.offers: set[int] = set()
        self.open: set[int] = set()
        self.finished_by_us: set[int] = set()
        self.finished_by_peer: set[int] = set()
        self.ended: dict[int, tuple[int, bool]] = {}
        self.inbox = bytearray()
        """Bytes on the way to this end."""

    def act(self) -> None:
        for output in self.mux.take():
            match output:
                case StreamOffered(stream, service):
                    assert service == "web"
                    self.offers.add(stream)
                    self._known(stream)
                case StreamOpened(stream, _):
                    self.open.add(stream)
                case DataReceived(stream=stream, data=data):
                    self.read[stream] += data
                    self.unread[stream].append(len(data))
                case StreamFinished(stream):
                    self.finished_by_peer.add(stream)
                case StreamEnded(stream, code, clean):
                    assert stream not in self.ended, "a stream ends once"
                    self.ended[stream] = (code, clean)
                    self.offers.discard(stream)
                    self.open.discard(stream)
                case LinkFailed():
                    raise AssertionError(f"nobody broke the protocol: {output}")

    def _known(self, stream: int) -> None:
        self.written[stream] = bytearray()
        self.read[stream] = bytearray()
        self.unread[stream] = deque()

    def start(self, now: float) -> int | None:
        try:
            stream = self.mux.open("web", now)
        except LocalError:
            assert self.mux.stream_count >= LIMITS.max_streams
            return None
        self._known(stream)
        return stream

    def consume_all(self, stream: int, now: float) -> None:
        while self.unread[stream]:
            self.mux.consumed(stream, self.unread[stream].popleft(), now)


class TwoMuxes(RuleBasedStateMachine):
    streams = Bundle("streams")

    @initialize()
    def join(self) -> None:
        self.now = 0.0
        self.ends = {Side.GATEWAY: End(Side.GATEWAY), Side.AGENT: End(Side.AGENT)}
        self.reset: set[int] = set()
        self.serial = 0

    def pattern(self, size: int) -> bytes:
        """Bytes that never repeat within a test, so that a swap shows."""
        self.serial += 1
        return (self.serial.to_bytes(4, "big") * (size // 4 + 1))[:size]

    @rule(target=streams, side=st.sampled_from(Side))
    def open(self, side: Side) -> object:
        stream = self.ends[side].start(self.now)
        return multiple() if stream is None else stream

    @rule(stream=streams, side=st.sampled_from(Side), size=st.integers(0, 3000))
    def write(self, stream: int, side: Side, size: int) -> None:
        end = self.ends[side]
        if stream in end.written and stream not in end.ended | dict.fromkeys(end.finished_by_us | end.offers):
            data = self.pattern(size)
            end.mux.write(stream, data)
            end.written[stream] += data

    @rule(stream=streams)
    def accept(self, stream: int) -> None:
        for end in self.ends.values():
            if stream in end.offers:
                end.offers.discard(stream)
                end.open.add(stream)
                end.mux.accept(stream)

    @rule(stream=streams, side=st.sampled_from(Side))
    def finish(self, stream: int, side: Side) -> None:
        end = self.ends[side]
        if stream in end.written and stream not in end.offers:
            end.mux.finish(stream)
            end.finished_by_us.add(stream)

    @rule(stream=consumes(streams), side=st.sampled_from(Side))
    def break_off(self, stream: int, side: Side) -> None:
        self.ends[side].mux.reset(stream, Code.CANCELLED)
        self.reset.add(stream)

    @rule(stream=streams, side=st.sampled_from(Side))
    def read_some(self, stream: int, side: Side) -> None:
        end = self.ends[side]
        if stream in end.open and end.unread[stream]:
            end.mux.consumed(stream, end.unread[stream].popleft(), self.now)

    @rule(side=st.sampled_from(Side), room=st.integers(1, 5000))
    def send(self, side: Side, room: int) -> None:
        self.ends[side.other].inbox += b"".join(self.ends[side].mux.outgoing(room))

    @rule(side=st.sampled_from(Side), size=st.integers(1, 5000))
    def deliver(self, side: Side, size: int) -> None:
        end = self.ends[side]
        data, end.inbox = bytes(end.inbox[:size]), end.inbox[size:]
        if data:
            end.mux.feed(data, self.now)

    @rule(seconds=st.floats(0.0, 1.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for end in self.ends.values():
            deadline = end.mux.next_deadline()
            if deadline <= self.now:
                end.mux.on_deadline(self.now)
                assert end.mux.next_deadline() > self.now, "a deadline must move"

    @invariant()
    def nothing_is_lost_and_no_window_breaks(self) -> None:
        if not hasattr(self, "ends"):
            return
        for side, end in self.ends.items():
            end.act()
            other = self.ends[side.other]
            for stream, got in end.read.items():
                assert other.written.get(stream, b"").startswith(got), "bytes lost, doubled or swapped"
            for stream in end.written:
                if stream not in end.ended:
                    may_send, may_receive = end.mux.credits(stream)
                    assert 0 <= may_send <= LIMITS.max_window
                    assert 0 <= may_receive <= LIMITS.max_window

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        for _ in range(10_000):
            for stream in {stream for end in self.ends.values() for stream in end.offers}:
                self.accept(stream)
            moved = False
            for side, end in self.ends.items():
                for stream in list(end.open):
                    moved = moved or bool(end.unread[stream])
                    end.consume_all(stream, self.now)
                self.send(side, 10**6)
                moved = moved or bool(self.ends[side.other].inbox)
                self.deliver(side.other, 10**6)
            self.nothing_is_lost_and_no_window_breaks()
            if not moved:
                break
        else:
            raise AssertionError("two muxes that never come to rest")
        self.everything_arrived()

    def everything_arrived(self) -> None:
        for side, end in self.ends.items():
            other = self.ends[side.other]
            broken = {stream for stream, (_, clean) in end.ended.items() if not clean}
            assert broken <= set(other.ended) or not broken & set(other.written), "one end forgot a stream, the other holds it"
            for stream, data in end.written.items():
                if not all(one.ended.get(stream, (0, True))[1] for one in (end, other)):
                    continue  # reset by an end (which may cross the other's FIN), by OPEN's deadline, or refused
                assert other.read[stream] == data, "stuck: written, never arrived"
                if stream in end.finished_by_us:
                    assert stream in other.finished_by_peer, "stuck: FIN never arrived"
                if stream in end.finished_by_us and stream in other.finished_by_us:
                    assert end.ended[stream] == other.ended[stream] == (0, True)


TwoMuxes.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestTwoMuxes = TwoMuxes.TestCase
