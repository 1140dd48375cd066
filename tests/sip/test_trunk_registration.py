"""Registering at a trunk: the table's rows, the credentials, the times."""

import pytest

from sip import trunk_registration as states
from sip.digest import SHA_256, Verifier
from sip.message import Request, Response
from sip.responses import make_response
from sip.timers import NEVER
from sip.trunk_credentials import MAX_PROOFS, TrunkCredentials
from sip.trunk_registration import TABLE, TrunkRegistration

CONTACT = b"<sip:4930123@198.51.100.1:5060>"


def entropy(count: int) -> bytes:
    return b"\x07" * count


class Carrier:
    """The core around a registration: keeps what was sent, and answers as told."""

    def __init__(self, password: bytes = b"secret", realm: bytes = b"") -> None:
        self.sent: list[Request] = []
        self.said: list[tuple[bool, str]] = []
        self.due = NEVER
        self.reachable = True
        credentials = TrunkCredentials(b"4930123", password, realm, entropy)
        self.registration = TrunkRegistration(
            "t", b"carrier.test", b"4930123", 600, credentials, self, call_id=b"call", tag=b"tag", fraction=lambda: 0.5
        )
        self.verifier = Verifier(realm=b"carrier", secret=b"s" * 32, entropy=entropy, algorithms=(SHA_256, b"MD5"))

    def register(self, registration: TrunkRegistration, now: float) -> None:
        if self.reachable:
            self.sent.append(registration.request(b"SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK%d" % len(self.sent), CONTACT))
        else:
            registration.failed("no gateway", 0, now)

    def registration_armed(self, registration: TrunkRegistration, at: float) -> None:
        self.due = at

    def registration_changed(self, registration: TrunkRegistration, why: str, now: float) -> None:
        self.said.append((registration.is_registered(now), why))

    def answer(self, status: int, now: float, *headers: tuple[bytes, bytes], to: int = -1) -> None:
        self.registration.answered(make_response(self.sent[to], status, to_tag=b"x", extra=headers), now)

    def challenge(self, now: float, stale: bool = False) -> None:
        self.answer(401, now, *[(b"www-authenticate", value) for value in self.verifier.challenge(now, stale=stale)])

    def granted(self, now: float, seconds: int = 600) -> None:
        self.answer(200, now, (b"contact", CONTACT + b";expires=%d" % seconds))


def registered() -> Carrier:
    carrier = Carrier()
    carrier.registration.start(0.0)
    carrier.granted(1.0)
    return carrier


def expires(request: Request) -> bytes | None:
    return request.get(b"expires")


def test_every_state_but_gone_has_a_way_on_and_effects_are_known() -> None:
    effects = {states.SEND, states.SEND_AGAIN, states.SEND_REMOVAL, states.HOLD, states.BACK_OFF, states.END}
    assert {effect for _, effect in TABLE.values()} == effects
    assert {state for state, _ in TABLE} == {after for after, _ in TABLE.values()} - {states.GONE} | {states.IDLE}


def test_it_registers_and_refreshes_before_the_binding_ends() -> None:
    carrier = registered()
    assert carrier.said == [(True, "")]
    assert carrier.due == pytest.approx(1.0 + 600 * 0.85)
    carrier.registration.fire(carrier.due)
    first, second = carrier.sent
    assert first.call_id == second.call_id
    assert (first.cseq, second.cseq) == ((1, b"REGISTER"), (2, b"REGISTER"))
    assert second.uri == b"sip:carrier.test"
    carrier.granted(512.0, 60)
    assert carrier.due == pytest.approx(512.0 + 51.0)


def test_a_challenge_is_answered_with_the_strongest_algorithm() -> None:
    carrier = Carrier()
    carrier.registration.start(0.0)
    assert carrier.sent[0].get(b"authorization") is None, "nothing is proven before it is asked for"
    carrier.challenge(1.0)
    proof = carrier.sent[1].get(b"authorization")
    assert proof is not None
    assert b"algorithm=SHA-256" in proof
    assert carrier.sent[1].cseq[0] == 2
    carrier.granted(2.0)
    assert carrier.registration.is_registered(3.0)


def test_a_proof_that_is_refused_is_not_repeated_unless_the_nonce_was_stale() -> None:
    carrier = Carrier()
    carrier.registration.start(0.0)
    carrier.challenge(1.0)
    carrier.challenge(2.0)
    assert len(carrier.sent) == 2
    assert carrier.registration.state == states.WAITING
    assert carrier.due >= 2.0 + states.RETRY_REFUSED, "carriers lock accounts that are hammered"
    stale = Carrier()
    stale.registration.start(0.0)
    for _ in range(10):
        stale.challenge(1.0, stale=True)
    assert len(stale.sent) == 1 + MAX_PROOFS


@pytest.mark.parametrize(
    "challenge", [b"Digest", b"Basic realm=x", b'Digest nonce="n", algorithm=MD4', b'Digest realm="\xff', b""]
)
def test_a_broken_challenge_gets_nothing(challenge: bytes) -> None:
    carrier = Carrier()
    carrier.registration.start(0.0)
    carrier.answer(401, 1.0, (b"www-authenticate", challenge))
    assert len(carrier.sent) == 1
    assert carrier.registration.state == states.WAITING


def test_another_realm_than_the_named_one_gets_nothing() -> None:
    carrier = Carrier(realm=b"another")
    carrier.registration.start(0.0)
    carrier.challenge(1.0)
    assert len(carrier.sent) == 1


def test_the_password_shows_nowhere() -> None:
    carrier = Carrier(password=b"hunter2")
    carrier.registration.start(0.0)
    carrier.challenge(1.0)
    assert b"hunter2" not in b"".join(request.to_bytes() for request in carrier.sent)
    assert "hunter2" not in repr(TrunkCredentials(b"u", b"hunter2", b"", entropy))


def test_pauses_double_up_to_the_most_and_a_success_ends_them() -> None:
    carrier = Carrier()
    carrier.registration.start(0.0)
    pauses = []
    for _ in range(12):
        carrier.registration.failed("no answer", 0, 100.0)
        pauses.append(carrier.due - 100.0)
        carrier.registration.fire(carrier.due)
    assert pauses[:4] == [1.5, 3.0, 6.0, 12.0]
    assert pauses[-1] == states.RETRY_MOST * 0.75
    carrier.granted(200.0)
    assert carrier.registration.failures == 0


def test_retry_after_is_kept_and_hostile_ones_are_bounded() -> None:
    for value, least, most in ((b"30 (maintenance);duration=5", 31, 33), (b"999999999999", 0, 2), (b"-5", 0, 2), (b"x", 0, 2)):
        carrier = Carrier()
        carrier.registration.start(0.0)
        carrier.answer(503, 0.0, (b"retry-after", value))
        assert least <= carrier.due <= most, value


def test_no_gateway_is_a_failure_that_is_tried_again() -> None:
    carrier = Carrier()
    carrier.reachable = False
    carrier.registration.start(0.0)
    assert carrier.registration.state == states.WAITING
    assert carrier.said == [(False, "no gateway")]
    carrier.reachable = True
    carrier.registration.moved(1.0)
    carrier.granted(2.0)
    assert carrier.said[-1] == (True, "")


def test_a_move_registers_anew_at_once_and_late_answers_of_the_old_way_do_not_count() -> None:
    carrier = registered()
    carrier.registration.moved(5.0)
    assert carrier.registration.is_registered(5.0), "the old binding holds until the new one is there"
    carrier.registration.moved(6.0)
    carrier.answer(403, 7.0, to=1)
    carrier.registration.failed("no answer", 2, 7.0)
    assert carrier.registration.state == states.REFRESHING
    carrier.granted(8.0)
    assert carrier.registration.state == states.REGISTERED


def test_a_refresh_that_fails_leaves_it_registered_until_the_binding_has_run_out() -> None:
    carrier = registered()
    carrier.registration.fire(511.0)
    carrier.registration.failed("no answer", 0, 543.0)
    assert carrier.said == [(True, "")]
    carrier.registration.fire(601.5)
    assert carrier.said[-1] == (False, "expired")


def test_too_brief_is_asked_again_for_longer_once() -> None:
    carrier = Carrier()
    carrier.registration.start(0.0)
    carrier.answer(423, 1.0, (b"min-expires", b"1800"))
    assert expires(carrier.sent[1]) == b"1800"
    carrier.answer(423, 2.0, (b"min-expires", b"1800"))
    assert carrier.registration.state == states.WAITING
    for odd in (b"1", b"99999999", b"x"):
        other = Carrier()
        other.registration.start(0.0)
        other.answer(423, 1.0, (b"min-expires", odd))
        assert len(other.sent) == 1


def test_a_2xx_without_our_binding_is_a_failure() -> None:
    carrier = Carrier()
    carrier.registration.start(0.0)
    carrier.answer(200, 1.0, (b"contact", CONTACT + b";expires=0"))
    assert carrier.said == [(False, "no binding")]


def test_granted_time_by_contact_then_header_then_as_asked() -> None:
    for headers, seconds in (
        (((b"contact", b"<sip:other@198.51.100.9>;expires=9, " + CONTACT + b";expires=120"),), 120),
        (((b"contact", b"<sip:4930123@10.0.0.1>;expires=9"), (b"expires", b"90")), 90),
        (((b"contact", b"<<garbage"),), 600),
        ((), 600),
    ):
        carrier = Carrier()
        carrier.registration.start(0.0)
        carrier.answer(200, 0.0, *headers)
        assert carrier.due == pytest.approx(seconds * 0.85)


def test_removal_takes_the_binding_back_proving_itself_and_then_nothing_more() -> None:
    carrier = registered()
    carrier.registration.stop(5.0)
    assert not carrier.registration.is_registered(5.0)
    assert expires(carrier.sent[-1]) == b"0"
    carrier.challenge(6.0)
    assert expires(carrier.sent[-1]) == b"0"
    assert carrier.sent[-1].get(b"authorization") is not None
    carrier.answer(200, 7.0)
    assert carrier.registration.state == states.GONE
    assert carrier.due == NEVER
    carrier.registration.fire(1000.0)
    carrier.registration.moved(1000.0)
    assert len(carrier.sent) == 3


def test_a_response_to_nobody_changes_nothing() -> None:
    carrier = registered()
    odd = Response(403, b"", carrier.sent[0].names.copy(), carrier.sent[0].lines.copy())
    carrier.registration.answered(odd, 2.0)
    assert carrier.registration.state == states.REGISTERED
