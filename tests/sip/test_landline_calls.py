"""Landlines ring as branches of a call: what the carrier is sent, what the caller sees, in a dialog and at its end."""

import pytest

from registry.logs import CallResult
from sip.message import Request
from tests.sip.carrier import CHALLENGE, NUMBER, OTHER, STALE, CarrierStage, proves, sent_by, trunk
from tests.sip.phones import Phone


def talking(*, challenged: bool = False) -> tuple[CarrierStage, Request]:
    """A call that the landline has answered and the door has acknowledged; the INVITE as the carrier has it."""
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    if challenged:
        stage.says(stage.first, 407, CHALLENGE)
        stage.book.sees("C ACK", "C INVITE")
    stage.says(stage.first, 200)
    stage.book.sees("D 200 INVITE")
    invite = stage.sent(stage.first, b"INVITE")
    ours = sent_by(stage.door)
    stage.book.receive(stage.door.in_dialog(b"ACK", stage.last(stage.door), ours), stage.door.flow).sees("C ACK")
    return stage, invite


def test_call_type_1_the_landline_rings_with_the_monitor_and_the_caller_hears_the_carrier() -> None:
    stage = CarrierStage(trunk())
    monitor = stage.registered("M", "monitor")
    stage.plan(("monitor", NUMBER))
    stage.dial()
    stage.book.sees("D 100 INVITE", "M INVITE", "C INVITE")
    stage.says(stage.first, 100)
    stage.says(stage.first, 183)
    stage.book.sees("D 183 INVITE")
    stage.says(monitor, 180)
    stage.book.sees("D 180 INVITE")
    stage.says(stage.first, 200)
    stage.book.sees("D 200 INVITE", "M CANCEL")
    assert b"cause=200" in (stage.sent(monitor, b"CANCEL").get(b"reason") or b"")
    stage.says(monitor, 487)
    stage.book.sees("M ACK")
    assert stage.held() == (1, 1)
    assert stage.heard() == [True]


def test_the_carrier_sees_numbers_and_nothing_of_the_inside_and_the_caller_nothing_of_the_carrier() -> None:
    stage = CarrierStage(trunk(domain="carrier.example", international_prefix="00"))
    stage.plan((NUMBER,))
    stage.dial(headers=(b"P-Asserted-Identity: <sip:+1900@gw.test>", b"User-Agent: A door"))
    stage.book.sees("D 100 INVITE", "C INVITE")
    sent = stage.sent(stage.first, b"INVITE")
    assert sent.uri == b"sip:0049301234567@carrier.example;user=phone"
    assert sent.from_addr.uri == b"sip:004930100@carrier.example;user=phone"
    assert sent.to_addr.uri == sent.uri
    assert len(sent.all(b"via")) == 1
    for hidden in (b"p-asserted-identity", b"user-agent", b"proxy-authorization", b"authorization"):
        assert not sent.has(hidden)
    stage.says(stage.first, 180, (b"server", b"Carrier/1"))
    stage.book.sees("D 180 INVITE")
    seen = stage.last(stage.door)
    assert seen.from_addr.uri == b"sip:door@gw.test"
    assert seen.to_addr.uri == b"sip:101@gw.test"
    assert seen.to_tag == b"tag-C"
    assert len(seen.all(b"via")) == 1
    assert not seen.has(b"server")
    stage.says(stage.first, 486)
    stage.book.sees("C ACK", "D 486 INVITE")
    assert stage.held() == (0, 0)
    assert stage.result() == (CallResult.BUSY, 486, (NUMBER,), "")


def test_call_type_2_the_landline_comes_after_the_monitor() -> None:
    stage = CarrierStage(trunk())
    monitor = stage.registered("M", "monitor")
    stage.plan(("monitor",), (NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "M INVITE")
    stage.says(monitor, 180)
    stage.book.sees("D 180 INVITE")
    assert stage.held() == (0, 0), "a stage that does not ring holds nothing"
    stage.book.after(20.0).sees("M CANCEL", "C INVITE")
    stage.says(monitor, 487)
    stage.book.sees("M ACK")
    stage.says(stage.first, 180)
    stage.says(stage.first, 200)
    stage.book.sees("D 180 INVITE", "D 200 INVITE")
    ours = sent_by(stage.door)
    stage.book.receive(stage.door.in_dialog(b"BYE", stage.last(stage.door), ours), stage.door.flow).sees("C BYE")
    stage.book.receive(stage.first.reply(stage.sent(stage.first, b"BYE"), 200), stage.first.flow).sees("D 200 BYE")
    assert stage.result() == (CallResult.ANSWERED, 200, ("monitor", NUMBER), NUMBER)
    assert stage.held() == (0, 0)


def test_a_challenge_is_answered_here_and_the_callers_numbers_stay_its_own() -> None:
    stage, invite = talking(challenged=True)
    first = next(one for one in stage.first.inbox if isinstance(one, Request) and one.method == b"INVITE")
    assert invite.cseq[0] == first.cseq[0] + 1
    assert invite.branch != first.branch
    assert invite.all(b"record-route") != first.all(b"record-route"), "its token says what to count"
    assert len(invite.all(b"record-route")) == 1
    assert proves(invite)
    assert not first.has(b"proxy-authorization")
    assert stage.last(stage.door).cseq == (first.cseq[0], b"INVITE")
    assert stage.sent(stage.first, b"ACK").cseq == (invite.cseq[0], b"ACK")
    assert not any(one.has(b"proxy-authenticate") for one in stage.door.inbox[-2:])


@pytest.mark.parametrize("challenged", [False, True])
@pytest.mark.parametrize("method", [b"INFO", b"INVITE", b"UPDATE", b"BYE"])
def test_requests_of_the_caller_inside_the_dialog(method: bytes, challenged: bool) -> None:
    stage, invite = talking(challenged=challenged)
    ours = sent_by(stage.door)
    answered = stage.last(stage.door)
    request = stage.door.in_dialog(method, answered, ours)
    name = method.decode()
    seen = ("D 100 INVITE",) if method == b"INVITE" else ()
    stage.book.receive(request, stage.door.flow).sees(*seen, f"C {name}")
    sent = stage.sent(stage.first, method)
    assert sent.uri == stage.first.contact, "the remote target, not the number"
    assert sent.cseq[0] == invite.cseq[0] + 1
    assert sent.from_addr.uri == invite.from_addr.uri
    assert sent.to_addr.uri == invite.to_addr.uri
    assert (sent.from_tag, sent.to_tag) == (ours.from_tag, b"tag-C")
    assert len(sent.all(b"via")) == 1
    stage.book.receive(stage.first.reply(sent, 200), stage.first.flow).sees(f"D 200 {name}")
    assert stage.last(stage.door).cseq == (ours.cseq[0] + 1, method)
    if method == b"INVITE":
        ack = stage.door.in_dialog(b"ACK", answered, ours, cseq=ours.cseq[0] + 1)
        stage.book.receive(ack, stage.door.flow).sees("C ACK")
        assert stage.sent(stage.first, b"ACK").cseq[0] == sent.cseq[0]


@pytest.mark.parametrize("method", [b"INFO", b"INVITE", b"UPDATE", b"BYE"])
def test_requests_of_the_carrier_inside_the_dialog_keep_their_numbers(method: bytes) -> None:
    stage, invite = talking(challenged=True)
    request = stage.first.in_dialog_as_callee(method, invite)
    name = method.decode()
    seen = ("C 100 INVITE",) if method == b"INVITE" else ()
    stage.book.receive(request, stage.first.flow).sees(*seen, f"D {name}")
    sent = stage.sent(stage.door, method)
    assert sent.uri == stage.door.contact
    stage.book.receive(stage.door.reply(sent, 200), stage.door.flow).sees(f"C 200 {name}")
    assert stage.last(stage.first).cseq == sent.cseq
    if method == b"BYE":
        assert stage.ended().facts.ended_by == NUMBER
        assert stage.held() == (0, 0)
    else:
        assert stage.held() == (1, 1)


def test_another_gateway_of_the_trunk_may_speak_for_it_and_nobody_else() -> None:
    stage, invite = talking()
    stranger = stage.add(Phone("X", "carrier", "203.0.113.9"))
    stage.book.receive(stranger.in_dialog_as_callee(b"BYE", invite, tag=b"tag-C"), stranger.flow).sees("X 403 BYE")
    mine = stage.door.in_dialog_as_callee(b"BYE", invite, tag=b"tag-C")
    stage.book.receive(mine, stage.door.flow).sees("D 403 BYE")
    assert stage.held() == (1, 1)
    stage.book.receive(stage.second.in_dialog_as_callee(b"BYE", invite, tag=b"tag-C"), stage.second.flow).sees("D BYE")


def test_a_call_outlives_its_trunk() -> None:
    stage, invite = talking(challenged=True)
    stage.configure()
    ours = sent_by(stage.door)
    stage.book.receive(stage.door.in_dialog(b"INFO", stage.last(stage.door), ours), stage.door.flow).sees("C INFO")
    info = stage.sent(stage.first, b"INFO")
    assert b"door" not in info.from_addr.uri
    stage.book.receive(stage.first.reply(info, 200), stage.first.flow).sees("D 200 INFO")
    stage.book.receive(stage.first.in_dialog_as_callee(b"BYE", invite), stage.first.flow).sees("D BYE")
    assert stage.held() == (0, 0)


def test_a_challenged_bye_is_repeated_once_and_nothing_else_is() -> None:
    stage, invite = talking(challenged=True)
    ours = sent_by(stage.door)
    answered = stage.last(stage.door)
    info = stage.door.in_dialog(b"INFO", answered, ours)
    stage.book.receive(info, stage.door.flow).sees("C INFO")
    refused = stage.first.reply(stage.sent(stage.first, b"INFO"), 407, headers=(CHALLENGE,))
    stage.book.receive(refused, stage.first.flow).sees("D 500 INFO")
    assert not stage.last(stage.door).has(b"proxy-authenticate")
    bye = stage.door.in_dialog(b"BYE", answered, ours, cseq=ours.cseq[0] + 2)
    stage.book.receive(bye, stage.door.flow).sees("C BYE")
    challenge = stage.first.reply(stage.sent(stage.first, b"BYE"), 407, headers=(CHALLENGE,))
    stage.book.receive(challenge, stage.first.flow).sees("C BYE")
    again = stage.sent(stage.first, b"BYE")
    assert again.cseq[0] == invite.cseq[0] + 3
    assert proves(again)
    assert stage.held() == (1, 1)
    stage.book.receive(stage.first.reply(again, 200), stage.first.flow).sees("D 200 BYE")
    assert stage.last(stage.door).cseq == (ours.cseq[0] + 2, b"BYE")
    assert stage.held() == (0, 0)


def test_a_bye_that_the_carrier_refuses_does_not_make_room_for_another_call() -> None:
    stage, _ = talking()
    ours = sent_by(stage.door)
    answered = stage.last(stage.door)
    stage.book.receive(stage.door.in_dialog(b"BYE", answered, ours, cseq=1), stage.door.flow).sees("C BYE")
    stage.book.receive(stage.first.reply(stage.sent(stage.first, b"BYE"), 500), stage.first.flow).sees("D 500 BYE")
    assert stage.held() == (1, 1), "the carrier talks on"
    foreign = stage.door.in_dialog(b"BYE", answered, ours, cseq=90).replace(b"tag=tag-C", b"tag=another")
    stage.book.receive(foreign, stage.door.flow).sees("C BYE")
    stage.book.receive(stage.first.reply(stage.sent(stage.first, b"BYE"), 481), stage.first.flow).sees("D 481 BYE")
    assert stage.held() == (1, 1), "that was another dialog"
    stage.book.receive(stage.door.in_dialog(b"BYE", answered, ours, cseq=91), stage.door.flow).sees("C BYE")
    stage.book.receive(stage.first.reply(stage.sent(stage.first, b"BYE"), 481), stage.first.flow).sees("D 481 BYE")
    assert stage.held() == (0, 0)


def test_a_transfer_over_the_trunk_is_refused() -> None:
    stage, _ = talking()
    refer = stage.door.in_dialog(b"REFER", stage.last(stage.door), sent_by(stage.door), headers=(b"Refer-To: <tel:+1900>",))
    stage.book.receive(refer, stage.door.flow).sees("D 403 REFER")


def test_the_token_of_a_call_that_is_over_begins_no_other() -> None:
    stage, invite = talking()
    ours, answered = sent_by(stage.door), stage.last(stage.door)
    wrong = stage.door.in_dialog(b"INVITE", answered, ours).replace(b"tag=tag-C", b"tag=another")
    stage.book.receive(wrong, stage.door.flow).sees("D 481 INVITE")
    stage.book.receive(stage.first.in_dialog_as_callee(b"BYE", invite), stage.first.flow).sees("D BYE")
    again = stage.door.in_dialog(b"INVITE", answered, ours, cseq=80).replace(stage.first.contact, b"sip:+491900@192.0.2.71")
    stage.book.receive(again, stage.door.flow).sees("D 481 INVITE")


def test_a_stale_nonce_is_answered_anew_and_a_refused_proof_is_final() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 407, CHALLENGE)
    stage.book.sees("C ACK", "C INVITE")
    stage.says(stage.first, 407, STALE)
    stage.book.sees("C ACK", "C INVITE")
    assert proves(stage.sent(stage.first, b"INVITE"))
    assert len(stage.sent(stage.first, b"INVITE").all(b"proxy-authorization")) == 1
    stage.says(stage.first, 407, CHALLENGE)
    stage.book.sees("C ACK", "D 500 INVITE")
    assert not stage.last(stage.door).has(b"proxy-authenticate")
    assert stage.held() == (0, 0)
    assert f"failed {NUMBER} 407" in stage.trace()


def test_a_devices_challenge_gets_no_proof() -> None:
    stage = CarrierStage(trunk())
    monitor = stage.registered("M", "monitor")
    stage.plan(("monitor",))
    stage.dial()
    stage.book.sees("D 100 INVITE", "M INVITE")
    stage.says(monitor, 407, CHALLENGE)
    stage.book.sees("M ACK", "D 407 INVITE")


def test_a_redirection_is_never_followed_and_not_shown() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,))
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 302)
    stage.book.sees("C ACK", "D 500 INVITE")
    assert not stage.last(stage.door).has(b"contact")


def test_the_caller_cancels_a_ringing_landline() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,), (OTHER,))
    invite = stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 100)
    stage.says(stage.first, 407, CHALLENGE)
    stage.book.sees("C ACK", "C INVITE")
    cancel = invite.replace(b"INVITE sip", b"CANCEL sip").replace(b" INVITE\r\n", b" CANCEL\r\n")
    stage.book.receive(cancel, stage.door.flow).sees("D 200 CANCEL")
    stage.says(stage.first, 180)
    stage.book.sees("C CANCEL")
    sent = stage.sent(stage.first, b"INVITE")
    assert stage.sent(stage.first, b"CANCEL").cseq == (sent.cseq[0], b"CANCEL")
    assert stage.sent(stage.first, b"CANCEL").branch == sent.branch
    assert stage.held() == (1, 1), "until the carrier has let go"
    stage.says(stage.first, 487, request=sent)
    stage.book.sees("C ACK", "D 487 INVITE")
    assert stage.held() == (0, 0)
    assert stage.ended().facts.result is CallResult.CANCELLED


def test_a_monitor_that_answers_ends_the_landlines_ringing() -> None:
    stage = CarrierStage(trunk())
    monitor = stage.registered("M", "monitor")
    stage.plan(("monitor", NUMBER))
    stage.dial()
    stage.book.sees("D 100 INVITE", "M INVITE", "C INVITE")
    stage.says(stage.first, 180)
    stage.book.sees("D 180 INVITE")
    stage.says(monitor, 200)
    stage.book.sees("D 200 INVITE", "C CANCEL")
    assert b"cause=200" in (stage.sent(stage.first, b"CANCEL").get(b"reason") or b"")
    stage.says(stage.first, 487)
    stage.book.sees("C ACK")
    assert stage.held() == (0, 0), "the monitor's call goes on, and counts nothing"


def test_a_landline_that_rejects_ends_a_plan_that_says_so() -> None:
    stage = CarrierStage(trunk())
    stage.plan((NUMBER,), (OTHER,), end=True)
    stage.dial()
    stage.book.sees("D 100 INVITE", "C INVITE")
    stage.says(stage.first, 603)
    stage.book.sees("C ACK", "D 603 INVITE")
