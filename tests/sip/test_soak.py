"""10,000 answered and 10,000 failed calls leave nothing behind (trap 12, issue 3 point 3), on the core without sockets."""

from sip.events import CallEnded, Send
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.phones import Phone, Stage
from tests.sip.test_traps_calls import ack_of

CALLS = 10_000
EACH = 0.05
"""Seconds from one call to the next: 32 s of them are held at a time."""


class Line:
    """Two phones and a core, driven without a playbook: 20,000 calls are too many for a trace."""

    def __init__(self) -> None:
        stage = Stage()
        self.caller, self.callee = stage.registered("A", "100"), stage.registered("D", "101")
        self.core = stage.core
        self.now = 0.0
        self.ended = 0
        self.most = 0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        while (due := self.core.next_deadline()) is not None and due <= self.now:
            self.core.on_deadline(self.now)
        self.take()

    def take(self) -> dict[tuple[str, bytes], Request | Response]:
        """What went out: (phone's letter, method or status) -> message."""
        out: dict[tuple[str, bytes], Request | Response] = {}
        for one in self.core.take():
            if isinstance(one, Send):
                message = parse(one.data)
                letter = "A" if one.flow == self.caller.flow else "D"
                out[letter, message.method if isinstance(message, Request) else b"%d" % message.status] = message
            elif isinstance(one, CallEnded):
                self.ended += 1
        return out

    def send(self, phone: Phone, data: bytes) -> dict[tuple[str, bytes], Request | Response]:
        self.core.receive(data, phone.flow, self.now)
        return self.take()

    def call(self, status: int) -> None:
        caller, callee = self.caller, self.callee
        plain = caller.request(b"INVITE", b"sip:101@gw.test", headers=(b"Contact: <" + caller.contact + b">",))
        challenge = self.send(caller, plain)["A", b"407"]
        assert isinstance(challenge, Response)
        invite = caller.with_credentials(plain, challenge)
        arrived = self.send(caller, invite)["D", b"INVITE"]
        assert isinstance(arrived, Request)
        final = self.send(callee, callee.reply(arrived, status))["A", b"%d" % status]
        assert isinstance(final, Response)
        if status != 200:
            self.send(caller, ack_of(invite, final))
            return
        sent = parse(invite)
        assert isinstance(sent, Request)
        self.send(caller, caller.in_dialog(b"ACK", final, sent))
        bye = self.send(caller, caller.in_dialog(b"BYE", final, sent))["D", b"BYE"]
        assert isinstance(bye, Request)
        assert ("A", b"200") in self.send(callee, callee.reply(bye, 200))


def soak(status: int) -> None:
    line = Line()
    for _ in range(CALLS):
        line.call(status)
        line.pass_time(EACH)
    held = line.core.census()
    assert 0 < held.server_transactions < 3 * 32 / EACH
    line.pass_time(40.0)
    left = line.core.census()
    assert (left.server_transactions, left.client_transactions, left.calls, left.parked) == (0, 0, 0, 0)
    assert line.ended == CALLS
    line.pass_time(600.0)
    assert len(line.core._deadlines) == line.core.census().aors


def test_nothing_is_left_of_10000_answered_calls() -> None:
    soak(200)


def test_nothing_is_left_of_10000_refused_calls() -> None:
    soak(486)
