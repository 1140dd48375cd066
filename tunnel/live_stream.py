"""What a mux keeps of one stream that is not closed: its state, what waits to be sent, both windows."""

from tunnel import stream as machine
from tunnel.codec import data_header
from tunnel.frames import FIN, HEADER_SIZE
from tunnel.outbound import Outbound
from tunnel.stream import Event, State
from tunnel.window import ReceiveWindow, SendWindow


class LiveStream:
    """`in_turn` says whether it stands in the mux's round robin."""

    __slots__ = ("in_turn", "inbound", "outbound", "send_window", "state")

    def __init__(self, state: State, initial_window: int, now: float) -> None:
        self.state = state
        self.outbound = Outbound()
        self.send_window = SendWindow(initial_window)
        self.inbound = ReceiveWindow(initial_window, now)
        self.in_turn = False

    @property
    def sendable(self) -> bool:
        """Whether a DATA frame could go out now: bytes and credit, or a FIN with nothing before it."""
        waits = self.outbound
        may_send = bool(waits.size and self.send_window.credit) or (waits.finished and not waits.size)
        return may_send and machine.allowed(self.state, Event.SEND_FIN)

    def advance(self, event: Event) -> None:
        """Take the table's row. Raises PeerError or LocalError as `stream.advance` does."""
        self.state = machine.advance(self.state, event)

    def next_frame(self, number: int, most: int, pieces: list[bytes | memoryview]) -> int:
        """Append one DATA frame of at most `most` bytes to `pieces`; returns its size on the wire.

        Goes to `LOCAL_DONE` or `CLOSED` if the frame carries FIN.
        """
        chunks = self.outbound.pull(min(most, self.send_window.credit))
        size = sum(map(len, chunks))
        last = self.outbound.finished and not self.outbound.size
        if size:
            self.send_window.spend(size)
            self.advance(Event.SEND_DATA)
        pieces.append(data_header(number, size, FIN if last else 0))
        pieces.extend(chunks)
        if last:
            self.advance(Event.SEND_FIN)
        return HEADER_SIZE + size
