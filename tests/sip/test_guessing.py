"""Password guessing per (source, user): the table alone, then black box on the core (S02)."""

from sip.directory import AccountFacts
from sip.events import Refused, Send
from sip.flow import Flow
from sip.guessing import FAILURES, PAUSE, WINDOW, Guessing
from sip.message import Response
from sip.parser import parse
from tests.sip.phones import Phone, Stage


def failing(times: int, *, every: float = 1.0, limit: int = 100) -> Guessing:
    table = Guessing(limit)
    for number in range(times):
        table.wrong(b"192.0.2.9", b"101", number * every)
    return table


def test_ten_failures_in_a_minute_stop_the_pair_for_five_minutes() -> None:
    assert not failing(FAILURES - 1).is_limited(b"192.0.2.9", b"101", 10.0)
    table = failing(FAILURES)
    last = FAILURES - 1.0
    assert table.is_limited(b"192.0.2.9", b"101", last)
    assert table.is_limited(b"192.0.2.9", b"101", last + PAUSE - 0.001)
    assert not table.is_limited(b"192.0.2.9", b"101", last + PAUSE)
    assert len(table) == 0


def test_only_that_source_and_only_that_user() -> None:
    table = failing(FAILURES)
    assert not table.is_limited(b"192.0.2.8", b"101", 10.0)
    assert not table.is_limited(b"192.0.2.9", b"102", 10.0)


def test_failures_further_apart_than_the_window_do_not_add_up() -> None:
    assert not failing(200, every=WINDOW / (FAILURES - 1) + 0.1).is_limited(b"192.0.2.9", b"101", 1400.0)


def test_a_right_password_forgives_slips() -> None:
    table = failing(FAILURES - 1)
    table.right(b"192.0.2.9", b"101")
    table.wrong(b"192.0.2.9", b"101", 10.0)
    assert not table.is_limited(b"192.0.2.9", b"101", 10.0)


def test_the_table_is_bounded_and_forgets_the_oldest() -> None:
    table = failing(FAILURES, limit=3)
    for number in range(2):
        table.wrong(b"198.51.100.%d" % number, b"x" * 5000, 20.0)
    assert table.is_limited(b"192.0.2.9", b"101", 20.0)
    table.wrong(b"198.51.100.3", b"101", 21.0)
    assert len(table) == 3
    assert not table.is_limited(b"192.0.2.9", b"101", 21.0)


def attempt(stage: Stage, phone: Phone, password: bytes) -> int:
    """One REGISTER with this password; the final status."""
    right, phone.password = phone.password, password
    status = stage.register(phone).status
    phone.password = right
    return status


def limited(stage: Stage) -> int:
    return sum(one.reason == "credentials limited" for one in stage.said(Refused))


def test_a_guesser_is_not_told_the_right_password_after_ten_wrong_ones() -> None:
    stage = Stage()
    guesser = stage.phone("G", "101", host="203.0.113.66")
    for _ in range(FAILURES):
        assert attempt(stage, guesser, b"wrong") == 401
    assert limited(stage) == 0
    plain = stage.last(guesser)
    assert attempt(stage, guesser, guesser.password) == 401
    assert limited(stage) == 1
    assert b"stale" not in stage.last(guesser).to_bytes()
    assert len(stage.last(guesser).all(b"www-authenticate")) == len(plain.all(b"www-authenticate"))
    stage.book.after(PAUSE + 1.0)
    assert attempt(stage, guesser, guesser.password) == 200


def test_the_real_device_elsewhere_and_behind_the_same_nat_goes_on() -> None:
    stage = Stage()
    device = stage.registered("D", "101", host="203.0.113.66", port=40001)
    guesser = stage.phone("G", "101", host="203.0.113.66", port=40002)
    for _ in range(FAILURES + 1):
        assert attempt(stage, guesser, b"wrong") == 401
    assert limited(stage) == 1
    assert stage.register(device).status == 200
    elsewhere = stage.phone("E", "101", host="203.0.113.67")
    assert stage.register(elsewhere).status == 200
    assert attempt(stage, guesser, guesser.password) == 401


def test_a_user_that_does_not_exist_is_limited_alike() -> None:
    stage = Stage()
    answers: list[list[bytes]] = []
    for letter, exists in (("A", True), ("B", False)):
        guesser = stage.phone(letter, "101" if exists else "nobody", account=exists, host=f"203.0.113.{len(letter) + exists}")
        for _ in range(FAILURES + 2):
            assert attempt(stage, guesser, b"wrong") == 401
        assert limited(stage) == (2 if exists else 4)
        answers.append(stage.last(guesser).names)
    assert answers[0] == answers[1]


def test_addresses_of_one_ipv6_64_are_one_source() -> None:
    stage = Stage()
    stage.directory.accounts["101"] = AccountFacts("101", "north", b"secret-101")
    for number in range(FAILURES + 1):
        phone = stage.add(Phone("G", "101", "198.51.100.1"))
        phone.flow = Flow("udp", "5060", f"2001:db8::{number + 1:x}", 5060)
        stage.add(phone)
        assert attempt(stage, phone, b"wrong") == 401
    assert limited(stage) == 1


def test_a_word_list_for_ten_minutes_gets_twenty_words_looked_at() -> None:
    """S02 in simulated time: 10,000 words over 600 s from one source, the right one in the middle. Ten are looked at, then none
    for 300 s, then ten more. The device elsewhere registers at every tenth part of it."""
    stage = Stage()
    device = stage.registered("D", "101", host="198.51.100.1")
    guesser = stage.phone("G", "101", host="203.0.113.9", account=False)
    words, right = 10_000, 5_000
    data = guesser.register()
    stage.core.receive(data, guesser.flow, 0.0)
    (challenge,) = [one for one in stage.core.take() if isinstance(one, Send)]
    answer = parse(challenge.data)
    assert isinstance(answer, Response)
    looked_at = limited = 0
    for number in range(1, words + 1):
        now = number * 600.0 / words
        if number % 4_000 == 0:  # a nonce lasts 300 s, and the guesser knows
            stage.core.receive(data, guesser.flow, now)
            for output in stage.core.take():
                answer = parse(output.data) if isinstance(output, Send) else answer
                assert isinstance(answer, Response)
        guesser.password = device.password if number == right else b"word-%d" % number
        stage.core.receive(guesser.with_credentials(data, answer), guesser.flow, now)
        for output in stage.core.take():
            if isinstance(output, Refused):
                looked_at += output.reason == "credentials refused"
                limited += output.reason == "credentials limited"
            assert not (isinstance(output, Send) and output.data.startswith(b"SIP/2.0 2"))
        if number % 1_000 == 0:
            stage.book.at(now)
            stage.register(device)
    assert looked_at == 2 * FAILURES
    assert looked_at + limited == words
