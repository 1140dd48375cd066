"""One line per row of the four transaction tables, read off the figures: RFC 6026 figures 4 and 5, RFC 3261 figures 6 and 8.

A line is (path of inputs from the start, input, next state, what is done). Over UDP, T1 = 0.5 s, T2 = 4 s, T4 = 5 s.
What is done: "send" bytes go out, "ack" an ACK goes out, "tu" the response goes to the transaction user, "error X" the user
is told of X; then the seconds until the next timer that the figure starts or restarts.
"""

from typing import Any

import pytest

from sip import client_transaction as client
from sip import server_transaction as server
from sip.client_transaction import INVITE_CLIENT, NON_INVITE_CLIENT, ClientTransaction
from sip.flow import Flow
from sip.message import Request, Response
from sip.parser import parse
from sip.responses import make_response
from sip.server_transaction import INVITE_SERVER, NON_INVITE_SERVER, ServerTransaction
from sip.timers import NEVER, Timers

TIMERS = Timers()
UDP_FLOW = Flow("udp", "5060", "198.51.100.7", 5060)
TCP_FLOW = Flow("tcp", "1", "198.51.100.7", 40000)


class Sink:
    """Writes down what a transaction does."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.ended = False

    def transmit(self, flow: Flow, data: bytes) -> None:
        self.done.append("ack" if data.startswith(b"ACK ") else "send")

    def server_armed(self, transaction: ServerTransaction) -> None: ...

    def client_armed(self, transaction: ClientTransaction) -> None: ...

    def server_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        self.done.append(f"error {why}")

    def client_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        self.done.append(f"error {why}")

    def client_answered(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        self.done.append("tu")

    def server_ended(self, transaction: ServerTransaction) -> None:
        self.ended = True

    def client_ended(self, transaction: ClientTransaction) -> None:
        self.ended = True


def request(method: str) -> Request:
    parsed = parse(
        f"{method} sip:101@gw.test SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKx\r\nFrom: <sip:a@gw.test>;tag=1\r\n"
        f"To: <sip:101@gw.test>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(parsed, Request)
    return parsed


class ServerUnderTest:
    """A server transaction with its inputs by the figures' names. Timers fire at their own time."""

    def __init__(self, invite: bool, flow: Flow) -> None:
        self.sink = Sink()
        self.now = 100.0
        self.transaction: Any = ServerTransaction(
            b"k", request("INVITE" if invite else "INFO"), flow, flow, self.sink, TIMERS, invite
        )

    def feed(self, what: str) -> None:
        transaction = self.transaction
        if what.startswith("Timer"):
            self.now = transaction.wants()
            assert self.now != NEVER, f"{what} does not run"
            transaction.fire(self.now)
        elif what == server.REQUEST:
            transaction.repeated(self.now)
        elif what == server.ACK:
            transaction.acknowledged(self.now)
        elif what == server.TRANSPORT_ERROR:
            transaction.failed(self.now)
        else:
            status = {server.SEND_1XX: 180, server.SEND_2XX: 200, server.SEND_300_699: 486}[what]
            transaction.answer(status, b"SIP/2.0 %d" % status, self.now)


class ClientUnderTest:
    """A client transaction with its inputs by the figures' names."""

    def __init__(self, invite: bool, flow: Flow) -> None:
        self.sink = Sink()
        self.now = 100.0
        self.request = request("INVITE" if invite else "INFO")
        self.transaction: Any = ClientTransaction(b"k", self.request, flow, self.sink, TIMERS, None, invite)
        self.transaction.start(self.request.to_bytes(), self.now)
        assert self.sink.done == ["send"]

    def feed(self, what: str) -> None:
        transaction = self.transaction
        if what.startswith("Timer"):
            self.now = transaction.wants()
            assert self.now != NEVER, f"{what} does not run"
            transaction.fire(self.now)
        elif what == client.TRANSPORT_ERROR:
            transaction.failed(self.now)
        else:
            status = {client.GOT_1XX: 180, client.GOT_2XX: 200, client.GOT_300_699: 486}[what]
            transaction.answered(make_response(self.request, status, to_tag=b"t"), self.now)


X = "transport error"
ALL_B = ["Timer A"] * 6  # 0.5 + 1 + 2 + 4 + 8 + 16 s, then B at 32 s
ALL_F = ["Timer E"] * 10  # 0.5 + 1 + 2 + 4 ... s, then F at 32 s
ALL_F_SLOW = ["Timer E"] * 8
ALL_H = ["Timer G"] * 10

# RFC 6026 figure 5. Path, input, next state, done, seconds to the next timer.
INVITE_SERVER_ROWS = [
    (["1xx from TU"], "request", "Proceeding", ["send"], None),
    ([], "1xx from TU", "Proceeding", ["send"], None),
    ([], "2xx from TU", "Accepted", ["send"], 32.0),
    ([], "300-699 from TU", "Completed", ["send"], 0.5),
    ([], X, "Proceeding", [f"error {X}"], None),
    (["300-699 from TU"], "request", "Completed", ["send"], 0.5),
    (["300-699 from TU"], "ACK", "Confirmed", [], 5.0),
    (["300-699 from TU"], "Timer G", "Completed", ["send"], 1.0),
    (["300-699 from TU", *ALL_H], "Timer H", "Terminated", ["error Timer H"], None),
    (["300-699 from TU"], X, "Completed", [f"error {X}"], 0.5),
    (["300-699 from TU", "ACK"], "ACK", "Confirmed", [], 5.0),
    (["300-699 from TU", "ACK"], "Timer I", "Terminated", [], None),
    (["2xx from TU"], "request", "Accepted", [], 32.0),
    (["2xx from TU"], "2xx from TU", "Accepted", ["send"], 32.0),
    (["2xx from TU"], "Timer L", "Terminated", [], None),
    (["2xx from TU"], X, "Accepted", [f"error {X}"], 32.0),
]

# RFC 3261 figure 8.
NON_INVITE_SERVER_ROWS = [
    ([], "request", "Trying", [], None),
    ([], "1xx from TU", "Proceeding", ["send"], None),
    ([], "2xx from TU", "Completed", ["send"], 32.0),
    ([], "300-699 from TU", "Completed", ["send"], 32.0),
    (["1xx from TU"], "request", "Proceeding", ["send"], None),
    (["1xx from TU"], "1xx from TU", "Proceeding", ["send"], None),
    (["1xx from TU"], "2xx from TU", "Completed", ["send"], 32.0),
    (["1xx from TU"], "300-699 from TU", "Completed", ["send"], 32.0),
    (["1xx from TU"], X, "Terminated", [f"error {X}"], None),
    (["2xx from TU"], "request", "Completed", ["send"], 32.0),
    (["2xx from TU"], "Timer J", "Terminated", [], None),
    (["2xx from TU"], X, "Terminated", [f"error {X}"], None),
]

# RFC 6026 figure 4, and the transport error in Proceeding that client_transaction.py adds.
INVITE_CLIENT_ROWS = [
    ([], "Timer A", "Calling", ["send"], 1.0),
    (ALL_B, "Timer B", "Terminated", ["error Timer B"], None),
    ([], X, "Terminated", [f"error {X}"], None),
    ([], "1xx", "Proceeding", ["tu"], None),
    ([], "2xx", "Accepted", ["tu"], 32.0),
    ([], "300-699", "Completed", ["ack", "tu"], 32.0),
    (["1xx"], "1xx", "Proceeding", ["tu"], None),
    (["1xx"], "2xx", "Accepted", ["tu"], 32.0),
    (["1xx"], "300-699", "Completed", ["ack", "tu"], 32.0),
    (["1xx"], X, "Terminated", [f"error {X}"], None),
    (["300-699"], "300-699", "Completed", ["ack"], 32.0),
    (["300-699"], X, "Terminated", [f"error {X}"], None),
    (["300-699"], "Timer D", "Terminated", [], None),
    (["2xx"], "2xx", "Accepted", ["tu"], 32.0),
    (["2xx"], "Timer M", "Terminated", [], None),
]

# RFC 3261 figure 6.
NON_INVITE_CLIENT_ROWS = [
    ([], "Timer E", "Trying", ["send"], 1.0),
    (ALL_F, "Timer F", "Terminated", ["error Timer F"], None),
    ([], X, "Terminated", [f"error {X}"], None),
    ([], "1xx", "Proceeding", ["tu"], 4.0),
    ([], "2xx", "Completed", ["tu"], 5.0),
    ([], "300-699", "Completed", ["tu"], 5.0),
    (["1xx"], "Timer E", "Proceeding", ["send"], 4.0),
    (["1xx", *ALL_F_SLOW[:7]], "Timer F", "Terminated", ["error Timer F"], None),
    (["1xx"], X, "Terminated", [f"error {X}"], None),
    (["1xx"], "1xx", "Proceeding", ["tu"], 4.0),
    (["1xx"], "2xx", "Completed", ["tu"], 5.0),
    (["1xx"], "300-699", "Completed", ["tu"], 5.0),
    (["2xx"], "Timer K", "Terminated", [], None),
]

MACHINES = [
    ("INVITE server", ServerUnderTest, True, INVITE_SERVER, INVITE_SERVER_ROWS),
    ("non-INVITE server", ServerUnderTest, False, NON_INVITE_SERVER, NON_INVITE_SERVER_ROWS),
    ("INVITE client", ClientUnderTest, True, INVITE_CLIENT, INVITE_CLIENT_ROWS),
    ("non-INVITE client", ClientUnderTest, False, NON_INVITE_CLIENT, NON_INVITE_CLIENT_ROWS),
]
LINES = [(name, make, invite, *row) for name, make, invite, _, rows in MACHINES for row in rows]


@pytest.mark.parametrize(
    ("name", "make", "invite", "path", "what", "state", "done", "timer"), LINES, ids=lambda value: str(value)[:30]
)
def test_row(
    name: str, make: Any, invite: bool, path: list[str], what: str, state: str, done: list[str], timer: float | None
) -> None:
    machine = make(invite, UDP_FLOW)
    for step in path:
        machine.feed(step)
    machine.sink.done.clear()
    machine.feed(what)
    assert machine.transaction.state == state
    assert machine.sink.done == done
    assert machine.sink.ended == (state == "Terminated")
    wants = machine.transaction.wants()
    assert (None if wants == NEVER else pytest.approx(wants - machine.now)) == timer


@pytest.mark.parametrize(("name", "table", "rows"), [(name, table, rows) for name, _, _, table, rows in MACHINES])
def test_every_row_of_the_table_has_a_line(name: str, table: dict[str, dict[str, Any]], rows: list[Any]) -> None:
    in_table = sum(len(inputs) for inputs in table.values())
    assert in_table == len(rows)
    assert len({(str(path), what) for path, what, *_ in rows}) == len(rows)


@pytest.mark.parametrize(
    ("make", "invite", "path", "state"),
    [
        (ServerUnderTest, True, ["300-699 from TU", "ACK", "Timer I"], "Terminated"),
        (ServerUnderTest, False, ["2xx from TU", "Timer J"], "Terminated"),
        (ClientUnderTest, True, ["300-699", "Timer D"], "Terminated"),
        (ClientUnderTest, False, ["2xx", "Timer K"], "Terminated"),
    ],
)
def test_a_stream_needs_no_wait_for_repeats(make: Any, invite: bool, path: list[str], state: str) -> None:
    """Timers D, I, J and K are zero on a reliable transport (RFC 3261 table 4)."""
    machine = make(invite, TCP_FLOW)
    for step in path:
        machine.feed(step)
    assert machine.transaction.state == state
    assert machine.now == 100.0


def test_nothing_is_repeated_on_a_stream() -> None:
    for machine in (ClientUnderTest(True, TCP_FLOW), ClientUnderTest(False, TCP_FLOW)):
        assert machine.transaction.wants() == 132.0
    answered = ServerUnderTest(True, TCP_FLOW)
    answered.feed("300-699 from TU")
    assert answered.transaction.wants() == 132.0


def times_of(machine: Any, letter: str) -> list[float]:
    """When the repeating timer fires, counted from the start, until the other one ends it."""
    found = []
    while machine.transaction.state != "Terminated":
        machine.now = machine.transaction.wants()
        machine.sink.done.clear()
        machine.transaction.fire(machine.now)
        if "send" in machine.sink.done:
            found.append(machine.now - 100.0)
    assert machine.now == 132.0, letter
    return found


def test_intervals_of_a_double_without_a_bound() -> None:
    assert times_of(ClientUnderTest(True, UDP_FLOW), "A") == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]


def test_intervals_of_e_and_g_double_up_to_t2() -> None:
    expected = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert times_of(ClientUnderTest(False, UDP_FLOW), "E") == expected
    answered = ServerUnderTest(True, UDP_FLOW)
    answered.feed("300-699 from TU")
    assert times_of(answered, "G") == expected


def test_a_final_response_is_given_once() -> None:
    """After a final, further finals of another class are not sent: the table has no row for them."""
    machine = ServerUnderTest(True, UDP_FLOW)
    machine.feed("300-699 from TU")
    assert machine.transaction.answer(200, b"SIP/2.0 200", machine.now) is False
    machine = ServerUnderTest(False, UDP_FLOW)
    machine.feed("2xx from TU")
    assert machine.transaction.answer(486, b"SIP/2.0 486", machine.now) is False


def test_the_ack_of_a_failure_is_made_of_the_invite() -> None:
    """RFC 3261 17.1.1.3: same Request-URI, Call-ID, From and top Via, To of the response, CSeq number with ACK."""
    invite = request("INVITE")
    invite.append(b"route", b"<sip:next.test;lr>")
    ack = parse(client.ack_for(invite, make_response(invite, 486, to_tag=b"their-tag")))
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri, ack.call_id, ack.cseq) == (b"ACK", invite.uri, b"c", (7, b"ACK"))
    assert (ack.branch, ack.from_tag, ack.to_tag, ack.all(b"route")) == (b"z9hG4bKx", b"1", b"their-tag", [b"<sip:next.test;lr>"])
