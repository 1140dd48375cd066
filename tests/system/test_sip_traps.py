"""Traps 1 to 14 of reference/sip-core.md section 5, black box over real UDP sockets against a running gateway.

What takes the RFC's 20 s or more is tested on the core alone, in tests/sip/test_traps_calls.py: a silent phone for 32 s (2, 5),
an INVITE repeated after 20 s (8), a local 408 (9), no 408 after Timer F (11), and trap 12 (Timer C, ring limits).
tests/sip/test_soak.py shows that 10,000 calls of each kind leave nothing behind.
"""

from collections.abc import Iterator

import pytest

from sip.message import Request, Response
from sip.parser import parse
from tests.sip.test_traps_calls import ELSEWHERE, ack_of, cancel_of
from tests.system.udp_phone import House, UdpPhone, running_house

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("traps"), 50, 0x7000)


def request_of(data: bytes) -> Request:
    parsed = parse(data)
    assert isinstance(parsed, Request)
    return parsed


def ringing(house: House) -> tuple[UdpPhone, UdpPhone, bytes, Request]:
    """A call from A that rings at D: (A, D, the INVITE as sent, the INVITE as it arrived)."""
    caller, callee = house.pair()
    invite, (arrived,) = caller.calls(callee.user, callee)
    callee.answers(arrived, 180)
    caller.gets(180)
    return caller, callee, invite, arrived


def test_trap_1_cancel_is_the_invites_twin(house: House) -> None:
    caller, callee, invite, arrived = ringing(house)
    caller.send(cancel_of(invite))
    caller.gets(200, b"CANCEL")
    cancel = callee.asked(b"CANCEL")
    assert (cancel.top_via.raw, cancel.uri, cancel.call_id) == (arrived.top_via.raw, arrived.uri, arrived.call_id)
    assert cancel.cseq[0] == arrived.cseq[0]
    callee.answers(cancel, 200)
    callee.answers(arrived, 487)
    caller.gets(487)


def test_trap_2_no_cancel_before_a_provisional(house: House) -> None:
    caller, callee = house.pair()
    invite, (arrived,) = caller.calls(callee.user, callee)
    caller.send(cancel_of(invite))
    caller.gets(200, b"CANCEL")
    early = callee.arrivals(1.0)
    assert early
    assert all(line.startswith(b"INVITE ") for line in early)
    callee.answers(arrived, 180)
    callee.answers(callee.asked(b"CANCEL"), 200)
    callee.answers(arrived, 487)
    callee.asked(b"ACK")
    assert caller.gets(487).status == 487
    assert callee.arrivals() == []


def test_trap_3_a_repeated_cancel_gets_200_each_time_and_goes_down_once(house: House) -> None:
    caller, callee, invite, arrived = ringing(house)
    for _ in range(3):
        caller.send(cancel_of(invite))
    assert [line[:11] for line in caller.arrivals()] == [b"SIP/2.0 200"] * 3
    cancel = callee.asked(b"CANCEL")
    callee.answers(cancel, 200)
    assert callee.arrivals() == []
    callee.answers(arrived, 487)
    caller.gets(487)


def test_trap_4_a_cancel_whose_via_a_nat_rewrote(house: House) -> None:
    caller, callee, invite, arrived = ringing(house)
    rewritten = cancel_of(invite).replace(caller.sent_by, b"203.0.113.99:1024")
    stranger = house.phone("X")
    assert stranger.asks(rewritten).status == 481
    assert callee.arrivals() == []
    caller.send(rewritten)
    caller.gets(200, b"CANCEL")
    callee.answers(callee.asked(b"CANCEL"), 200)
    callee.answers(arrived, 487)
    caller.gets(487)


@pytest.mark.parametrize("status", [486, 603])
def test_trap_5_a_refusal_is_acked_hop_by_hop_once(house: House, status: int) -> None:
    caller, callee, invite, arrived = ringing(house)
    callee.answers(arrived, status)
    ack = callee.asked(b"ACK")
    assert (ack.branch, ack.uri, ack.to_tag) == (arrived.branch, arrived.uri, b"tag-D")
    caller.send(ack_of(invite, caller.gets(status)))
    assert callee.arrivals(1.2) == []
    assert caller.arrivals(0.6) == []


def test_trap_6_every_2xx_passes_and_both_calls_can_be_ended(house: House) -> None:
    caller, (one, two) = house.fork("D", "E")
    invite, arrived = caller.calls(one.user, one, two)
    for phone, request in zip((one, two), arrived, strict=True):
        phone.answers(request, 200)
    finals = [caller.gets(200), caller.gets(200)]
    assert {final.to_tag for final in finals} == {b"tag-D", b"tag-E"}
    for final in finals:
        phone = one if final.to_tag == b"tag-D" else two
        caller.send(caller.in_dialog(b"ACK", final, request_of(invite)))
        phone.asked(b"ACK")
        caller.send(caller.in_dialog(b"BYE", final, request_of(invite)))
        phone.answers(phone.asked(b"BYE"), 200)
        caller.gets(200, b"BYE")


def test_trap_7_the_ack_of_a_2xx_reaches_the_one_that_answered_and_repeats_pass(house: House) -> None:
    caller, phones = house.fork("D", "E", "F")
    invite, arrived = caller.calls(phones[0].user, *phones)
    for phone, request in zip(phones, arrived, strict=True):
        phone.answers(request, 180)
    phones[1].answers(arrived[1], 200)
    final = next(one for one in (caller.next() for _ in range(4)) if isinstance(one, Response) and one.status == 200)
    for loser in (0, 2):
        phones[loser].answers(phones[loser].asked(b"CANCEL"), 200)
        phones[loser].answers(arrived[loser], 487)
        assert phones[loser].asked(b"ACK").branch == arrived[loser].branch
    ack = caller.in_dialog(b"ACK", final, request_of(invite))
    caller.send(ack)
    caller.send(ack)
    assert [line[:4] for line in phones[1].arrivals()] == [b"ACK ", b"ACK "]
    assert phones[0].arrivals() == phones[2].arrivals() == []


def test_trap_8_a_late_invite_repeat_is_absorbed(house: House) -> None:
    caller, callee, invite, arrived = ringing(house)
    callee.answers(arrived, 200)
    final = caller.gets(200)
    caller.send(caller.in_dialog(b"ACK", final, request_of(invite)))
    callee.asked(b"ACK")
    assert callee.arrivals(1.0) == []
    caller.send(invite)
    assert callee.arrivals() == []


@pytest.mark.parametrize(("answers", "expected"), [((486, 603), 603), ((503, 503), 500), ((503, 404), 404), ((480, 401), 401)])
def test_trap_9_the_best_response_wins(house: House, answers: tuple[int, int], expected: int) -> None:
    caller, phones = house.fork("D", "E")
    invite, arrived = caller.calls(phones[0].user, *phones)
    for phone, request, status in zip(phones, arrived, answers, strict=True):
        phone.answers(request, status)
        phone.asked(b"ACK")
    caller.send(ack_of(invite, caller.gets(expected)))


def test_trap_9_challenges_are_merged(house: House) -> None:
    caller, (one, two) = house.fork("D", "E")
    _, arrived = caller.calls(one.user, one, two)
    one.answers(arrived[0], 401, headers=((b"www-authenticate", b'Digest realm="d", nonce="1"'),))
    two.answers(arrived[1], 407, headers=((b"proxy-authenticate", b'Digest realm="e", nonce="2"'),))
    merged = caller.next()
    assert isinstance(merged, Response)
    assert merged.status in (401, 407)
    assert merged.all(b"www-authenticate") == [b'Digest realm="d", nonce="1"']
    assert merged.all(b"proxy-authenticate") == [b'Digest realm="e", nonce="2"']


def test_trap_9_a_6xx_cancels_the_others(house: House) -> None:
    caller, (one, two) = house.fork("D", "E")
    _, arrived = caller.calls(one.user, one, two)
    two.answers(arrived[1], 180)
    caller.gets(180)
    one.answers(arrived[0], 603)
    cancel = two.asked(b"CANCEL")
    assert cancel.get(b"reason") is None
    two.answers(cancel, 200)
    two.answers(arrived[1], 487)
    caller.gets(603)


def test_trap_10_losers_learn_that_the_call_was_completed_elsewhere(house: House) -> None:
    caller, (one, two) = house.fork("D", "E")
    _, arrived = caller.calls(one.user, one, two)
    two.answers(arrived[1], 180)
    caller.gets(180)
    one.answers(arrived[0], 200)
    assert two.asked(b"CANCEL").get(b"reason") == ELSEWHERE


def test_trap_10_not_when_the_caller_gave_up(house: House) -> None:
    caller, callee, invite, _ = ringing(house)
    caller.send(cancel_of(invite))
    assert callee.asked(b"CANCEL").get(b"reason") is None


def test_trap_11_a_message_to_a_mute_phone_gets_no_early_100(house: House) -> None:
    caller, callee = house.pair()
    message = caller.authorised(caller.request(b"MESSAGE", b"sip:%b@gw.test" % callee.user.encode(), body=b"hello"))
    caller.send(message)
    assert callee.asked(b"MESSAGE").body == b"hello"
    assert caller.arrivals(3.2) == []
    assert [line[:11] for line in caller.arrivals(0.8)] == [b"SIP/2.0 100"]


def test_trap_13_a_request_that_comes_back_is_a_loop(house: House) -> None:
    caller, callee = house.pair()
    _, (arrived,) = caller.calls(callee.user, callee)
    looped = arrived.copy()
    looped.uri = b"sip:%b@gw.test" % callee.user.encode()
    looped.remove(b"record-route")
    looped.prepend(b"via", b"SIP/2.0/UDP %b;branch=z9hG4bKloop;rport" % callee.sent_by)
    assert callee.asks(looped.to_bytes()).status == 482
    assert caller.arrivals() == []


def test_trap_13_breadth_is_divided_among_branches_and_ends(house: House) -> None:
    caller, phones = house.fork("D", "E", "F")
    caller.send(caller.invite_to(phones[0].user, b"Max-Breadth: 7"))
    caller.gets(100)
    assert sorted(one.asked(b"INVITE").get(b"max-breadth") or b"" for one in phones) == [b"2", b"2", b"3"]
    caller.send(caller.invite_to(phones[0].user, b"Max-Breadth: 2"))
    caller.gets(100)
    caller.gets(440)


def test_trap_14_max_forwards(house: House) -> None:
    caller, callee = house.pair()
    uri = b"sip:%b@gw.test" % callee.user.encode()
    assert caller.asks(caller.request(b"INVITE", uri, max_forwards=0)).status == 483
    assert caller.asks(caller.request(b"OPTIONS", b"sip:gw.test", max_forwards=0)).status == 200
    for given, passed in ((None, 70), (1, 0), (70, 69)):
        caller.send(caller.authorised(caller.request(b"MESSAGE", uri, max_forwards=given)))
        arrived = callee.asked(b"MESSAGE")
        assert arrived.max_forwards == passed
        callee.answers(arrived, 200)
        caller.gets(200, b"MESSAGE")
