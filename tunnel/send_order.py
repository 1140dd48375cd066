"""What one end of a link sends next: control frames first and in order, then DATA of the streams in turn."""

from collections import deque

from tunnel.codec import encode
from tunnel.frames import MAX_DATA, SHARED_DATA, FrameType
from tunnel.live_stream import LiveStream
from tunnel.outbound import Piece


class SendOrder:
    """The queue of control frames and the round robin of streams."""

    __slots__ = ("_control", "_turns")

    def __init__(self) -> None:
        self._control: deque[bytes] = deque()
        self._turns: deque[tuple[int, LiveStream]] = deque()

    @property
    def control_frames(self) -> int:
        """How many control frames wait."""
        return len(self._control)

    @property
    def pending(self) -> bool:
        """Whether something could be taken."""
        return bool(self._control or self._turns)

    def control(self, frame_type: FrameType, stream: int = 0, payload: bytes = b"", flags: int = 0) -> None:
        """Queue a control frame. Raises ValueError where the wire table forbids it."""
        self._control.append(encode(frame_type, stream, payload, flags))

    def schedule(self, number: int, stream: LiveStream) -> None:
        """Give the stream a place in the round robin if it has something to send and no place yet."""
        if not stream.in_turn and stream.sendable:
            stream.in_turn = True
            self._turns.append((number, stream))

    def clear(self) -> None:
        """Nothing of what waits will be sent."""
        self._control.clear()
        self._turns.clear()

    def take(self, room: int, pieces: list[Piece]) -> list[tuple[int, LiveStream]]:
        """Append what to write now to `pieces`; returns the streams whose FIN went with it.

        All control frames, then DATA until `room` bytes are reached; the last frame may pass `room` by SHARED_DATA and a header.
        """
        pieces.extend(self._control)
        self._control.clear()
        finished: list[tuple[int, LiveStream]] = []
        turns = self._turns
        while turns and room > 0:
            number, stream = turns.popleft()
            stream.in_turn = False
            if not stream.sendable:
                continue
            most = SHARED_DATA if turns else min(max(room, SHARED_DATA), MAX_DATA)
            size, last = stream.next_frame(number, most, pieces)
            room -= size
            if last:
                finished.append((number, stream))
            else:
                self.schedule(number, stream)
        return finished
