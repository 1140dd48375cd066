"""What a mux keeps of one stream that is not closed: its state, what waits to be sent, both windows."""

from tunnel import stream as machine
from tunnel.codec import data_header
from tunnel.errors import Code, PeerError
from tunnel.frames import FIN, HEADER_SIZE
from tunnel.outbound import Outbound, Piece
from tunnel.stream import Event, State
from tunnel.window import ReceiveWindow, SendWindow


def _allowed_in(event: Event) -> frozenset[State]:
    return frozenset(state for state in State if machine.allowed(state, event))


_WRITABLE, _FINISHABLE = _allowed_in(Event.SEND_DATA), _allowed_in(Event.SEND_FIN)
_READABLE, _GRANTABLE = _allowed_in(Event.RECV_DATA), _allowed_in(Event.SEND_WINDOW)


class LiveStream:
    """`in_turn` says whether it stands in the mux's round robin; in `spell` of the pacing, `in_spell` bytes were received.

    The table's rows for DATA lead nowhere else, so what they allow is looked up once for each state, not for each frame.
    """

    __slots__ = (
        "finishable",
        "grantable",
        "in_spell",
        "in_turn",
        "inbound",
        "outbound",
        "readable",
        "send_window",
        "spell",
        "state",
        "writable",
    )

    def __init__(self, state: State, initial_window: int) -> None:
        self.outbound = Outbound()
        self.send_window = SendWindow(initial_window)
        self.inbound = ReceiveWindow(initial_window)
        self.in_turn = False
        self.spell = 0
        self.in_spell = 0
        self._enter(state)

    def _enter(self, state: State) -> None:
        self.state = state
        self.writable = state in _WRITABLE
        self.finishable = state in _FINISHABLE
        self.readable = state in _READABLE
        self.grantable = state in _GRANTABLE

    @property
    def sendable(self) -> bool:
        """Whether a DATA frame could go out now: bytes and credit, or a FIN with nothing before it."""
        waits = self.outbound
        return self.finishable and (self.send_window.credit > 0 if waits.size else waits.finished)

    def advance(self, event: Event) -> None:
        """Take the table's row. Raises PeerError or LocalError as `stream.advance` does."""
        self._enter(machine.advance(self.state, event))

    def receive(self, size: int) -> None:
        """`size` bytes of DATA arrived. Raises PeerError if the state or the window does not take them."""
        if not self.readable:
            raise PeerError(Code.PROTOCOL, f"cannot receive data in state {self.state.value}")
        self.inbound.received(size)

    def next_frame(self, number: int, most: int, pieces: list[Piece]) -> tuple[int, bool]:
        """Append one DATA frame of at most `most` bytes to `pieces`; returns its size on the wire, and whether it carries FIN.

        Goes to `LOCAL_DONE` or `CLOSED` if the frame carries FIN.
        """
        waits, window = self.outbound, self.send_window
        size = min(most, window.credit, waits.size)
        last = waits.finished and size == waits.size
        if size:
            window.spend(size)
        pieces.append(data_header(number, size, FIN if last else 0))
        waits.pull(size, pieces)
        if last:
            self.advance(Event.SEND_FIN)
        return HEADER_SIZE + size, last
