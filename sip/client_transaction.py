"""Client transactions: RFC 3261 section 17.1 (figures 5 and 6) with RFC 6026 (Accepted state, Timer M).

Rules of this file:
1. Everything that changes `state` is a row of a table below. A row is (state, input) -> (next state, effects).
2. An input without a row does nothing: that is how repeated finals are absorbed.
3. Effects run after the state has changed, in order. They talk to the world through `sink` only.
4. At most two timers run at once: one that repeats (A, E) and one that ends a state (B, D, F, K, M).

Beyond the figures: a transport error in Proceeding of an INVITE ends it. The figures leave that to Timer C; since RFC 5626
a stream that carried the INVITE can be known to be gone (430 Flow Failed) long before.
`abandon` ends an INVITE that was cancelled and stayed unanswered for 64*T1 (9.1).
"""

from collections.abc import Callable
from typing import Final, Protocol

from sip.deadlines import Timed
from sip.flow import Flow
from sip.message import Request, Response
from sip.timers import NEVER, Timers

CALLING: Final = "Calling"
TRYING: Final = "Trying"
PROCEEDING: Final = "Proceeding"
COMPLETED: Final = "Completed"
ACCEPTED: Final = "Accepted"
TERMINATED: Final = "Terminated"

GOT_1XX: Final = "1xx"
GOT_2XX: Final = "2xx"
GOT_300_699: Final = "300-699"
TIMER_A: Final = "Timer A"
TIMER_B: Final = "Timer B"
TIMER_D: Final = "Timer D"
TIMER_E: Final = "Timer E"
TIMER_F: Final = "Timer F"
TIMER_K: Final = "Timer K"
TIMER_M: Final = "Timer M"
TRANSPORT_ERROR: Final = "transport error"


class ClientSink(Protocol):
    """Where a client transaction's effects go: the transaction layer."""

    def transmit(self, flow: Flow, data: bytes) -> None:
        """Put bytes on the flow."""
        ...

    def client_armed(self, transaction: "ClientTransaction") -> None:
        """Its timers changed: `transaction.wants()` is the next one."""
        ...

    def client_answered(self, transaction: "ClientTransaction", response: Response, now: float) -> None:
        """Give the response to the transaction user."""
        ...

    def client_failed(self, transaction: "ClientTransaction", why: str, now: float) -> None:
        """Tell the transaction user: no final response came in time, or the transport failed."""
        ...

    def client_ended(self, transaction: "ClientTransaction") -> None:
        """It is Terminated: forget it."""
        ...


class ClientTransaction(Timed):
    """One client transaction; `user` is whatever the transaction user wants to find again with its responses."""

    __slots__ = (
        "_ack",
        "_data",
        "_interval",
        "_repeat_at",
        "_response",
        "_rows",
        "_sink",
        "_state_ends_at",
        "_state_ends_by",
        "_timers",
        "flow",
        "key",
        "request",
        "state",
        "user",
    )

    def __init__(
        self, key: bytes, request: Request, flow: Flow, sink: ClientSink, timers: Timers, user: object, invite: bool
    ) -> None:
        super().__init__()
        self.key = key
        self.request = request
        self.flow = flow
        self.user = user
        self._rows = INVITE_CLIENT if invite else NON_INVITE_CLIENT
        self.state = CALLING if invite else TRYING
        self._sink = sink
        self._timers = timers
        self._data = b""
        self._ack = b""
        self._response: Response | None = None
        self._interval = timers.t1
        self._repeat_at = NEVER
        self._state_ends_at = NEVER
        self._state_ends_by = ""

    @property
    def is_invite(self) -> bool:
        """Whether this is an INVITE client transaction."""
        return self._rows is INVITE_CLIENT

    def start(self, data: bytes, now: float) -> None:
        """Send the request (`data` is its bytes) and start timers A and B, or E and F (17.1.1.2, 17.1.2.2)."""
        self._data = data
        self._sink.transmit(self.flow, self._data)
        if not self.flow.reliable:
            self._repeat_at = now + self._interval
        self._ends(self._timers.lifetime, TIMER_B if self._rows is INVITE_CLIENT else TIMER_F, now)

    def answered(self, response: Response, now: float) -> None:
        """A response that matches this transaction came."""
        self._response = response
        status = response.status
        self._step(GOT_1XX if status < 200 else GOT_2XX if status < 300 else GOT_300_699, now)
        self._response = None

    def failed(self, now: float) -> None:
        """The transport could not send, or the flow is gone."""
        self._step(TRANSPORT_ERROR, now)

    def repeat(self) -> None:
        """Send the request once more now, where it is still repeated anyway: its peer has just shown that it hears again."""
        if self._repeat_at != NEVER:
            self._sink.transmit(self.flow, self._data)

    def abandon(self) -> None:
        """The user wants no answer any more: forget the transaction."""
        if self.state is not TERMINATED:
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
            self._step(TIMER_A if self._rows is INVITE_CLIENT else TIMER_E, now)
        if self.state != TERMINATED:
            self._sink.client_armed(self)

    def _step(self, what: str, now: float) -> None:
        row = self._rows[self.state].get(what)
        if row is None:
            return
        self.state = row[0]
        for effect in row[1]:
            effect(self, now)
        if row[0] is TERMINATED:
            self._end()

    def _end(self) -> None:
        self.state = TERMINATED
        self._repeat_at = self._state_ends_at = self.due = NEVER
        self._sink.client_ended(self)

    def _ends(self, after: float, by: str, now: float) -> None:
        self._state_ends_at = now + after
        self._state_ends_by = by
        self._sink.client_armed(self)


def send(t: ClientTransaction, now: float) -> None:
    """Send the request again."""
    t._sink.transmit(t.flow, t._data)


def restart_a(t: ClientTransaction, now: float) -> None:
    """Timer A doubles (17.1.1.2)."""
    t._interval *= 2
    t._repeat_at = now + t._interval


def restart_e(t: ClientTransaction, now: float) -> None:
    """Timer E doubles up to T2 (17.1.2.2)."""
    t._interval = min(2 * t._interval, t._timers.t2)
    t._repeat_at = now + t._interval


def slow_e(t: ClientTransaction, now: float) -> None:
    """In Proceeding, Timer E is T2 (17.1.2.2)."""
    t._interval = t._timers.t2
    t._repeat_at = now + t._interval


def stop_repeats(t: ClientTransaction, now: float) -> None:
    """The peer has the request: no more repeats. An INVITE then also waits without limit (Timer C is the proxy's)."""
    t._repeat_at = NEVER
    t._state_ends_at = NEVER


def to_user(t: ClientTransaction, now: float) -> None:
    """Give the response to the user."""
    if t._response is not None:
        t._sink.client_answered(t, t._response, now)


def ack(t: ClientTransaction, now: float) -> None:
    """Acknowledge a non-2xx final hop by hop (17.1.1.3)."""
    if not t._ack and t._response is not None:
        t._ack = ack_for(t.request, t._response)
    t._sink.transmit(t.flow, t._ack)


def start_d(t: ClientTransaction, now: float) -> None:
    """Acknowledge repeated finals for 32 s (none come on a stream)."""
    t._repeat_at = NEVER
    t._ends(0.0 if t.flow.reliable else t._timers.d, TIMER_D, now)


def start_k(t: ClientTransaction, now: float) -> None:
    """Absorb repeated finals for T4 (none come on a stream)."""
    t._repeat_at = NEVER
    t._ends(0.0 if t.flow.reliable else t._timers.t4, TIMER_K, now)


def start_m(t: ClientTransaction, now: float) -> None:
    """Pass repeated and further 2xx for 64*T1 (RFC 6026 7.2)."""
    t._repeat_at = NEVER
    t._ends(t._timers.lifetime, TIMER_M, now)


def inform_timeout(t: ClientTransaction, now: float) -> None:
    """Tell the user that no final response came."""
    t._sink.client_failed(t, TIMER_B if t._rows is INVITE_CLIENT else TIMER_F, now)


def inform_transport(t: ClientTransaction, now: float) -> None:
    """Tell the user that the transport failed."""
    t._sink.client_failed(t, TRANSPORT_ERROR, now)


def ack_for(invite: Request, response: Response) -> bytes:
    """The ACK that ends the INVITE transaction after a non-2xx final (17.1.1.3): same Request-URI, Call-ID, From, top Via and
    Route as the INVITE, To of the response."""
    number = invite.cseq[0]
    lines = [b"ACK " + invite.uri + b" SIP/2.0", b"Via: " + invite.all(b"via")[0], b"Max-Forwards: 70"]
    lines += [b"Route: " + route for route in invite.all(b"route")]
    lines.append(b"From: " + (invite.get(b"from") or b""))
    lines.append(b"To: " + (response.get(b"to") or b""))
    lines.append(b"Call-ID: " + invite.call_id)
    lines.append(b"CSeq: %d ACK" % number)
    lines.append(b"Content-Length: 0\r\n\r\n")
    return b"\r\n".join(lines)


Effect = Callable[[ClientTransaction, float], None]
Row = tuple[str, tuple[Effect, ...]]
Table = dict[str, dict[str, Row]]

# RFC 6026 figure 4 (it replaces RFC 3261 figure 5).
INVITE_CLIENT: Final[Table] = {
    CALLING: {
        TIMER_A: (CALLING, (send, restart_a)),
        TIMER_B: (TERMINATED, (inform_timeout,)),
        TRANSPORT_ERROR: (TERMINATED, (inform_transport,)),
        GOT_1XX: (PROCEEDING, (stop_repeats, to_user)),
        GOT_2XX: (ACCEPTED, (start_m, to_user)),
        GOT_300_699: (COMPLETED, (start_d, ack, to_user)),
    },
    PROCEEDING: {
        GOT_1XX: (PROCEEDING, (to_user,)),
        GOT_2XX: (ACCEPTED, (start_m, to_user)),
        GOT_300_699: (COMPLETED, (start_d, ack, to_user)),
        TRANSPORT_ERROR: (TERMINATED, (inform_transport,)),
    },
    COMPLETED: {
        GOT_300_699: (COMPLETED, (ack,)),
        TRANSPORT_ERROR: (TERMINATED, (inform_transport,)),
        TIMER_D: (TERMINATED, ()),
    },
    ACCEPTED: {
        GOT_2XX: (ACCEPTED, (to_user,)),
        TIMER_M: (TERMINATED, ()),
    },
    TERMINATED: {},
}

# RFC 3261 figure 6.
NON_INVITE_CLIENT: Final[Table] = {
    TRYING: {
        TIMER_E: (TRYING, (send, restart_e)),
        TIMER_F: (TERMINATED, (inform_timeout,)),
        TRANSPORT_ERROR: (TERMINATED, (inform_transport,)),
        GOT_1XX: (PROCEEDING, (slow_e, to_user)),
        GOT_2XX: (COMPLETED, (start_k, to_user)),
        GOT_300_699: (COMPLETED, (start_k, to_user)),
    },
    PROCEEDING: {
        TIMER_E: (PROCEEDING, (send, slow_e)),
        TIMER_F: (TERMINATED, (inform_timeout,)),
        TRANSPORT_ERROR: (TERMINATED, (inform_transport,)),
        GOT_1XX: (PROCEEDING, (to_user,)),
        GOT_2XX: (COMPLETED, (start_k, to_user)),
        GOT_300_699: (COMPLETED, (start_k, to_user)),
    },
    COMPLETED: {
        TIMER_K: (TERMINATED, ()),
    },
    TERMINATED: {},
}
