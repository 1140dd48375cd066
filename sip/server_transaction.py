"""Server transactions: RFC 3261 section 17.2 (figures 7 and 8) with RFC 6026 (Accepted state, transport errors).

Rules of this file:
1. Everything that changes `state` is a row of a table below. A row is (state, input) -> (next state, effects).
2. An input without a row does nothing: that is how late repeats and second finals are absorbed.
3. Effects run after the state has changed, in order. They talk to the world through `sink` only.
4. At most two timers run at once: one that repeats (G) and one that ends a state (H, I, J, L).

Beyond the figures: none. `abandon` ends a transaction whose user will never answer (RFC 4320 4.2 forbids it the 408).
"""

from collections.abc import Callable
from typing import Final, Protocol

from sip.deadlines import Timed
from sip.flow import Flow
from sip.message import Request
from sip.timers import NEVER, Timers

TRYING: Final = "Trying"
PROCEEDING: Final = "Proceeding"
COMPLETED: Final = "Completed"
CONFIRMED: Final = "Confirmed"
ACCEPTED: Final = "Accepted"
TERMINATED: Final = "Terminated"

REQUEST: Final = "request"
ACK: Final = "ACK"
SEND_1XX: Final = "1xx from TU"
SEND_2XX: Final = "2xx from TU"
SEND_300_699: Final = "300-699 from TU"
TIMER_G: Final = "Timer G"
TIMER_H: Final = "Timer H"
TIMER_I: Final = "Timer I"
TIMER_J: Final = "Timer J"
TIMER_L: Final = "Timer L"
TRANSPORT_ERROR: Final = "transport error"


class ServerSink(Protocol):
    """Where a server transaction's effects go: the transaction layer."""

    def transmit(self, flow: Flow, data: bytes) -> None:
        """Put bytes on the flow."""
        ...

    def server_armed(self, transaction: "ServerTransaction") -> None:
        """Its timers changed: `transaction.wants()` is the next one."""
        ...

    def server_failed(self, transaction: "ServerTransaction", why: str, now: float) -> None:
        """Tell the transaction user: the response could not be sent, or no ACK came (Timer H)."""
        ...

    def server_ended(self, transaction: "ServerTransaction") -> None:
        """It is Terminated: forget it."""
        ...


class ServerTransaction(Timed):
    """One server transaction. The user answers through the transaction layer, which calls `answer`."""

    __slots__ = (
        "_interval",
        "_last",
        "_repeat_at",
        "_rows",
        "_sink",
        "_state_ends_at",
        "_state_ends_by",
        "_timers",
        "alias",
        "flow",
        "key",
        "reply_flow",
        "request",
        "state",
        "user",
    )

    def __init__(
        self, key: bytes, request: Request, flow: Flow, reply_flow: Flow, sink: ServerSink, timers: Timers, invite: bool
    ) -> None:
        super().__init__()
        self.key = key
        self.request = request
        self.flow = flow
        self.reply_flow = reply_flow
        self.alias = b""
        """A second key it is found by (the transaction layer's)."""
        self.user: object = None
        """Whatever the transaction user wants to find again with this transaction."""
        self._rows = INVITE_SERVER if invite else NON_INVITE_SERVER
        self.state = PROCEEDING if invite else TRYING
        self._sink = sink
        self._timers = timers
        self._last = b""
        self._interval = 0.0
        self._repeat_at = NEVER
        self._state_ends_at = NEVER
        self._state_ends_by = ""

    @property
    def is_invite(self) -> bool:
        """Whether this is an INVITE server transaction."""
        return self._rows is INVITE_SERVER

    @property
    def is_open(self) -> bool:
        """Whether the user still owes it a final response."""
        return self.state is PROCEEDING or self.state is TRYING

    @property
    def awaits_ack(self) -> bool:
        """Whether an ACK is this transaction's: it has answered its INVITE with a non-2xx final."""
        return self.state is CONFIRMED or (self.state is COMPLETED and self.is_invite)

    def repeated(self, now: float) -> None:
        """The request came again."""
        self._step(REQUEST, now)

    def acknowledged(self, now: float) -> None:
        """An ACK that matches this INVITE transaction came."""
        self._step(ACK, now)

    def answer(self, status: int, data: bytes, now: float) -> bool:
        """Send a response of the user's, if this state still takes one. Returns whether it did."""
        what = SEND_1XX if status < 200 else SEND_2XX if status < 300 else SEND_300_699
        if what not in self._rows[self.state]:
            return False
        self._last = data
        self._step(what, now)
        return True

    def failed(self, now: float) -> None:
        """The transport could not send, or the flow is gone."""
        self._step(TRANSPORT_ERROR, now)

    def abandon(self) -> None:
        """The user will never answer: forget the transaction."""
        self._end()

    def wants(self) -> float:
        """When the next timer is due, NEVER if none runs."""
        return min(self._repeat_at, self._state_ends_at)

    def fire(self, now: float) -> None:
        """Run the timers that are due."""
        if self._state_ends_at <= now:
            self._state_ends_at = NEVER
            self._step(self._state_ends_by, now)
        elif self._repeat_at <= now:
            self._repeat_at = NEVER
            self._step(TIMER_G, now)
        if self.state != TERMINATED:
            self._sink.server_armed(self)

    def _step(self, what: str, now: float) -> None:
        row = self._rows[self.state].get(what)
        if row is None:
            return
        if row[0] is not self.state:
            self.state = row[0]
            self._repeat_at = self._state_ends_at = NEVER
        for effect in row[1]:
            effect(self, now)
        if self.state is TERMINATED:
            self._end()

    def _end(self) -> None:
        self.state = TERMINATED
        self._repeat_at = self._state_ends_at = self.due = NEVER
        self._sink.server_ended(self)

    def _ends(self, after: float, by: str, now: float) -> None:
        self._state_ends_at = now + after
        self._state_ends_by = by
        self._sink.server_armed(self)


def send(t: ServerTransaction, now: float) -> None:
    """Send the last response, for the first time or again (nothing if the user has given none yet)."""
    if t._last:
        t._sink.transmit(t.reply_flow, t._last)


def start_g(t: ServerTransaction, now: float) -> None:
    """Repeat the response over UDP after T1, then doubling up to T2 (17.2.1)."""
    if not t.flow.reliable:
        t._interval = t._timers.t1
        t._repeat_at = now + t._interval


def restart_g(t: ServerTransaction, now: float) -> None:
    """Timer G doubles up to T2."""
    t._interval = min(2 * t._interval, t._timers.t2)
    t._repeat_at = now + t._interval


def start_h(t: ServerTransaction, now: float) -> None:
    """Wait 64*T1 for the ACK."""
    t._ends(t._timers.lifetime, TIMER_H, now)


def start_i(t: ServerTransaction, now: float) -> None:
    """Absorb repeated ACKs for T4 (nothing to absorb on a stream)."""
    t._ends(0.0 if t.flow.reliable else t._timers.t4, TIMER_I, now)


def start_j(t: ServerTransaction, now: float) -> None:
    """Answer repeated requests for 64*T1 (nothing to answer on a stream)."""
    t._ends(0.0 if t.flow.reliable else t._timers.lifetime, TIMER_J, now)


def start_l(t: ServerTransaction, now: float) -> None:
    """Absorb repeated INVITEs and pass 2xx for 64*T1, on every transport (RFC 6026 7.1)."""
    t._ends(t._timers.lifetime, TIMER_L, now)


def inform_transport(t: ServerTransaction, now: float) -> None:
    """Tell the user that the transport failed."""
    t._sink.server_failed(t, TRANSPORT_ERROR, now)


def inform_timeout(t: ServerTransaction, now: float) -> None:
    """Tell the user that no ACK came."""
    t._sink.server_failed(t, TIMER_H, now)


Effect = Callable[[ServerTransaction, float], None]
Row = tuple[str, tuple[Effect, ...]]
Table = dict[str, dict[str, Row]]

# RFC 6026 figure 5 (it replaces RFC 3261 figure 7). A 1xx here is 101-199 or the 100 of 17.2.1.
INVITE_SERVER: Final[Table] = {
    PROCEEDING: {
        REQUEST: (PROCEEDING, (send,)),
        SEND_1XX: (PROCEEDING, (send,)),
        SEND_2XX: (ACCEPTED, (send, start_l)),
        SEND_300_699: (COMPLETED, (send, start_g, start_h)),
        TRANSPORT_ERROR: (PROCEEDING, (inform_transport,)),
    },
    COMPLETED: {
        REQUEST: (COMPLETED, (send,)),
        ACK: (CONFIRMED, (start_i,)),
        TIMER_G: (COMPLETED, (send, restart_g)),
        TIMER_H: (TERMINATED, (inform_timeout,)),
        TRANSPORT_ERROR: (COMPLETED, (inform_transport,)),
    },
    CONFIRMED: {
        ACK: (CONFIRMED, ()),
        TIMER_I: (TERMINATED, ()),
    },
    ACCEPTED: {
        REQUEST: (ACCEPTED, ()),
        SEND_2XX: (ACCEPTED, (send,)),
        TIMER_L: (TERMINATED, ()),
        TRANSPORT_ERROR: (ACCEPTED, (inform_transport,)),
    },
    TERMINATED: {},
}

# RFC 3261 figure 8.
NON_INVITE_SERVER: Final[Table] = {
    TRYING: {
        REQUEST: (TRYING, ()),
        SEND_1XX: (PROCEEDING, (send,)),
        SEND_2XX: (COMPLETED, (send, start_j)),
        SEND_300_699: (COMPLETED, (send, start_j)),
    },
    PROCEEDING: {
        REQUEST: (PROCEEDING, (send,)),
        SEND_1XX: (PROCEEDING, (send,)),
        SEND_2XX: (COMPLETED, (send, start_j)),
        SEND_300_699: (COMPLETED, (send, start_j)),
        TRANSPORT_ERROR: (TERMINATED, (inform_transport,)),
    },
    COMPLETED: {
        REQUEST: (COMPLETED, (send,)),
        TIMER_J: (TERMINATED, ()),
        TRANSPORT_ERROR: (TERMINATED, (inform_transport,)),
    },
    TERMINATED: {},
}
