"""Registering, staying registered, failing well: a user agent against a registrar written from the RFCs alone."""

import pytest

from simulators.agent_events import NotRegistered, Refreshed, Registered, Unregistered
from simulators.user_agent import KEEP_ALIVE, UserAgent
from sip.header_values import parse_name_addr
from tests.simulators.registrar import ScriptedRegistrar
from tests.simulators.wire import Address, Wire

DEVICE: Address = ("192.0.2.10", 5060)
SERVER: Address = ("192.0.2.20", 5060)


class Site:
    def __init__(self, *, password: str = "secret", algorithm: str = "MD5", expires: int = 300) -> None:
        self.wire = Wire()
        self.registrar = ScriptedRegistrar(self.wire, SERVER, algorithm=algorithm)
        self.agent: UserAgent = self.wire.agent("123456789", SERVER, DEVICE, password=password, expires=expires)

    def start(self, seconds: float = 1.0) -> list[object]:
        self.agent.register(self.wire.now)
        return self.go(seconds)

    def go(self, seconds: float) -> list[object]:
        before = len(self.wire.events[DEVICE])
        self.wire.run(seconds)
        return list(self.wire.events[DEVICE][before:])


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_registers_with_a_proof_the_registrar_checks_itself(algorithm: str) -> None:
    site = Site(algorithm=algorithm)
    assert site.start() == [Registered(60, challenges=1)]
    assert site.agent.registered
    first, second = site.registrar.seen
    assert first.get(b"authorization") is None
    assert first.call_id == second.call_id
    assert (first.cseq, second.cseq) == ((1, b"REGISTER"), (2, b"REGISTER"))
    assert first.branch != second.branch
    assert first.from_tag == second.from_tag != b""
    assert first.to_tag == second.to_tag == b""
    assert first.uri == b"sip:192.0.2.20"
    contact = parse_name_addr(first.get(b"contact") or b"")
    assert contact.uri == b"sip:123456789@192.0.2.10:5060"


def test_refreshes_before_it_expires_with_one_request_and_a_growing_nonce_count() -> None:
    site = Site()
    site.start()
    site.registrar.seen.clear()
    assert site.go(46) == []
    assert site.go(8) == [Refreshed(60)]
    assert [b"nc=00000002" in (request.get(b"authorization") or b"") for request in site.registrar.seen] == [True]
    assert site.go(600).count(Refreshed(60)) >= 10
    assert site.agent.registered


def test_a_stale_nonce_costs_one_more_request_and_nothing_else() -> None:
    site = Site()
    site.start()
    site.registrar.expire_nonce()
    assert site.go(55) == [Refreshed(60)]
    assert len(site.registrar.seen) == 4


def test_a_wrong_password_is_tried_once_and_then_not_hammered() -> None:
    site = Site(password="wrong")
    (failed,) = site.start(0.4)
    assert isinstance(failed, NotRegistered)
    assert (failed.status, failed.reason) == (401, "Unauthorized")
    assert len(site.registrar.seen) == 2
    site.go(3600)
    # The waits double up to a minute, drawn from their upper half: 2 requests each, for an hour.
    assert 2 * 60 <= len(site.registrar.seen) <= 2 * 140
    assert not site.agent.registered


def test_a_nonce_that_is_stale_for_ever_is_given_up() -> None:
    site = Site(password="wrong")
    site.registrar.stale = True
    site.start(0.4)
    assert len(site.registrar.seen) == 4


def test_nobody_answers_and_then_somebody_does() -> None:
    site = Site()
    site.registrar.mute = True
    (failed,) = site.start(33)
    assert isinstance(failed, NotRegistered)
    assert failed.status == 408
    # Timer E: T1 doubling up to T2 for 64*T1 (RFC 3261 17.1.2.2).
    sent = [round(at - 1000, 1) for at, source, _, data in site.wire.passed if source == DEVICE and data != KEEP_ALIVE]
    assert sent[:11] == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    site.registrar.mute = False
    assert Registered(60, challenges=1) in site.go(40)


def test_retry_after_is_honoured() -> None:
    site = Site()
    site.registrar.refuse = (503, "20")
    (failed,) = site.start(19)
    assert isinstance(failed, NotRegistered)
    assert failed.status == 503
    assert 20 <= failed.retry_in <= 21
    assert len(site.registrar.seen) == 1
    site.registrar.refuse = None
    assert site.go(3) == [Registered(60, challenges=1)]


@pytest.mark.parametrize("hostile", ["99999999999999999999", "-1", "٣", "soon", "", "3600 3600"])
def test_a_retry_after_that_is_no_number_means_none(hostile: str) -> None:
    site = Site()
    site.registrar.refuse = (503, hostile)
    (failed,) = site.start(0.2)
    assert isinstance(failed, NotRegistered)
    assert failed.retry_in <= 1.0


def test_unregisters_and_stays_silent() -> None:
    site = Site()
    site.start()
    site.agent.unregister(site.wire.now)
    assert site.go(5) == [Unregistered()]
    assert site.registrar.seen[-1].get(b"expires") == b"0"
    site.wire.passed.clear()
    site.go(300)
    assert site.wire.passed == []
    assert site.agent.next_deadline() is None


def test_keeps_the_nat_open_every_thirty_seconds() -> None:
    site = Site()
    site.start()
    site.go(91)
    sent = [at - 1000 for at, source, _, data in site.wire.passed if source == DEVICE and data == KEEP_ALIVE]
    assert sent == [30, 60, 90]


def test_a_registration_survives_a_registrar_that_was_away() -> None:
    site = Site()
    site.start()
    site.registrar.mute = True
    happened = site.go(120)
    assert isinstance(happened[0], NotRegistered)
    assert not site.agent.registered
    site.registrar.mute = False
    assert any(isinstance(event, Registered) for event in site.go(120))


def test_the_password_is_in_no_repr() -> None:
    site = Site(password="sup3r-s3cret")
    site.start()
    assert "sup3r" not in repr(site.agent._line.account) + repr(site.agent._line._authentication) + repr(site.wire.events)
