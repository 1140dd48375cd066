"""Traps 1 to 14 of reference/sip-core.md section 5: CANCEL, ACK, forking, timers, bounds. Black box on the core."""

import pytest

from registry.logs import CallResult
from registry.ring_plan import OnReject, RingPlan, Target, TargetKind
from registry.ring_plan import Stage as PlanStage
from sip.events import CallEnded, Refused
from sip.message import Request, Response
from sip.parser import parse
from tests.sip.phones import Phone, Stage

ELSEWHERE = b'SIP;cause=200;text="Call completed elsewhere"'


def calling(stage: Stage, caller: Phone, dialled: str, *callees: Phone) -> bytes:
    """The caller's authenticated INVITE has reached the callees."""
    invite = stage.invite(caller, dialled)
    stage.book.receive(invite, caller.flow).sees("A 100 INVITE", *[f"{one.letter} INVITE" for one in callees])
    return invite


def cancel_of(invite: bytes) -> bytes:
    """The caller's CANCEL: everything as in the INVITE but method and body."""
    request = parse(invite)
    assert isinstance(request, Request)
    lines = [b"CANCEL " + request.uri + b" SIP/2.0", b"Via: " + request.top_via.raw, b"Max-Forwards: 70"]
    lines += [line for name, line in zip(request.names, request.lines, strict=True) if name in (b"from", b"to", b"call-id")]
    return b"\r\n".join([*lines, b"CSeq: %d CANCEL" % request.cseq[0], b"Content-Length: 0", b"", b""])


def ack_of(invite: bytes, response: Response) -> bytes:
    """The caller's hop-by-hop ACK of a non-2xx."""
    request = parse(invite)
    assert isinstance(request, Request)
    lines = [b"ACK " + request.uri + b" SIP/2.0", b"Via: " + request.top_via.raw, b"Max-Forwards: 70"]
    lines += [b"From: " + (request.get(b"from") or b""), b"To: " + (response.get(b"to") or b""), b"Call-ID: " + request.call_id]
    return b"\r\n".join([*lines, b"CSeq: %d ACK" % request.cseq[0], b"Content-Length: 0", b"", b""])


def site(*letters: str) -> tuple[Stage, Phone, list[Phone]]:
    """Caller A, and phones of one account each: D 101, E 102, F 103."""
    stage = Stage()
    caller = stage.registered("A", "100")
    return stage, caller, [stage.registered(letter, f"{101 + index}") for index, letter in enumerate(letters)]


def fork(*letters: str) -> tuple[Stage, Phone, list[Phone]]:
    """Caller A, and several phones that registered for the one account 101."""
    stage = Stage()
    caller = stage.registered("A", "100")
    return stage, caller, [stage.registered(letter, "101") for letter in letters]


def plan(
    stage: Stage, number: str, *stages: tuple[str, ...], seconds: int = 20, on_reject: OnReject = OnReject.NEXT_STAGE
) -> None:
    made = tuple(PlanStage(tuple(Target(TargetKind.ACCOUNT, name) for name in names), seconds) for names in stages)
    stage.directory.plans[("north", number)] = RingPlan("north", number, made, on_reject=on_reject)


def ended(stage: Stage) -> tuple[CallResult | None, int]:
    (one,) = stage.said(CallEnded)
    return one.facts.result, one.facts.status


def test_trap_1_cancel_is_the_invites_twin() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    stage.book.receive(callee.reply(arrived, 180), callee.flow).sees("A 180 INVITE")
    stage.book.receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL", "D CANCEL")
    cancel = stage.sent(callee, b"CANCEL")
    assert (cancel.branch, cancel.uri, cancel.call_id) == (arrived.branch, arrived.uri, arrived.call_id)
    assert (cancel.get(b"from"), cancel.get(b"to"), cancel.cseq) == (
        arrived.get(b"from"),
        arrived.get(b"to"),
        (arrived.cseq[0], b"CANCEL"),
    )
    assert cancel.count(b"via") == 1


def test_trap_2_no_cancel_before_a_provisional() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    stage.book.after(0.2).receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL")
    stage.book.after(0.7).sees("D INVITE")
    stage.book.receive(callee.reply(arrived, 180), callee.flow).sees("D CANCEL")
    stage.book.receive(callee.reply(parse_cancel(stage, callee), 200), callee.flow).sees()
    stage.book.receive(callee.reply(arrived, 487), callee.flow).sees("D ACK", "A 487 INVITE")
    assert ended(stage) == (CallResult.CANCELLED, 487)


def parse_cancel(stage: Stage, phone: Phone) -> Request:
    return stage.sent(phone, b"CANCEL")


def test_trap_2_a_phone_that_never_answers_a_cancelled_invite() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    stage.book.receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL")
    stage.book.after(31.9).sees(*["D INVITE"] * 6)
    stage.book.after(0.2).sees("A 487 INVITE")


def test_trap_3_repeated_cancel_gets_200_each_time() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    stage.book.receive(callee.reply(arrived, 180), callee.flow).sees("A 180 INVITE")
    stage.book.receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL", "D CANCEL")
    stage.book.receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL")
    stage.book.receive(callee.reply(arrived, 487), callee.flow).sees("D ACK", "A 487 INVITE")
    stage.book.receive(ack_of(invite, stage.last(caller)), caller.flow).sees()
    stage.book.receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL")


def test_trap_4_cancel_whose_via_a_nat_rewrote() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    stage.book.receive(callee.reply(stage.sent(callee, b"INVITE"), 180), callee.flow).sees("A 180 INVITE")
    rewritten = cancel_of(invite).replace(caller.sent_by, b"203.0.113.99:1024")
    stranger = stage.phone("X", "900")
    stage.book.receive(rewritten, stranger.flow).sees("X 481 CANCEL")
    stage.book.receive(rewritten, caller.flow).sees("A 200 CANCEL", "D CANCEL")


def test_a_cancel_without_its_invite_is_481() -> None:
    stage, caller, (_,) = site("D")
    stage.book.receive(cancel_of(caller.request(b"INVITE", b"sip:101@gw.test")), caller.flow).sees("A 481 CANCEL")


@pytest.mark.parametrize("status", [486, 487, 404, 603])
def test_trap_5_non_2xx_are_acked_hop_by_hop(status: int) -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    stage.book.receive(callee.reply(arrived, status), callee.flow).sees("D ACK", f"A {status} INVITE")
    ack = stage.sent(callee, b"ACK")
    assert (ack.branch, ack.uri, ack.to_tag) == (arrived.branch, arrived.uri, b"tag-D")
    stage.book.receive(ack_of(invite, stage.last(caller)), caller.flow).sees()
    stage.book.receive(callee.reply(arrived, status), callee.flow).sees("D ACK")
    stage.book.after(33.0).sees()
    assert stage.core.census()[:2] == (0, 0)


def test_trap_6_every_2xx_passes() -> None:
    stage, caller, (one, two) = fork("D", "E")
    invite = calling(stage, caller, "101", one, two)
    first, second = stage.sent(one, b"INVITE"), stage.sent(two, b"INVITE")
    stage.book.receive(one.reply(first, 180), one.flow).sees("A 180 INVITE")
    stage.book.receive(two.reply(second, 180), two.flow).sees("A 180 INVITE")
    stage.book.receive(one.reply(first, 200), one.flow).sees("A 200 INVITE", "E CANCEL")
    answered_one = stage.last(caller)
    stage.book.receive(two.reply(second, 200), two.flow).sees("A 200 INVITE")
    answered_two = stage.last(caller)
    sent = parse(invite)
    assert isinstance(sent, Request)
    assert (answered_one.to_tag, answered_two.to_tag) == (b"tag-D", b"tag-E")
    for answered, letter, phone in ((answered_one, "D", one), (answered_two, "E", two)):
        stage.book.receive(caller.in_dialog(b"ACK", answered, sent), caller.flow).sees(f"{letter} ACK")
        stage.book.receive(caller.in_dialog(b"BYE", answered, sent), caller.flow).sees(f"{letter} BYE")
        stage.book.receive(phone.reply(stage.sent(phone, b"BYE"), 200), phone.flow).sees("A 200 BYE")


def test_trap_7_the_ack_of_a_2xx_reaches_the_one_that_answered_and_repeats_pass() -> None:
    stage, caller, phones = fork("D", "E", "F")
    invite = calling(stage, caller, "101", *phones)
    arrived = stage.sent(phones[1], b"INVITE")
    stage.book.receive(phones[1].reply(arrived, 200), phones[1].flow).sees("A 200 INVITE")
    sent = parse(invite)
    assert isinstance(sent, Request)
    ack = caller.in_dialog(b"ACK", stage.last(caller), sent)
    stage.book.receive(ack, caller.flow).sees("E ACK")
    stage.book.receive(ack, caller.flow).sees("E ACK")
    acks = [one for one in phones[1].inbox if isinstance(one, Request) and one.method == b"ACK"]
    assert acks[0].uri == phones[1].contact


def test_trap_8_a_late_invite_repeat_is_absorbed() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    stage.book.receive(callee.reply(stage.sent(callee, b"INVITE"), 200), callee.flow).sees("A 200 INVITE")
    stage.book.after(1.0).receive(invite, caller.flow).sees()
    stage.book.after(20.0).receive(invite, caller.flow).sees()


def test_a_repeated_invite_gets_the_last_provisional_again() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    stage.book.receive(invite, caller.flow).sees("A 100 INVITE")
    stage.book.receive(callee.reply(stage.sent(callee, b"INVITE"), 180), callee.flow).sees("A 180 INVITE")
    stage.book.receive(invite, caller.flow).sees("A 180 INVITE")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((486, 603), 603),
        ((404, 486), 404),
        ((503, 404), 404),
        ((503, 500), 500),
        ((480, 401), 401),
        ((302, 486), 302),
    ],
)
def test_trap_9_the_best_response_wins(answers: tuple[int, int], expected: int) -> None:
    stage, caller, phones = fork("D", "E")
    calling(stage, caller, "101", *phones)
    for phone, status in zip(phones, answers, strict=True):
        stage.book.receive(phone.reply(stage.sent(phone, b"INVITE"), status), phone.flow)
    stage.book.sees("D ACK", "E ACK", f"A {expected} INVITE")


def test_trap_9_a_503_alone_becomes_500() -> None:
    stage, caller, (callee,) = site("D")
    calling(stage, caller, "101", callee)
    stage.book.receive(callee.reply(stage.sent(callee, b"INVITE"), 503), callee.flow).sees("D ACK", "A 500 INVITE")


def test_trap_9_a_timeout_of_ours_does_not_outrank_an_answer() -> None:
    stage, caller, (mute, one) = fork("D", "E")
    calling(stage, caller, "101", mute, one)
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 404), one.flow).sees("E ACK")
    stage.book.after(32.1).sees(*["D INVITE"] * 6, "A 404 INVITE")


def test_trap_9_challenges_are_merged() -> None:
    stage, caller, (one, two) = fork("D", "E")
    calling(stage, caller, "101", one, two)
    www = ((b"www-authenticate", b'Digest realm="d", nonce="1"'),)
    proxy = ((b"proxy-authenticate", b'Digest realm="e", nonce="2"'),)
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 401, headers=www), one.flow).sees("D ACK")
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 407, headers=proxy), two.flow).sees("E ACK", "A 401 INVITE")
    merged = stage.last(caller)
    assert merged.all(b"www-authenticate") == [www[0][1]]
    assert merged.all(b"proxy-authenticate") == [proxy[0][1]]


def test_trap_9_a_6xx_cancels_the_others() -> None:
    stage, caller, (one, two) = fork("D", "E")
    calling(stage, caller, "101", one, two)
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 180), two.flow).sees("A 180 INVITE")
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 603), one.flow).sees("D ACK", "E CANCEL")
    assert stage.sent(two, b"CANCEL").get(b"reason") is None
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 487), two.flow).sees("E ACK", "A 603 INVITE")
    assert ended(stage) == (CallResult.REFUSED, 603)


def test_trap_10_losers_learn_that_the_call_was_completed_elsewhere() -> None:
    stage, caller, (one, two) = fork("D", "E")
    calling(stage, caller, "101", one, two)
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 180), two.flow).sees("A 180 INVITE")
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 200), one.flow).sees("A 200 INVITE", "E CANCEL")
    assert stage.sent(two, b"CANCEL").get(b"reason") == ELSEWHERE
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 487), two.flow).sees("E ACK")


def test_trap_10_not_when_the_caller_gave_up() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    stage.book.receive(callee.reply(stage.sent(callee, b"INVITE"), 180), callee.flow).sees("A 180 INVITE")
    stage.book.receive(cancel_of(invite), caller.flow).sees("A 200 CANCEL", "D CANCEL")
    assert stage.sent(callee, b"CANCEL").get(b"reason") is None


def test_trap_10_a_loser_without_a_provisional_is_cancelled_when_one_comes() -> None:
    stage, caller, (one, two) = fork("D", "E")
    calling(stage, caller, "101", one, two)
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 200), one.flow).sees("A 200 INVITE")
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 180), two.flow).sees("E CANCEL")
    assert stage.sent(two, b"CANCEL").get(b"reason") == ELSEWHERE


def test_trap_11_a_message_to_a_mute_phone_gets_no_early_100_and_never_408() -> None:
    stage, caller, (_callee,) = site("D")
    message = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test", body=b"hello"))
    stage.book.receive(message, caller.flow).sees("D MESSAGE")
    stage.book.after(3.4).sees(*["D MESSAGE"] * 2)
    stage.book.after(0.2).sees("A 100 MESSAGE", "D MESSAGE")
    stage.book.after(40.0).sees(*["D MESSAGE"] * 7)
    assert stage.core.census()[:2] == (0, 0)


def test_trap_12_ringing_without_an_answer_ends_at_timer_c() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    stage.book.receive(callee.reply(arrived, 180), callee.flow).sees("A 180 INVITE")
    stage.book.after(100.0).receive(callee.reply(arrived, 180), callee.flow).sees("A 180 INVITE")
    stage.book.after(184.0).sees()
    stage.book.after(1.1).sees("D CANCEL")
    stage.book.receive(callee.reply(arrived, 487), callee.flow).sees("D ACK", "A 408 INVITE")
    assert ended(stage) == (CallResult.NO_ANSWER, 408)
    stage.book.receive(ack_of(invite, stage.last(caller)), caller.flow).sees()


def test_trap_12_a_cancel_that_is_never_answered_ends_after_64_t1() -> None:
    stage, caller, (callee,) = site("D")
    invite = calling(stage, caller, "101", callee)
    stage.book.receive(callee.reply(stage.sent(callee, b"INVITE"), 180), callee.flow).sees("A 180 INVITE")
    stage.book.after(185.1).sees("D CANCEL")
    stage.book.after(31.8).sees(*["D CANCEL"] * 10)
    stage.book.after(0.2).sees("A 408 INVITE")
    stage.book.receive(ack_of(invite, stage.last(caller)), caller.flow).after(33.0).sees()
    assert stage.core.census()[:2] == (0, 0)


def test_trap_12_the_ring_limit_of_a_stage_moves_the_call_on() -> None:
    stage, caller, (one, two) = site("D", "E")
    plan(stage, "7", ("101",), ("102",), seconds=20)
    calling(stage, caller, "7", one)
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 180), one.flow).sees("A 180 INVITE")
    stage.book.after(20.1).sees("D CANCEL", "E INVITE")
    assert stage.sent(one, b"CANCEL").get(b"reason") is None
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 487), one.flow).sees("D ACK")
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 180), two.flow).sees("A 180 INVITE")
    stage.book.receive(two.reply(stage.sent(two, b"INVITE"), 200), two.flow).sees("A 200 INVITE")


def test_trap_12_nothing_is_left_after_unanswered_and_answered_calls() -> None:
    stage, caller, (callee,) = site("D")
    for answer in [486, 200] * 25:
        invite = calling(stage, caller, "101", callee)
        arrived = stage.sent(callee, b"INVITE")
        stage.book.receive(callee.reply(arrived, 180), callee.flow).sees("A 180 INVITE")
        stage.book.receive(callee.reply(arrived, answer), callee.flow)
        final = stage.last(caller)
        sent = parse(invite)
        assert isinstance(sent, Request)
        if answer == 200:
            stage.book.receive(caller.in_dialog(b"ACK", final, sent), caller.flow)
            stage.book.receive(caller.in_dialog(b"BYE", final, sent), caller.flow)
            stage.book.receive(callee.reply(stage.sent(callee, b"BYE"), 200), callee.flow)
            stage.book.sees("A 200 INVITE", "D ACK", "D BYE", "A 200 BYE")
        else:
            stage.book.receive(ack_of(invite, final), caller.flow).sees("D ACK", "A 486 INVITE")
    stage.book.after(40.0).sees()
    census = stage.core.census()
    assert (census.server_transactions, census.client_transactions, census.calls, census.parked) == (0, 0, 0, 0)
    stage.book.after(600.0).sees()
    assert len(stage.core._deadlines) == census.aors


def test_trap_13_breadth_is_divided_among_branches_and_ends() -> None:
    stage, caller, phones = fork("D", "E", "F")
    invite = stage.invite(caller, "101", headers=(b"Max-Breadth: 7",))
    stage.book.receive(invite, caller.flow).sees("A 100 INVITE", "D INVITE", "E INVITE", "F INVITE")
    assert [stage.sent(one, b"INVITE").get(b"max-breadth") for one in phones] == [b"3", b"2", b"2"]
    narrow = stage.invite(caller, "101", headers=(b"Max-Breadth: 2",))
    stage.book.receive(narrow, caller.flow).sees("A 100 INVITE", "A 440 INVITE")


def test_trap_13_a_request_that_comes_back_unchanged_is_a_loop() -> None:
    stage, caller, (callee,) = site("D")
    calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    # The phone sends the request back as it left the caller: our Via is in it, and what routes it is the same.
    looped = arrived.copy()
    looped.uri = b"sip:101@gw.test"
    looped.remove(b"record-route")
    looped.prepend(b"via", b"SIP/2.0/UDP 198.51.100.11:5060;branch=z9hG4bKloop;rport")
    stage.book.receive(looped.to_bytes(), callee.flow).sees("D 482 INVITE")
    looped.uri = b"sip:102@gw.test"
    looped.set_top(b"via", b"SIP/2.0/UDP 198.51.100.11:5060;branch=z9hG4bKspiral;rport")
    stage.book.receive(looped.to_bytes(), callee.flow).sees("D 407 INVITE")


def test_trap_13_a_loop_is_seen_in_one_via_line_too() -> None:
    stage, caller, (callee,) = site("D")
    calling(stage, caller, "101", callee)
    arrived = stage.sent(callee, b"INVITE")
    looped = arrived.copy()
    looped.uri = b"sip:101@gw.test"
    looped.remove(b"record-route")
    vias = looped.all(b"via")
    looped.replace(b"via", b", ".join([b"SIP/2.0/UDP 198.51.100.11:5060;branch=z9hG4bKloop;rport", *vias]))
    stage.book.receive(looped.to_bytes(), callee.flow).sees("D 482 INVITE")


def test_trap_14_max_forwards() -> None:
    stage, caller, (callee,) = site("D")
    stage.book.receive(caller.request(b"INVITE", b"sip:101@gw.test", max_forwards=0), caller.flow).sees("A 483 INVITE")
    stage.book.receive(caller.request(b"OPTIONS", b"sip:gw.test", max_forwards=0), caller.flow).sees("A 200 OPTIONS")
    absent = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test", max_forwards=None))
    stage.book.receive(absent, caller.flow).sees("D MESSAGE")
    assert stage.sent(callee, b"MESSAGE").max_forwards == 70
    one = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test", max_forwards=1))
    stage.book.receive(one, caller.flow).sees("D MESSAGE")
    assert stage.sent(callee, b"MESSAGE").max_forwards == 0


def test_a_plan_that_stops_at_a_rejection() -> None:
    stage, caller, (one, _two) = site("D", "E")
    plan(stage, "7", ("101",), ("102",), on_reject=OnReject.END)
    calling(stage, caller, "7", one)
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 486), one.flow).sees("D ACK", "A 486 INVITE")
    plan(stage, "8", ("101",), ("102",), on_reject=OnReject.NEXT_STAGE)
    calling(stage, caller, "8", one)
    stage.book.receive(one.reply(stage.sent(one, b"INVITE"), 603), one.flow).sees("D ACK", "E INVITE")


def test_a_number_nobody_is_registered_for_is_480_and_a_missed_call() -> None:
    stage = Stage()
    caller = stage.registered("A", "100")
    stage.phone("D", "101")
    invite = stage.invite(caller, "101")
    stage.book.receive(invite, caller.flow).sees("A 100 INVITE", "A 480 INVITE")
    assert ended(stage) == (CallResult.NO_ANSWER, 480)


def test_past_the_bound_new_requests_get_503_and_answered_ones_make_room() -> None:
    from sip.limits import SipLimits

    stage = Stage(limits=SipLimits(transactions=3))
    caller, callee = stage.registered("A", "100"), stage.registered("D", "101")
    for _ in range(5):
        stage.register(callee)
    calling(stage, caller, "101", callee)
    message = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test"))
    stage.book.receive(message, caller.flow).sees("D MESSAGE")
    refused = stage.challenged(caller, caller.request(b"MESSAGE", b"sip:101@gw.test"))
    stage.book.receive(refused, caller.flow).sees("A 503 MESSAGE")
    assert 30 <= int(stage.last(caller).get(b"retry-after")) <= 60
    assert stage.said(Refused)[-1].reason == "transactions full"
