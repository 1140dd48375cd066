"""Calls, core to core over a simulated wire: who sends what when, and what each device is told."""

from itertools import pairwise

import pytest

from simulators.agent_events import FAILED, LOCAL, REMOTE, Answered, DtmfReceived, DtmfSent, Ended, IncomingCall, Ringing
from simulators.user_agent import UserAgent
from sip.message import Request, Response
from sip.parser import parse
from tests.simulators.wire import Address, Wire, counted_entropy

ALICE: Address = ("192.0.2.1", 5060)
BOB: Address = ("192.0.2.2", 5062)


class Pair:
    """Two devices that are each other's server."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.alice = self.wire.agent("alice", BOB, ALICE)
        self.bob = self.wire.agent("bob", ALICE, BOB)

    @property
    def at_alice(self) -> list[object]:
        return list(self.wire.events[ALICE])

    @property
    def at_bob(self) -> list[object]:
        return list(self.wire.events[BOB])

    def ring(self) -> str:
        call = self.alice.dial("bob", self.wire.now)
        self.wire.run(0.1)
        return call

    def talk(self) -> str:
        call = self.ring()
        self.bob.answer(call, self.wire.now)
        self.wire.run(0.1)
        return call

    def settle(self) -> None:
        """Everything that can still be repeated has been."""
        self.wire.run(200)
        for agent in (self.alice, self.bob):
            assert not agent.busy
            assert agent.next_deadline() is None


def test_the_main_job_ring_answer_code_hang_up() -> None:
    pair = Pair()
    call = pair.talk()
    pair.bob.press(call, "12#", pair.wire.now)
    pair.wire.run(0.2)
    pair.bob.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.at_alice == [
        Ringing(call),
        Answered(call),
        DtmfReceived(call, "bob", "1"),
        DtmfReceived(call, "bob", "2"),
        DtmfReceived(call, "bob", "#"),
        Ended(call, REMOTE, 200, "BYE"),
    ]
    assert pair.at_bob == [
        IncomingCall(call, "alice", "Alice"),
        Answered(call),
        DtmfSent(call, "1", 200),
        DtmfSent(call, "2", 200),
        DtmfSent(call, "#", 200),
        Ended(call, LOCAL, 200, ""),
    ]
    assert pair.wire.summary() == ["INVITE", "180", "200", "ACK", "INFO", "200", "INFO", "200", "INFO", "200", "BYE", "200"]


def test_the_caller_hangs_up() -> None:
    pair = Pair()
    call = pair.talk()
    pair.alice.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.at_alice[-1] == Ended(call, LOCAL, 200, "")
    assert pair.at_bob[-1] == Ended(call, REMOTE, 200, "BYE")


def test_the_caller_gives_up_while_it_rings() -> None:
    pair = Pair()
    call = pair.ring()
    pair.alice.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.wire.summary() == ["INVITE", "180", "CANCEL", "200", "487", "ACK"]
    assert pair.at_alice == [Ringing(call), Ended(call, LOCAL, 487, "Request Terminated")]
    assert pair.at_bob[-1] == Ended(call, REMOTE, 487, "the caller gave up")
    invite, cancel = (m for m in pair.wire.messages(ALICE) if isinstance(m, Request) and m.method in (b"INVITE", b"CANCEL"))
    assert (cancel.uri, cancel.get(b"via"), cancel.get(b"to")) == (invite.uri, invite.get(b"via"), invite.get(b"to"))
    assert cancel.cseq == (invite.cseq[0], b"CANCEL")


def test_no_cancel_before_a_provisional_came() -> None:
    pair = Pair()
    pair.wire.lose = lambda source, _target, _data: source == BOB and pair.wire.now < 1003
    call = pair.alice.dial("bob", pair.wire.now)
    pair.wire.run(0.005)
    pair.alice.hang_up(call, pair.wire.now)
    pair.wire.run(2.9)
    assert "CANCEL" not in pair.wire.summary(ALICE)
    pair.settle()
    assert "CANCEL" in pair.wire.summary(ALICE)
    assert pair.at_alice == [Ended(call, LOCAL, 487, "Request Terminated")]


def test_a_200_that_crosses_the_cancel_is_acknowledged_and_ended() -> None:
    pair = Pair()
    call = pair.ring()
    pair.bob.answer(call, pair.wire.now)
    pair.alice.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.wire.summary(ALICE) == ["INVITE", "CANCEL", "ACK", "BYE"]
    assert pair.at_alice == [Ringing(call), Ended(call, LOCAL, 200, "")]
    assert pair.at_bob[-1] == Ended(call, REMOTE, 200, "BYE")


@pytest.mark.parametrize("status", [486, 603])
def test_the_called_side_declines(status: int) -> None:
    pair = Pair()
    call = pair.ring()
    pair.bob.reject(call, pair.wire.now, status)
    pair.settle()
    assert pair.wire.summary() == ["INVITE", "180", str(status), "ACK"]
    assert isinstance(pair.at_alice[-1], Ended)
    assert (pair.at_alice[-1].by, pair.at_alice[-1].status) == (FAILED, status)
    assert pair.at_bob[-1] == Ended(call, LOCAL, status, "rejected here")


def test_hanging_up_a_call_that_rings_here_declines_it() -> None:
    pair = Pair()
    call = pair.ring()
    pair.bob.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.wire.summary() == ["INVITE", "180", "603", "ACK"]


def test_a_busy_device_answers_486() -> None:
    pair = Pair()
    call = pair.talk()
    second = pair.alice.dial("bob", pair.wire.now)
    pair.wire.run(0.1)
    assert Ended(second, FAILED, 486, "Busy Here") in pair.at_alice
    pair.bob.hang_up(call, pair.wire.now)
    pair.settle()


def test_nobody_answers_for_a_minute() -> None:
    pair = Pair()
    call = pair.ring()
    pair.settle()
    assert [type(event) for event in pair.at_bob] == [IncomingCall, Ended]
    assert pair.at_alice[0] == Ringing(call)
    assert isinstance(pair.at_alice[-1], Ended)
    assert pair.at_alice[-1].by == FAILED
    assert pair.at_alice[-1].status in (480, 487)


def test_nobody_is_there_at_all() -> None:
    pair = Pair()
    del pair.wire.nodes[BOB]
    call = pair.alice.dial("bob", pair.wire.now)
    pair.wire.run(100)
    assert pair.at_alice == [Ended(call, FAILED, 408, "no answer")]
    # Timer A: 0.5, 1, 2, 4, 8, 16 s after the first one (RFC 3261 17.1.1.2).
    times = [round(at - 1000, 1) for at, _, _, _ in pair.wire.passed]
    assert times == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]


def test_the_called_side_vanishes_after_it_rang_and_was_cancelled() -> None:
    pair = Pair()
    call = pair.ring()
    del pair.wire.nodes[BOB]
    pair.alice.hang_up(call, pair.wire.now)
    pair.wire.run(31)
    assert pair.alice.busy
    pair.wire.run(2)
    assert pair.at_alice[-1] == Ended(call, LOCAL, 408, "no answer to CANCEL")
    pair.wire.run(100)
    assert pair.alice.next_deadline() is None


def test_a_lost_ack_is_sent_again_for_each_repeated_200() -> None:
    pair = Pair()
    call = pair.ring()
    lost = 0

    def lose(_source: Address, _target: Address, data: bytes) -> bool:
        nonlocal lost
        lost += data.startswith(b"ACK")
        return data.startswith(b"ACK") and lost <= 3

    pair.wire.lose = lose
    pair.bob.answer(call, pair.wire.now)
    pair.wire.run(10)
    assert pair.at_bob[-1] == Answered(call)
    assert pair.wire.summary(BOB) == ["180", "200", "200", "200", "200"]
    # 13.3.1.4: the 200 is repeated after T1, doubling.
    sent = [at for at, source, _, data in pair.wire.passed if source == BOB and data.startswith(b"SIP/2.0 200")]
    assert [round(later - earlier, 1) for earlier, later in pairwise(sent)] == [0.5, 1.0, 2.0]
    acks = [m for m in pair.wire.messages(ALICE) if isinstance(m, Request) and m.method == b"ACK"]
    assert len(acks) == 4
    pair.bob.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.at_alice.count(Answered(call)) == 1


def test_a_200_that_nobody_acknowledges_ends_in_bye() -> None:
    pair = Pair()
    call = pair.ring()
    pair.wire.lose = lambda _source, _target, data: data.startswith(b"ACK")
    pair.bob.answer(call, pair.wire.now)
    pair.settle()
    assert pair.at_bob[-1] == Ended(call, FAILED, 408, "no ACK")
    assert pair.at_alice[-1] == Ended(call, REMOTE, 200, "BYE")


def test_hanging_up_before_the_ack_waits_for_it() -> None:
    pair = Pair()
    call = pair.ring()
    pair.bob.answer(call, pair.wire.now)
    pair.bob.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.wire.summary() == ["INVITE", "180", "200", "ACK", "BYE", "200"]
    assert pair.at_bob[-1] == Ended(call, LOCAL, 200, "")


@pytest.mark.parametrize("seed", range(20))
def test_a_third_of_the_datagrams_lost_and_the_call_still_works(seed: int) -> None:
    pair = Pair()
    chance = counted_entropy(f"loss {seed}")
    pair.wire.lose = lambda _source, _target, _data: chance(1)[0] < 85
    call = pair.alice.dial("bob", pair.wire.now)
    pair.wire.run(15)
    pair.bob.answer(call, pair.wire.now)
    pair.wire.run(15)
    pair.bob.press(call, "#", pair.wire.now)
    pair.wire.run(15)
    assert [e for e in pair.at_alice if isinstance(e, DtmfReceived)] == [DtmfReceived(call, "bob", "#")]
    pair.alice.hang_up(call, pair.wire.now)
    pair.settle()
    assert pair.at_alice.count(Answered(call)) == pair.at_bob.count(Answered(call)) == 1
    assert pair.at_alice[-1] == Ended(call, LOCAL, 200, "")


def test_both_hang_up_at_once() -> None:
    pair = Pair()
    call = pair.talk()
    pair.alice.hang_up(call, pair.wire.now)
    pair.bob.hang_up(call, pair.wire.now)
    pair.settle()
    assert sum(isinstance(event, Ended) for event in pair.at_alice) == 1
    assert sum(isinstance(event, Ended) for event in pair.at_bob) == 1


def test_keys_are_refused_early_and_ignored_outside_a_call() -> None:
    pair = Pair()
    call = pair.ring()
    with pytest.raises(ValueError, match="DTMF"):
        pair.bob.press(call, "1x", pair.wire.now)
    pair.bob.press(call, "1", pair.wire.now)
    pair.bob.press("nobody's call", "1", pair.wire.now)
    pair.wire.run(0.1)
    assert "INFO" not in pair.wire.summary()


@pytest.mark.parametrize("number", ["", "a b", "1@2", "ü", "1\r\nX: y", "<1>", "1>"])
def test_what_cannot_be_dialled_is_refused(number: str) -> None:
    pair = Pair()
    with pytest.raises(ValueError, match="not a number"):
        pair.alice.dial(number, pair.wire.now)
    pair.wire.run(1)
    assert pair.wire.passed == []


def test_datagrams_from_strangers_are_dropped() -> None:
    pair = Pair()
    pair.alice.dial("bob", pair.wire.now)
    pair.wire.run(0.1)
    invite = next(data for _, source, _, data in pair.wire.passed if source == ALICE)
    stranger = pair.wire.agent("carol", ALICE, ("192.0.2.3", 5060))
    stranger.receive(invite, BOB, pair.wire.now)
    assert stranger.dropped == 1
    assert stranger.take() == []


@pytest.mark.parametrize(
    "noise", [b"\x00" * 40, b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe", b"INVITE sip:bob@192.0.2.2 SIP/2.0\r\n\r\n"]
)
def test_noise_is_dropped_and_counted(noise: bytes) -> None:
    pair = Pair()
    pair.bob.receive(noise, ALICE, pair.wire.now)
    assert pair.bob.dropped == 1
    assert not pair.bob.busy


def test_the_gateways_keep_alive_is_not_noise() -> None:
    pair = Pair()
    pair.bob.receive(b"\r\n", ALICE, pair.wire.now)
    pair.bob.receive(b"\r\n\r\n", ALICE, pair.wire.now)
    assert pair.bob.dropped == 0


def request_to(agent: UserAgent, text: str, now: float) -> list[Response]:
    """What a device answers to a request written out in the test."""
    head, _, body = text.strip().partition("\n\n")
    lines = [*head.split("\n"), f"Content-Length: {len(body)}", "", body]
    agent.receive("\r\n".join(lines).encode(), ALICE, now)
    answers = [parse(output.data) for output in agent.take() if hasattr(output, "data")]
    assert all(isinstance(answer, Response) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Response)]


def outside_dialog(method: str, to: str = "<sip:bob@192.0.2.2>", extra: str = "") -> str:
    return f"""{method} sip:bob@192.0.2.2:5062 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-{method}
Max-Forwards: 70
From: <sip:alice@192.0.2.1>;tag=1
To: {to}
Call-ID: strange
CSeq: 1 {method}
Contact: <sip:alice@192.0.2.1>{extra}"""


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (outside_dialog("OPTIONS"), 200),
        (outside_dialog("BYE", "<sip:bob@192.0.2.2>;tag=x"), 481),
        (outside_dialog("INFO", "<sip:bob@192.0.2.2>;tag=x"), 481),
        (outside_dialog("CANCEL"), 481),
        (outside_dialog("INVITE", "<sip:bob@192.0.2.2>;tag=x"), 481),
        (outside_dialog("MESSAGE"), 405),
        (outside_dialog("PUBLISH"), 405),
        (outside_dialog("INVITE", extra="\nContent-Type: application/sdp\n\nv=0\nm=audio 4000 RTP/AVP 9\n"), 488),
        (outside_dialog("INVITE").replace("Contact: <sip:alice@192.0.2.1>", "Subject: none"), 400),
    ],
)
def test_requests_that_fit_no_call(text: str, status: int) -> None:
    pair = Pair()
    assert [answer.status for answer in request_to(pair.bob, text, pair.wire.now)] == [status]
    assert not pair.bob.busy


def test_an_ack_of_nothing_is_answered_with_nothing() -> None:
    pair = Pair()
    assert request_to(pair.bob, outside_dialog("ACK", "<sip:bob@192.0.2.2>;tag=x"), pair.wire.now) == []


def test_a_call_over_ipv6() -> None:
    wire = Wire()
    here, there = ("2001:db8::1", 5060), ("2001:db8::2", 5062)
    alice = wire.agent("alice", there, here)
    bob = wire.agent("bob", here, there)
    call = alice.dial("bob", wire.now)
    wire.run(0.1)
    bob.answer(call, wire.now)
    wire.run(0.1)
    alice.hang_up(call, wire.now)
    wire.run(1)
    assert wire.summary() == ["INVITE", "180", "200", "ACK", "BYE", "200"]
    invite, ack, bye = wire.messages(here)
    assert isinstance(ack, Request)
    assert isinstance(bye, Request)
    assert ack.uri == bye.uri == b"sip:bob@[2001:db8::2]:5062"
    assert b"c=IN IP6 2001:db8::1\r\n" in invite.body
    assert wire.events[here][-1] == Ended(call, LOCAL, 200, "")
