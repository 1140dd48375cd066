"""One stream at one end of a link, as a table: what may be sent and received when.

The drawing in docs/tunnel-protocol.md section 4 is this table. Rule 1: everything that changes a stream's state is a row
here. Rule 2: a received frame without a row is the peer's fault (PeerError, the link ends); a sent one without a row is
ours (LocalError). Rule 3: CLOSED has no rows: the mux forgets the stream when it gets there, and drops late frames.

DATA that carries FIN is two events, RECV_DATA (if it has bytes) and RECV_FIN.
"""

from enum import Enum

from tunnel.errors import Code, LocalError, PeerError


class State(Enum):
    """Where a stream stands, seen from this end."""

    OPENING = "opening"
    OPENING_DONE = "opening-done"
    OFFERED = "offered"
    OFFERED_DONE = "offered-done"
    OPEN = "open"
    LOCAL_DONE = "local-done"
    REMOTE_DONE = "remote-done"
    CLOSED = "closed"


class Event(Enum):
    """What can happen to a stream. The value says who is to blame if it cannot happen now."""

    SEND_OPENED = "send opened"
    SEND_DATA = "send data"
    SEND_FIN = "send fin"
    SEND_WINDOW = "send window"
    SEND_RST = "send rst"
    RECV_OPENED = "receive opened"
    RECV_DATA = "receive data"
    RECV_FIN = "receive fin"
    RECV_WINDOW = "receive window"
    RECV_RST = "receive rst"

    @property
    def sent(self) -> bool:
        return self.value.startswith("send")


S, E = State, Event

TABLE: dict[tuple[State, Event], State] = {
    # we sent OPEN and wait; early data is allowed, within the window
    (S.OPENING, E.SEND_DATA): S.OPENING,
    (S.OPENING, E.SEND_FIN): S.OPENING_DONE,
    (S.OPENING, E.RECV_OPENED): S.OPEN,
    (S.OPENING, E.SEND_RST): S.CLOSED,
    (S.OPENING, E.RECV_RST): S.CLOSED,
    (S.OPENING_DONE, E.RECV_OPENED): S.LOCAL_DONE,
    (S.OPENING_DONE, E.SEND_RST): S.CLOSED,
    (S.OPENING_DONE, E.RECV_RST): S.CLOSED,
    # the peer sent OPEN; we keep its early data until we answer
    (S.OFFERED, E.RECV_DATA): S.OFFERED,
    (S.OFFERED, E.RECV_FIN): S.OFFERED_DONE,
    (S.OFFERED, E.SEND_OPENED): S.OPEN,
    (S.OFFERED, E.SEND_RST): S.CLOSED,
    (S.OFFERED, E.RECV_RST): S.CLOSED,
    (S.OFFERED_DONE, E.SEND_OPENED): S.REMOTE_DONE,
    (S.OFFERED_DONE, E.SEND_RST): S.CLOSED,
    (S.OFFERED_DONE, E.RECV_RST): S.CLOSED,
    # both ends agree
    (S.OPEN, E.SEND_DATA): S.OPEN,
    (S.OPEN, E.RECV_DATA): S.OPEN,
    (S.OPEN, E.SEND_WINDOW): S.OPEN,
    (S.OPEN, E.RECV_WINDOW): S.OPEN,
    (S.OPEN, E.SEND_FIN): S.LOCAL_DONE,
    (S.OPEN, E.RECV_FIN): S.REMOTE_DONE,
    (S.OPEN, E.SEND_RST): S.CLOSED,
    (S.OPEN, E.RECV_RST): S.CLOSED,
    # our FIN is out; the peer may still grant for data that crossed it
    (S.LOCAL_DONE, E.RECV_DATA): S.LOCAL_DONE,
    (S.LOCAL_DONE, E.SEND_WINDOW): S.LOCAL_DONE,
    (S.LOCAL_DONE, E.RECV_WINDOW): S.LOCAL_DONE,
    (S.LOCAL_DONE, E.RECV_FIN): S.CLOSED,
    (S.LOCAL_DONE, E.SEND_RST): S.CLOSED,
    (S.LOCAL_DONE, E.RECV_RST): S.CLOSED,
    # the peer's FIN is in; granting is pointless, sending is not
    (S.REMOTE_DONE, E.SEND_DATA): S.REMOTE_DONE,
    (S.REMOTE_DONE, E.RECV_WINDOW): S.REMOTE_DONE,
    (S.REMOTE_DONE, E.SEND_FIN): S.CLOSED,
    (S.REMOTE_DONE, E.SEND_RST): S.CLOSED,
    (S.REMOTE_DONE, E.RECV_RST): S.CLOSED,
}


def allowed(state: State, event: Event) -> bool:
    """Whether the table has a row."""
    return (state, event) in TABLE


def advance(state: State, event: Event) -> State:
    """The next state. Raises PeerError or LocalError by rule 2."""
    found = TABLE.get((state, event))
    if found is not None:
        return found
    if event.sent:
        raise LocalError(f"cannot {event.value} in state {state.value}")
    raise PeerError(Code.PROTOCOL, f"cannot {event.value} in state {state.value}")
