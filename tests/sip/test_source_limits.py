"""Credit per source: the bucket alone, then a building of 500 devices behind one NAT on the core (S03, S04)."""

import tracemalloc

from sip.events import Refused, Send
from sip.flow import Flow, parse_flow
from sip.message import Response
from sip.parser import parse
from sip.source_limits import (
    KNOWN_CREDIT,
    KNOWN_SECONDS,
    STRANGER_CREDIT,
    STRANGER_PER_SECOND,
    SourceLimits,
)
from tests.sip.phones import Phone, Stage

HERE = b"203.0.113.5"


def drain(limits: SourceLimits, now: float, source: bytes = HERE) -> int:
    """How many requests a source can still pay for at this instant."""
    for count in range(5000):
        if not limits.spend(source, now):
            return count
    raise AssertionError("the credit has no end")


def test_a_stranger_has_a_bucket_that_refills_slowly() -> None:
    limits = SourceLimits()
    assert drain(limits, 0.0) == STRANGER_CREDIT
    assert drain(limits, 10.0) == 10 * STRANGER_PER_SECOND
    assert drain(limits, 1e6) == STRANGER_CREDIT


def test_a_right_password_makes_the_source_known_and_pays_each_challenge_back() -> None:
    limits = SourceLimits()
    drain(limits, 0.0)
    assert not limits.is_known(HERE, 0.0)
    limits.authenticated(HERE, 0.0)
    assert limits.is_known(HERE, KNOWN_SECONDS)
    assert not limits.is_known(HERE, KNOWN_SECONDS + 1.0)
    assert drain(limits, 0.0) == KNOWN_CREDIT
    limits.authenticated(HERE, 0.0)
    assert drain(limits, 0.0) == 1
    assert drain(limits, KNOWN_SECONDS + 1.0) == STRANGER_CREDIT


def test_a_million_spoofed_sources_cost_less_than_64_mib_and_push_no_known_one_out() -> None:
    limits = SourceLimits()
    limits.authenticated(HERE, 0.0)
    tracemalloc.start()
    for number in range(80_000):  # the table is full after 65,536: what follows costs nothing more
        limits.spend(number.to_bytes(16, "big"), 0.0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 32 * 2**20
    assert len(limits) == 65_536 + 1
    assert limits.is_known(HERE, 1.0)


def test_a_source_is_an_ipv4_address_or_an_ipv6_64() -> None:
    assert Flow("udp", "1", "192.0.2.1", 5).source != Flow("udp", "1", "192.0.2.2", 5).source
    assert Flow("udp", "1", "2001:db8::1", 5).source == Flow("udp", "1", "2001:db8:0:0:ffff::9", 6).source
    assert Flow("udp", "1", "2001:db8::1", 5).source != Flow("udp", "1", "2001:db8:0:1::1", 5).source
    strange = parse_flow("udp:1:not:an:address:5")
    assert strange is not None
    assert strange.source == b"not:an:address"


def refused(stage: Stage) -> int:
    return sum(one.reason == "source limited" for one in stage.said(Refused))


def test_500_devices_behind_one_nat_register_within_a_minute() -> None:
    stage = Stage()
    for number in range(500):
        phone = stage.phone("D", f"u{number}", host="203.0.113.5", port=10_000 + number)
        assert stage.register(phone).status == 200
        stage.book.after(0.12)
    assert refused(stage) == 0


def test_a_stranger_asking_as_often_is_limited_but_its_right_password_is_not() -> None:
    stage = Stage()
    stranger = stage.phone("S", "100", host="203.0.113.6")
    answers: list[Response] = []
    unanswered = 0
    for number in range(500):
        stage.core.receive(stranger.register(cseq=number + 1), stranger.flow, number * 0.12)
        (output,) = stage.core.take()
        if isinstance(output, Send):
            answer = parse(output.data)
            assert isinstance(answer, Response)
            answers.append(answer)
        else:
            assert output == Refused("source limited", 0, stranger.flow)
            unanswered += 1
    assert unanswered > 50
    assert {one.status for one in answers} == {401}
    data = stranger.with_credentials(stranger.register(), answers[-1])
    stage.core.receive(data, stranger.flow, 61.0)
    assert [one.data[:11] for one in stage.core.take() if isinstance(one, Send)] == [b"SIP/2.0 200"]


def test_on_a_stream_the_limit_is_said_because_nobody_repeats() -> None:
    stage = Stage()
    phone = stage.add(Phone("T", "100", "203.0.113.7"))
    phone.flow = Flow("tcp", "c1", "203.0.113.7", 4000)
    stage.add(phone)
    for _ in range(int(STRANGER_CREDIT) + 1):
        stage.book.receive(phone.request(b"INVITE", b"sip:101@gw.test"), phone.flow)
    assert stage.last(phone).status == 503
    assert 30 <= int(stage.last(phone).get(b"retry-after")) <= 60


def test_a_restart_knows_the_sources_of_its_bindings() -> None:
    first = Stage()
    phone = first.registered("D", "101", host="203.0.113.5")
    second = Stage()
    second.core.load_bindings("101", first.core.bindings("101", 0.0), 0.0)
    for number in range(int(STRANGER_CREDIT) + 50):
        second.core.receive(phone.request(b"MESSAGE", b"sip:x@gw.test", cseq=number + 1), phone.flow, 0.0)
    assert all(not isinstance(one, Refused) for one in second.core.take())
