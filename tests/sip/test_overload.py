"""Overload on the core: strangers' new work is put off, known devices and what has begun go on."""

import pytest

from sip.events import Refused
from sip.limits import SipLimits
from sip.message import Request
from sip.overload import LATE, LATE_SAMPLES, REFUSALS_AT_ONCE, REFUSALS_PER_SECOND, Overload, put_off
from sip.parser import parse
from tests.sip.phones import Phone, Stage


def pressed() -> tuple[Stage, Phone, Phone]:
    """A stage that is behind, a device it knows, and a stranger with an account."""
    stage = Stage()
    known, stranger = stage.registered("A", "100"), stage.phone("S", "101")
    stage.core.backlog(True)
    return stage, known, stranger


@pytest.mark.parametrize("method", [b"REGISTER", b"INVITE", b"MESSAGE", b"OPTIONS", b"SUBSCRIBE", b"PUBLISH"])
def test_a_strangers_new_request_is_put_off_and_a_known_devices_is_not(method: bytes) -> None:
    stage, known, stranger = pressed()
    for phone, status in ((stranger, 503), (known, 401 if method == b"REGISTER" else 200 if method == b"OPTIONS" else 407)):
        stage.book.receive(phone.request(method, b"sip:gw.test"), phone.flow).sees(f"{phone.letter} {status} {method.decode()}")
    assert [one.reason for one in stage.said(Refused)] == ["overload"]
    stage.core.backlog(False)
    stage.book.receive(stranger.register(), stranger.flow).sees("S 401 REGISTER")


def test_the_503_is_a_whole_answer_with_a_spread_retry_after() -> None:
    stage, _, stranger = pressed()
    waits = set()
    for _ in range(20):
        request = stranger.request(b"INVITE", b"sip:100@gw.test", headers=(b"X-Other: kept out",), body=b"v=0")
        stage.book.receive(request, stranger.flow).sees("S 503 INVITE")
        answer, sent = stage.last(stranger), parse(request)
        assert isinstance(sent, Request)
        waits.add(int(answer.get(b"retry-after")))
        assert (answer.call_id, answer.cseq, answer.from_tag) == (sent.call_id, sent.cseq, sent.from_tag)
        assert answer.to_tag
        assert (answer.top_via.received, answer.top_via.rport) == (stranger.flow.host_bytes, stranger.flow.port)
        assert b"x-other" not in answer.names
    assert min(waits) >= 30
    assert max(waits) <= 60
    assert len(waits) > 5


def test_whoever_has_got_its_challenge_may_answer_it() -> None:
    stage = Stage()
    stranger = stage.phone("S", "101")
    data = stranger.register()
    stage.book.receive(data, stranger.flow).sees("S 401 REGISTER")
    stage.core.backlog(True)
    stage.book.receive(stranger.with_credentials(data, stage.last(stranger)), stranger.flow).sees("S 200 REGISTER")
    stage.book.receive(stranger.register(), stranger.flow).sees("S 401 REGISTER")


def test_a_nearly_full_table_puts_strangers_off_until_it_empties() -> None:
    stage = Stage(limits=SipLimits(transactions=10))
    caller, stranger = stage.registered("A", "100"), stage.phone("S", "101")
    stage.registered("D", "102")
    for _ in range(4):
        stage.book.receive(stage.challenged(caller, caller.request(b"MESSAGE", b"sip:102@gw.test")), caller.flow).sees(
            "D MESSAGE"
        )
    stage.book.receive(stranger.register(), stranger.flow).sees("S 503 REGISTER")
    stage.book.receive(caller.register(cseq=50), caller.flow).sees("A 401 REGISTER")
    stage.book.at(100.0)
    stage.book._unseen.clear()
    stage.book.receive(stranger.register(), stranger.flow).sees("S 401 REGISTER")


def test_what_continues_or_is_oddly_spelled_is_looked_at_whole() -> None:
    phone = Phone("S", "101", "198.51.100.1")
    plain = phone.register()
    assert put_off(plain) is not None
    assert put_off(plain.replace(b"Via: ", b"v: ").replace(b"Call-ID: ", b"i: ")) is not None
    for odd in (
        plain.replace(b"Via: ", b"Via : "),
        plain.replace(b"To: ", b"To:\r\n "),
        plain.replace(b"To: ", b"X: "),
        plain.replace(b"To: ", b"Call-ID: "),
        plain.replace(b"Max-Forwards", b"X\nVia: y\nMax-Forwards"),
        plain.replace(b"Max-Forwards", b"Route: <sip:x>\r\nMax-Forwards"),
        plain.replace(b"Max-Forwards", b"Authorization: Digest\r\nMax-Forwards"),
        phone.request(b"BYE", b"sip:gw.test"),
        phone.request(b"ACK", b"sip:gw.test"),
        b"SIP/2.0 200 OK\r\n\r\n",
        b"noise",
    ):
        assert put_off(odd) is None, odd


def test_a_broken_via_gets_the_usual_treatment() -> None:
    stage, _, stranger = pressed()
    stage.book.receive(stranger.register().replace(b"SIP/2.0/UDP", b"SIP/2.0 UDP"), stranger.flow).sees()
    assert stage.said(Refused) == []


def test_a_lagging_loop_puts_strangers_off_until_it_is_in_time_again() -> None:
    stage = Stage()
    known, stranger = stage.registered("A", "100"), stage.phone("S", "101")
    stage.core.lag(5.0)
    stage.book.receive(stranger.register(), stranger.flow).sees("S 401 REGISTER")
    stage.core.lag(LATE)
    stage.book.receive(stranger.register(), stranger.flow).sees("S 503 REGISTER")
    stage.book.receive(known.register(cseq=50), known.flow).sees("A 401 REGISTER")
    stage.book.receive(stage.challenged(known, known.request(b"MESSAGE", b"sip:100@gw.test")), known.flow)
    assert stage.last(known).status == 480
    stage.book._unseen.clear()
    stage.core.lag(0.0)
    stage.book.receive(stranger.register(), stranger.flow).sees("S 401 REGISTER")


def test_beyond_so_many_503s_a_second_strangers_on_udp_are_dropped() -> None:
    stage, known, _ = pressed()
    stage.book.at(10.0)
    for when, answered in ((10.0, REFUSALS_AT_ONCE), (10.05, 0.05 * REFUSALS_PER_SECOND)):
        stage.book.at(when)
        before = len(stage.said(Refused))
        for number in range(500):
            stranger = stage.phone(f"S{number}", f"s{number}", host=f"203.0.{number // 250}.{number % 250 + 1}")
            stage.book.receive(stranger.register(), stranger.flow)
        told = [one.status for one in stage.said(Refused)[before:]]
        assert set(told) == {503, 0}
        assert abs(told.count(503) - answered) <= 1
        stage.book._unseen.clear()
        stage.book.receive(known.register(cseq=50), known.flow).sees("A 401 REGISTER")


def test_strangers_on_streams_are_always_told() -> None:
    stage, _, stranger = pressed()
    stranger.flow = stranger.flow.__class__("tcp", "1", stranger.flow.host, stranger.flow.port)
    for _ in range(500):
        stage.core.receive(stranger.register().replace(b"/UDP", b"/TCP"), stranger.flow, 0.0)
    assert [one.status for one in stage.said(Refused)] == []
    assert [one.status for one in stage.core.take() if isinstance(one, Refused)] == 500 * [503]


def test_lag_counts_only_when_sample_after_sample_is_late() -> None:
    overload = Overload(100)
    for late in (LATE, 0.0, 10.0, LATE / 2, 3.0, 0.0):
        overload.lag(late)
        assert not overload.pressed
    for sample in range(1, 5):
        overload.lag(LATE)
        assert overload.pressed == overload.lagging == (sample >= LATE_SAMPLES)
    overload.backlog(True)
    overload.lag(0.0)
    assert (overload.lagging, overload.pressed) == (False, True)
    overload.backlog(False)
    assert not overload.pressed


def test_pressed_is_either_of_the_two() -> None:
    overload = Overload(100)
    seen = [overload.pressed]
    overload.held(90)
    seen.append(overload.pressed)
    overload.backlog(True)
    overload.held(89)
    seen.append(overload.pressed)
    overload.backlog(False)
    seen.append(overload.pressed)
    assert seen == [False, True, True, False]
