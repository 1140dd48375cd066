"""Offers and answers through a media engine: traces on the core with an engine that answers when the test says so."""

from sip.events import CallEnded, KeyPressed
from sip.limits import SipLimits
from sip.media_engine import Digit, MediaAnswer, MediaDelete, MediaKey, MediaOffer
from sip.media_leg import TABLE
from sip.media_rule import MediaRule
from sip.message import Request, Response
from tests.sip.media_calls import ANSWER, OFFER, TYPE, MediaStage
from tests.sip.phones import Phone, Stage
from tests.sip.test_traps_calls import ack_of, cancel_of, plan

MORE = b"a=relayed:%d\r\n"


def stage_with(*letters: str, **how: object) -> tuple[MediaStage, list[Phone]]:
    stage = MediaStage(**how)
    return stage, [stage.registered(letter, f"{101 + index}") for index, letter in enumerate(letters)]


def called(*letters: str) -> tuple[MediaStage, list[Phone], Request]:
    """The door has called, and the engine is done with every offer: all phones ring."""
    stage, phones = stage_with(*letters)
    plan(stage, "1", tuple(one.user for one in phones))
    invite = stage.ring(*["offer"] * len(letters), dialled="1")
    for letter, offer in zip(letters, stage.offers(), strict=True):
        stage.ready(offer)
        stage.book.sees(f"{letter} INVITE")
    return stage, phones, invite


def answered(stage: MediaStage, phone: Phone, invite: Request) -> Response:
    """The phone answers, and the caller acknowledges."""
    stage.answers(phone, 200, "answer!")
    stage.ready(stage.newest(MediaAnswer))
    stage.book.sees("A 200 INVITE")
    final = stage.heard(stage.caller)
    stage.book.receive(stage.caller.in_dialog(b"ACK", final, invite), stage.caller.flow).sees(f"{phone.letter} ACK")
    return final


def test_a_call_is_rewritten_both_ways_and_ends_once() -> None:
    stage, (phone,), invite = called("D")
    offer = stage.offers()[0]
    assert offer.sdp == OFFER
    assert (offer.source, offer.toward) == (stage.caller.flow.host, phone.flow.host)
    arrived = stage.sent(phone, b"INVITE")
    assert offer.key == MediaKey(invite.call_id, invite.from_tag, b"", arrived.branch)
    assert arrived.body == OFFER + MORE % offer.number
    assert arrived.get(b"content-length") == b"%d" % len(arrived.body)
    final = answered(stage, phone, invite)
    answer = stage.newest(MediaAnswer)
    assert answer.key == offer.key._replace(to_tag=final.to_tag)
    assert (answer.source, answer.sdp) == (phone.flow.host, ANSWER)
    assert final.body == ANSWER + MORE % answer.number
    # A repeat of the 2xx is not sent to the engine again.
    stage.answers(phone, 200, "A 200 INVITE")
    assert stage.heard(stage.caller).body == final.body
    bye = stage.caller.in_dialog(b"BYE", final, invite)
    stage.book.receive(bye, stage.caller.flow).sees("delete dialog", "D BYE")
    stage.book.receive(bye, stage.caller.flow).sees()
    assert stage.deletes() == [MediaDelete(MediaKey(invite.call_id, invite.from_tag, final.to_tag))]
    stage.book.receive(phone.reply(stage.sent(phone, b"BYE"), 200), phone.flow).sees("A 200 BYE")
    stage.book.after(5 * 3600.0).sees()
    assert len(stage.said(CallEnded)) == 1


def test_the_callee_hangs_up() -> None:
    stage, (phone,), invite = called("D")
    answered(stage, phone, invite)
    bye = phone.in_dialog_as_callee(b"BYE", stage.sent(phone, b"INVITE"))
    stage.book.receive(bye, phone.flow).sees("delete dialog", "A BYE")
    key = stage.deletes()[0].key
    assert (key.from_tag, key.to_tag) == (b"tag-D", invite.from_tag)


def test_a_call_whose_bye_is_never_seen_ends_at_the_engine_with_its_record() -> None:
    stage, (phone,), invite = called("D")
    final = answered(stage, phone, invite)
    stage.book.after(SipLimits().call_seconds + 1.0).sees("delete dialog")
    assert stage.deletes()[0].key == MediaKey(invite.call_id, invite.from_tag, final.to_tag)


def test_a_refused_call_ends_once() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 486, "D ACK", "delete call", "A 486 INVITE", body=b"")
    stage.book.receive(ack_of(stage.data, stage.heard(stage.caller)), stage.caller.flow).after(60.0).sees()


def test_an_sdp_in_a_refusal_is_no_answer() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 488, "D ACK", "delete call", "A 488 INVITE")
    assert stage.heard(stage.caller).body == ANSWER


def test_a_cancelled_call_ends_once() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 180, "A 180 INVITE", body=b"")
    stage.book.receive(cancel_of(stage.data), stage.caller.flow).sees("A 200 CANCEL", "D CANCEL")
    stage.answers(phone, 487, "D ACK", "delete call", "A 487 INVITE", body=b"")
    assert len(stage.deletes()) == 1


def test_a_phone_that_never_answers_ends_once() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 180, "A 180 INVITE", body=b"")
    stage.book.after(20.0).sees("D CANCEL")
    stage.answers(phone, 487, "D ACK", "delete call", "A 408 INVITE", body=b"")
    assert len(stage.deletes()) == 1


def test_cancelled_while_the_offer_waits_for_the_engine() -> None:
    stage, (phone, _) = stage_with("D", "E")
    plan(stage, "1", ("101", "102"))
    stage.ring("offer", "offer", dialled="1")
    stage.ready(stage.offers()[0])
    stage.book.sees("D INVITE")
    stage.answers(phone, 180, "A 180 INVITE", body=b"")
    # D rings and is cancelled; E never heard of the call.
    stage.book.receive(cancel_of(stage.data), stage.caller.flow).sees("A 200 CANCEL", "D CANCEL", "delete branch")
    stage.ready(stage.offers()[1])
    stage.book.sees()
    stage.answers(phone, 487, "D ACK", "delete call", "A 487 INVITE", body=b"")
    assert stage.core.census().media == 0


def test_cancelled_while_the_only_offer_waits() -> None:
    stage, _ = stage_with("D")
    stage.ring("offer")
    stage.book.receive(cancel_of(stage.data), stage.caller.flow).sees("A 200 CANCEL", "delete call", "A 487 INVITE")
    stage.ready(stage.offers()[0])
    stage.book.sees()
    assert stage.core.census().media == 0


def test_an_engine_that_says_nothing_costs_the_branch_after_its_deadline() -> None:
    stage, _ = stage_with("D")
    stage.ring("offer")
    stage.book.after(3.9).sees()
    stage.book.after(0.2).sees("delete call", "A 503 INVITE")
    stage.ready(stage.offers()[0])
    stage.book.sees()
    assert stage.core.census().media == 0


def test_a_call_without_media_is_refused_and_one_phone_with_media_is_enough() -> None:
    stage, _ = stage_with("D")
    stage.ring("offer")
    stage.fail(stage.offers()[0])
    stage.book.sees("delete call", "A 503 INVITE")

    stage, (_, second) = stage_with("D", "E")
    plan(stage, "1", ("101", "102"))
    stage.ring("offer", "offer", dialled="1")
    stage.fail(stage.offers()[0], "unsupported", 488)
    stage.book.sees("delete branch")
    stage.ready(stage.offers()[1])
    stage.book.sees("E INVITE")
    stage.answers(second, 180, "A 180 INVITE", body=b"")


def test_three_ring_and_see_the_visitor_one_answers_the_others_are_dropped() -> None:
    stage, (one, two, three), invite = called("D", "E", "F")
    assert len({offer.key.branch for offer in stage.offers()}) == 3
    for phone in (one, two):
        stage.answers(phone, 183, "answer")
        stage.ready(stage.newest(MediaAnswer))
        stage.book.sees("A 183 INVITE")
        assert stage.heard(stage.caller).body == ANSWER + MORE % stage.newest(MediaAnswer).number
    stage.answers(three, 180, "A 180 INVITE", body=b"")
    # One phone of the three refuses: its ports are freed while the others ring.
    stage.answers(one, 486, "D ACK", "delete branch", body=b"")
    stage.answers(two, 200, "answer!", "F CANCEL")
    stage.ready(stage.newest(MediaAnswer))
    stage.book.sees("A 200 INVITE")
    # The final answer has dropped the others at the engine.
    stage.answers(three, 487, "F ACK", body=b"")
    final = stage.heard(stage.caller)
    stage.book.receive(stage.caller.in_dialog(b"BYE", final, invite), stage.caller.flow).sees("delete dialog", "E BYE")


def test_held_answers_keep_their_order() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 183, "answer", headers=((b"rseq", b"1"), (b"require", b"100rel")))
    first = stage.newest(MediaAnswer)
    stage.answers(phone, 183, headers=((b"rseq", b"1"), (b"require", b"100rel")))
    stage.answers(phone, 180, body=b"")
    stage.answers(phone, 200)
    stage.ready(first)
    stage.book.sees("A 183 INVITE", "A 183 INVITE", "A 180 INVITE", "answer!")
    stage.ready(stage.newest(MediaAnswer))
    stage.book.sees("A 200 INVITE")


def test_repeated_early_answers_are_not_sent_to_the_engine_again() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 183, "answer")
    stage.ready(stage.newest(MediaAnswer))
    stage.book.sees("A 183 INVITE")
    body = stage.heard(stage.caller).body
    stage.answers(phone, 183, "A 183 INVITE")
    assert stage.heard(stage.caller).body == body != ANSWER
    stage.answers(phone, 183, "answer", body=ANSWER + b"a=x\r\n")


def test_an_answer_in_a_reliable_1xx_counts_with_the_2xx_that_has_none() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 183, "answer")
    stage.ready(stage.newest(MediaAnswer))
    stage.book.sees("A 183 INVITE")
    stage.answers(phone, 200, "answer!", "A 200 INVITE", body=b"")
    assert stage.newest(MediaAnswer).sdp == ANSWER
    stage.answers(phone, 200, "A 200 INVITE", body=b"")


def test_a_2xx_without_any_answer_leaves_nothing_at_the_engine() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 200, "delete call", "A 200 INVITE", body=b"")


def test_an_answer_that_the_engine_refuses_passes_untouched() -> None:
    stage, (phone,), _ = called("D")
    stage.answers(phone, 200, "answer!")
    stage.fail(stage.newest(MediaAnswer), "garbage", 488)
    stage.book.sees("delete call", "A 200 INVITE")
    assert stage.heard(stage.caller).body == ANSWER


def test_a_second_2xx_passes_untouched() -> None:
    stage, (one, two), _ = called("D", "E")
    stage.answers(one, 200, "answer!")
    stage.answers(two, 200, "A 200 INVITE")
    assert stage.heard(stage.caller).body == ANSWER
    stage.ready(stage.newest(MediaAnswer))
    stage.book.sees("A 200 INVITE")


def test_delayed_offer_in_the_2xx_is_answered_in_the_ack() -> None:
    stage, (phone,) = stage_with("D")
    invite = stage.ring("D INVITE", body=b"")
    stage.answers(phone, 200, "offer")
    offer = stage.offers()[0]
    assert (offer.key.from_tag, offer.key.to_tag) == (b"tag-D", invite.from_tag)
    assert (offer.source, offer.toward) == (phone.flow.host, stage.caller.flow.host)
    stage.ready(offer)
    stage.book.sees("A 200 INVITE")
    final = stage.heard(stage.caller)
    assert final.body == ANSWER + MORE % offer.number
    stage.answers(phone, 200, "A 200 INVITE")
    ack = stage.caller.in_dialog(b"ACK", final, invite, headers=(TYPE,), body=OFFER)
    stage.book.receive(ack, stage.caller.flow).sees("answer!")
    answer = stage.newest(MediaAnswer)
    assert answer.key == MediaKey(invite.call_id, b"tag-D", invite.from_tag)
    assert (answer.source, answer.sdp) == (stage.caller.flow.host, OFFER)
    stage.ready(answer)
    stage.book.sees("D ACK")
    assert stage.sent(phone, b"ACK").body == OFFER + MORE % answer.number
    # Without an engine that answers, the ACK still goes: its call must not fall.
    stage.book.receive(ack, stage.caller.flow).sees("answer!").after(5.0).sees("D ACK")
    stage.book.receive(stage.caller.in_dialog(b"BYE", final, invite), stage.caller.flow).sees("delete dialog", "D BYE")


def test_delayed_offer_in_a_reliable_1xx_is_answered_in_the_prack() -> None:
    stage, (one, two) = stage_with("D", "E")
    plan(stage, "1", ("101", "102"))
    invite = stage.ring("D INVITE", "E INVITE", dialled="1", body=b"")
    reliable = ((b"rseq", b"1"), (b"require", b"100rel"))
    for phone in (one, two):
        stage.answers(phone, 183, "offer", headers=reliable)
        stage.ready(stage.newest(MediaOffer))
        stage.book.sees("A 183 INVITE")
    early = stage.heard(stage.caller)
    prack = stage.caller.in_dialog(b"PRACK", early, invite, headers=(TYPE, b"RAck: 1 1 INVITE"), body=OFFER)
    stage.book.receive(prack, stage.caller.flow).sees("answer!")
    assert stage.newest(MediaAnswer).key == MediaKey(invite.call_id, b"tag-E", invite.from_tag)
    stage.ready(stage.newest(MediaAnswer))
    stage.book.sees("E PRACK")
    stage.book.receive(two.reply(stage.sent(two, b"PRACK"), 200), two.flow).sees("A 200 PRACK")
    # A further PRACK with SDP is a new offer.
    again = stage.caller.in_dialog(b"PRACK", early, invite, cseq=90, headers=(TYPE, b"RAck: 2 1 INVITE"), body=OFFER)
    stage.book.receive(again, stage.caller.flow).sees("offer")
    # The loser's session has its own tag, and ends with it.
    stage.answers(two, 200, "A 200 INVITE", "D CANCEL", body=b"")
    stage.answers(one, 487, "D ACK", "delete branch", body=b"")
    assert stage.deletes()[-1].key.from_tag == b"tag-D"


def test_a_new_offer_inside_the_dialog_from_either_side() -> None:
    stage, (phone,), invite = called("D")
    final = answered(stage, phone, invite)
    first = stage.sent(phone, b"INVITE")
    for method in (b"INVITE", b"UPDATE"):
        name = method.decode()
        stage.caller.cseq += 1
        data = stage.caller.in_dialog(method, final, invite, cseq=50 + len(method), headers=(TYPE,), body=OFFER)
        stage.book.receive(data, stage.caller.flow).sees(*["A 100 INVITE", "offer"][-1 if name == "UPDATE" else 0 :])
        offer = stage.newest(MediaOffer)
        assert offer.key == MediaKey(invite.call_id, invite.from_tag, b"tag-D")
        stage.ready(offer)
        stage.book.sees(f"D {name}")
        request = stage.sent(phone, method)
        assert request.body == OFFER + MORE % offer.number
        reply = phone.reply(request, 200, headers=((b"content-type", b"application/sdp"),), body=ANSWER)
        stage.book.receive(reply, phone.flow).sees("answer!" if name == "INVITE" else "answer")
        answer = stage.newest(MediaAnswer)
        assert (answer.key, answer.source) == (offer.key, phone.flow.host)
        stage.ready(answer)
        stage.book.sees(f"A 200 {name}")
    data = phone.in_dialog_as_callee(b"UPDATE", first, headers=(TYPE,), body=OFFER)
    stage.book.receive(data, phone.flow).sees("offer")
    offer = stage.newest(MediaOffer)
    assert (offer.key, offer.source) == (MediaKey(invite.call_id, b"tag-D", invite.from_tag), phone.flow.host)
    # Refused by the engine: the dialog lives on.
    stage.fail(offer, "unsupported", 488)
    stage.book.sees("D 488 UPDATE")
    assert stage.deletes() == []


def test_what_never_touches_the_engine() -> None:
    # No engine.
    bare = Stage()
    caller, phone = bare.registered("A", "100"), bare.registered("D", "101")
    data = bare.invite(caller, "101", headers=(TYPE,), body=OFFER)
    bare.book.receive(data, caller.flow).sees("A 100 INVITE", "D INVITE")
    assert bare.sent(phone, b"INVITE").body == OFFER
    # One network; and a call without SDP, or with something else, from afar.
    stage = MediaStage()
    neighbour = stage.registered("N", "109", host=stage.caller.flow.host, port=40_000)
    stage.ring("N INVITE", dialled="109")
    assert stage.sent(neighbour, b"INVITE").body == OFFER
    stage.answers(neighbour, 200, "A 200 INVITE")
    far = stage.registered("D", "101")
    message = stage.caller.request(b"MESSAGE", b"sip:101@gw.test", headers=(TYPE,), body=OFFER)
    stage.book.receive(stage.challenged(stage.caller, message), stage.caller.flow).sees("D MESSAGE")
    assert stage.sent(far, b"MESSAGE").body == OFFER
    assert stage.asked() == []


def test_always_means_neighbours_too() -> None:
    stage = MediaStage(media=MediaRule(always=True))
    stage.registered("N", "109", host=stage.caller.flow.host, port=40_000)
    stage.ring("offer", dialled="109")


def test_a_neighbour_answers_what_also_rang_afar() -> None:
    stage = MediaStage()
    neighbour = stage.registered("N", "109", host=stage.caller.flow.host, port=40_000)
    far = stage.registered("D", "101")
    plan(stage, "1", ("109", "101"))
    invite = stage.ring("N INVITE", "offer", dialled="1")
    stage.ready(stage.offers()[0])
    stage.book.sees("D INVITE")
    stage.answers(far, 180, "A 180 INVITE", body=b"")
    stage.answers(neighbour, 200, "A 200 INVITE", "delete call", "D CANCEL")
    final = stage.heard(stage.caller)
    assert final.body == ANSWER
    stage.answers(far, 487, "D ACK", body=b"")
    stage.book.receive(stage.caller.in_dialog(b"BYE", final, invite), stage.caller.flow).sees("N BYE")


def test_an_end_that_has_moved_to_another_network_is_relayed_from_its_next_offer_on() -> None:
    stage = MediaStage()
    neighbour = stage.registered("N", "109", host=stage.caller.flow.host, port=40_000)
    invite = stage.ring("N INVITE", dialled="109")
    stage.answers(neighbour, 200, "A 200 INVITE")
    final = stage.heard(stage.caller)
    moved = Phone("M", "109", "203.0.113.77", 41_000)
    moved.contact = neighbour.contact
    stage.register(stage.add(moved))
    data = stage.caller.in_dialog(b"INVITE", final, invite, headers=(TYPE,), body=OFFER)
    stage.core.forget_account("109", stage.book.now)
    stage.register(moved)
    stage.book.receive(data, stage.caller.flow).sees("A 100 INVITE", "offer")
    assert stage.offers()[0].toward == "203.0.113.77"


def test_keys_in_the_media_are_told_with_both_accounts() -> None:
    stage, (phone,), invite = called("D")
    digit = Digit(invite.call_id, b"tag-D", invite.from_tag, "#", 100)
    stage.book.call(stage.core.media_told, digit)
    assert stage.said(KeyPressed) == []
    answered(stage, phone, invite)
    stage.book.call(stage.core.media_told, digit)
    stage.book.call(stage.core.media_told, Digit(invite.call_id, invite.from_tag, b"tag-D", "1", 100))
    stage.book.call(stage.core.media_told, Digit(b"other", invite.from_tag, b"tag-D", "1", 100))
    call_id = invite.call_id.decode()
    assert stage.said(KeyPressed) == [KeyPressed(call_id, "101", "100", "#"), KeyPressed(call_id, "100", "101", "1")]


def test_the_table_of_a_leg_ends_every_state() -> None:
    states = {state for state, _ in TABLE} | {after for after, _ in TABLE.values()}
    assert {state for state, event in TABLE if event == "ended"} == states - {"over"}
    assert not any(state == "over" for state, _ in TABLE)
