"""Apps whose live binding may be dead (RFC 8599): rung and pushed at once, and rung over a new flow only where that is right."""

from collections.abc import Callable

import pytest

from registry.logs import CallResult
from sip.directory import UNKNOWN, PushParameters, PushQuestion
from sip.events import CallEnded, Flow, Push, Refused
from sip.limits import SipLimits
from sip.message import Request
from sip.waiting import ASLEEP, DOUBTED, OVER, TABLE, UNPUSHED, UNREACHED
from tests.sip.phones import Phone
from tests.sip.test_traps_calls import ELSEWHERE, ack_of, cancel_of, plan
from tests.sip.test_waiting import INSTANCE, OTHER, Asleep


@pytest.fixture
def stage() -> Asleep:
    return Asleep()


def rung(stage: Asleep, *stages: tuple[str, ...]) -> tuple[Phone, bytes]:
    """The app P has a live binding; the caller's INVITE has gone there, and a push too. (P, the caller's INVITE)."""
    app = stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    plan(stage, "1", *(stages or (("app",),)))
    invite = stage.calls("1", "P INVITE", "Push call app")
    stage.book.after(1.0)
    return app, invite


def moves(stage: Asleep, *lines: str, letter: str = "Q", port: int = 40001) -> Phone:
    """The app registers over a new flow."""
    app = stage.wakes(letter, port=port)
    stage.book.sees(f"{letter} 200 REGISTER", *lines)
    return app


def state(stage: Asleep) -> list[str]:
    return [one.state for one in stage.core._waiting._by_account.get("app", [])]


def says(stage: Asleep, phone: Phone, status: int, *lines: str) -> None:
    """The phone answers the newest INVITE that it got."""
    stage.book.receive(phone.reply(stage.sent(phone, b"INVITE"), status), phone.flow).sees(*lines)


# The main flow


def test_invite_and_push_leave_together_and_the_app_answers_over_its_new_flow(stage: Asleep) -> None:
    rung(stage)
    (push,) = stage.said(Push)
    assert [one.instance for one in push.apps] == [INSTANCE]
    stage.pushed()
    new = moves(stage, "Q INVITE")
    assert state(stage) == []
    says(stage, new, 180, "A 180 INVITE")
    stage.book.after(1.0)
    says(stage, new, 200, "A 200 INVITE")
    facts = stage.core._calls._live.copy().popitem()[1].facts(stage.book.now, None, "", 0)
    assert (facts.rang, facts.answered_by, facts.missed) == (("app",), "app", ())
    assert [(step.event.value, step.reason) for step in facts.trace] == [
        ("invite", ""), ("push", ""), ("push-accepted", ""), ("registered", ""), ("invite", ""),
        ("cancelled", "moved"), ("ringing", ""), ("answered", ""),
    ]  # fmt: skip
    assert stage.core.census().waiting == 0
    assert [one.purpose for one in stage.said(Push)] == ["call"]


def test_an_app_that_rings_over_its_old_flow_gets_no_second_invite_and_no_cancel_push(stage: Asleep) -> None:
    old, invite = rung(stage)
    says(stage, old, 100)
    assert state(stage) == [DOUBTED]
    says(stage, old, 180, "A 180 INVITE")
    assert state(stage) == []
    moves(stage)
    stage.book.receive(cancel_of(invite), stage.caller.flow)
    stage.book.sees("A 200 CANCEL", "P CANCEL")
    says(stage, old, 487, "P ACK", "A 487 INVITE")
    assert [one.purpose for one in stage.said(Push)] == ["call"]


def test_a_100_of_the_old_flow_says_nothing_and_the_branch_is_cancelled_without_a_missed_call(stage: Asleep) -> None:
    old, _ = rung(stage)
    says(stage, old, 100)
    new = moves(stage, "Q INVITE")
    says(stage, new, 180, "P CANCEL", "A 180 INVITE")
    assert stage.sent(old, b"CANCEL").get(b"reason") == ELSEWHERE
    says(stage, old, 487, "P ACK")
    says(stage, new, 486, "Q ACK", "A 486 INVITE")
    (ended,) = stage.said(CallEnded)
    assert (ended.facts.result, ended.facts.missed) == (CallResult.BUSY, ())


def test_what_the_old_flow_brings_too_late_is_cancelled(stage: Asleep) -> None:
    old, _ = rung(stage)
    new = moves(stage, "Q INVITE")
    says(stage, new, 180, "A 180 INVITE")
    says(stage, old, 180, "P CANCEL")
    assert stage.sent(old, b"CANCEL").get(b"reason") == ELSEWHERE
    says(stage, old, 487, "P ACK")
    says(stage, new, 200, "A 200 INVITE")


def test_the_new_flow_ends_the_call_though_the_old_one_never_answers(stage: Asleep) -> None:
    rung(stage)
    new = moves(stage, "Q INVITE")
    says(stage, new, 603, "Q ACK", "A 603 INVITE")
    assert stage.core.census().waiting == 0


def test_a_phone_that_had_the_invite_already_goes_on_with_it(stage: Asleep) -> None:
    """RFC 3261 8.2.2.2: the same INVITE over another path is answered 482, whichever came first is what rings."""
    old, _ = rung(stage)
    new = moves(stage, "Q INVITE")
    says(stage, old, 180, "A 180 INVITE")
    says(stage, new, 482, "Q ACK")
    says(stage, old, 486, "P ACK", "A 486 INVITE")
    (ended,) = stage.said(CallEnded)
    assert ended.facts.missed == ()


def test_a_phone_that_had_the_new_invite_first_answers_482_over_the_old_flow(stage: Asleep) -> None:
    old, _ = rung(stage)
    new = moves(stage, "Q INVITE")
    says(stage, old, 482, "P ACK")
    says(stage, new, 180, "A 180 INVITE")
    says(stage, new, 486, "Q ACK", "A 486 INVITE")


def test_a_new_registration_over_the_old_flow_brings_no_second_invite(stage: Asleep) -> None:
    old, _ = rung(stage)
    again = old.register(contact=b'<%b>;+sip.instance="%b"' % (old.contact, INSTANCE.encode()), call_id=b"reg-40000")
    stage.book.receive(again, old.flow).sees("P 401 REGISTER")
    stage.book.receive(old.with_credentials(again, stage.last(old)), old.flow).sees("P 200 REGISTER")
    assert state(stage) == [DOUBTED]


def test_an_app_that_wakes_up_over_the_same_udp_flow_need_not_wait_for_timer_a(stage: Asleep) -> None:
    phone = stage.add(Phone("P", "app", "203.0.113.9", 40000))
    contact = b'<%b>;+sip.instance="%b"' % (phone.contact, INSTANCE.encode())
    stage.register(phone, contact=contact)
    stage.add_app("app")
    plan(stage, "1", ("app",))
    stage.calls("1", "P INVITE", "Push call app")
    stage.book.after(9.0).sees("P INVITE", "P INVITE", "P INVITE", "P INVITE")
    again = phone.register(contact=contact)
    stage.book.receive(again, phone.flow).sees("P 401 REGISTER")
    stage.wakers.known["app"] = (PushParameters("fcm", "token-x", "p", INSTANCE),)
    stage.book.receive(phone.with_credentials(again, stage.last(phone)), phone.flow).sees("P 200 REGISTER", "P INVITE")
    assert len({one.branch for one in phone.inbox if isinstance(one, Request) and one.method == b"INVITE"}) == 1
    says(stage, phone, 180, "A 180 INVITE")


def test_an_app_that_moves_twice_gets_no_third_invite(stage: Asleep) -> None:
    rung(stage)
    moves(stage, "Q INVITE")
    moves(stage, letter="R", port=40002)


def test_another_phone_of_the_account_is_no_new_flow_of_this_one(stage: Asleep) -> None:
    rung(stage)
    stage.wakes("R", instance=OTHER, port=40002, prid=b"another")
    stage.book.sees("R 200 REGISTER")
    assert state(stage) == [DOUBTED]


def test_an_app_without_an_instance_is_known_by_its_prid(stage: Asleep) -> None:
    def registers(letter: str, port: int, prid: bytes) -> Phone:
        phone = Phone(letter, "app", "203.0.113.9", port)
        stage.add(phone)
        contact = b"<%b;pn-provider=fcm;pn-prid=%b>" % (phone.contact, prid)
        data = phone.register(contact=contact, call_id=b"reg-%d" % port)
        stage.book.receive(data, phone.flow).sees(f"{letter} 401 REGISTER")
        stage.book.receive(phone.with_credentials(data, stage.last(phone)), phone.flow)
        return phone

    stage.wakers.known["app"] = ()
    registers("P", 40000, b"one")
    stage.book.sees("P 200 REGISTER")
    plan(stage, "1", ("app",))
    stage.calls("1", "P INVITE", "Push call app")
    registers("R", 40002, b"two")
    stage.book.sees("R 200 REGISTER")
    registers("Q", 40001, b"one")
    stage.book.sees("Q 200 REGISTER", "Q INVITE")


def test_a_binding_from_before_a_restart_without_an_instance_is_doubted_too(stage: Asleep) -> None:
    phone = stage.add(Phone("P", "app", "203.0.113.9", 40000))
    stage.register(phone)
    stage.wakers.known["app"] = (PushParameters("fcm", "token-x", "p", ""),)
    plan(stage, "1", ("app",))
    stage.calls("1", "P INVITE", "Push call app")
    stage.wakes("Q", port=40001)
    stage.book.sees("Q 200 REGISTER", "Q INVITE")


def test_what_is_learnt_late_is_doubted_late_and_a_move_meanwhile_is_not_lost(stage: Asleep) -> None:
    stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    plan(stage, "1", ("app",))
    stage.wakers.unknown.add("app")
    stage.calls("1", "P INVITE", "Fetch PushQuestion(username='app')")
    stage.book.after(0.1)
    moves(stage)
    assert stage.wakers.parameters("app") is UNKNOWN
    stage.wakers.unknown.clear()
    stage.book.call(stage.core.answered, PushQuestion("app")).sees("Push call app", "Q INVITE")


def test_what_is_learnt_late_is_doubted_late(stage: Asleep) -> None:
    stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    plan(stage, "1", ("app",))
    stage.wakers.unknown.add("app")
    stage.calls("1", "P INVITE", "Fetch PushQuestion(username='app')")
    stage.wakers.unknown.clear()
    stage.book.call(stage.core.answered, PushQuestion("app")).sees("Push call app")
    assert state(stage) == [DOUBTED]
    moves(stage, "Q INVITE")


def outbound(stage: Asleep, letter: str, port: int, reg_id: int) -> Phone:
    """The app registers one of its several flows (RFC 5626)."""
    phone = Phone(letter, "app", "203.0.113.9", port)
    phone.flow = Flow("tcp", f"s{port}", "203.0.113.9", port)
    stage.add(phone)
    contact = b'<%b;pn-provider=fcm;pn-prid=x>;+sip.instance="%b";reg-id=%d' % (phone.contact, INSTANCE.encode(), reg_id)
    data = phone.register(b"Supported: outbound", contact=contact, call_id=b"reg-%d" % port)
    stage.book.receive(data, phone.flow).sees(f"{letter} 401 REGISTER")
    stage.book.receive(phone.with_credentials(data, stage.last(phone)), phone.flow)
    return phone


def two_flows(stage: Asleep) -> tuple[Phone, Phone]:
    """The flows P and Q to one app, and a call to it over P."""
    stage.core.advertise("tcp", "192.0.2.1", 5060)
    second = outbound(stage, "Q", 40001, 2)
    stage.book.sees("Q 200 REGISTER").after(1.0)
    first = outbound(stage, "P", 40000, 1)
    stage.book.sees("P 200 REGISTER")
    plan(stage, "1", ("app",))
    stage.calls("1", "P INVITE", "Push call app")
    stage.book.after(1.0)
    return first, second


def test_the_other_flow_of_a_device_is_doubted_in_the_place_of_the_one_that_failed(stage: Asleep) -> None:
    first, _ = two_flows(stage)
    stage.book.call(stage.core.flow_closed, first.flow).sees("Q INVITE")
    assert state(stage) == [DOUBTED]
    outbound(stage, "R", 40002, 1)
    stage.book.sees("R 200 REGISTER", "R INVITE")


def test_an_app_that_rings_over_its_other_flow_is_not_rung_over_a_third(stage: Asleep) -> None:
    first, second = two_flows(stage)
    stage.book.call(stage.core.flow_closed, first.flow).sees("Q INVITE")
    says(stage, second, 180, "A 180 INVITE")
    outbound(stage, "R", 40002, 1)
    stage.book.sees("R 200 REGISTER")


def test_a_flow_from_before_the_call_shows_nothing_until_it_registers_again(stage: Asleep) -> None:
    two_flows(stage)
    stage.wakes("S", instance=OTHER, port=40005, prid=b"another")
    stage.book.sees("S 200 REGISTER")
    outbound(stage, "R", 40003, 2)  # the second flow anew
    stage.book.sees("R 200 REGISTER", "R INVITE")


def test_how_many_may_be_doubted_is_bounded_and_they_ring_all_the_same() -> None:
    stage = Asleep(SipLimits(waiting=0))
    stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    plan(stage, "1", ("app",))
    stage.calls("1", "P INVITE")
    assert [one.reason for one in stage.said(Refused) if one.reason == "waiting full"] == ["waiting full"]


def test_an_app_in_two_stages_is_pushed_once_and_rings_over_its_new_flow_in_the_second(stage: Asleep) -> None:
    rung(stage, ("app",), ("app",))
    stage.book.after(19.0).sees("P INVITE")
    moves(stage, "Q INVITE")


# A row of the table each


def answers(stage: Asleep, phone: Phone) -> None:
    says(stage, phone, 183, "A 183 INVITE")


def registered(stage: Asleep, _phone: Phone) -> None:
    moves(stage, "Q INVITE")


def flow_failed(stage: Asleep, phone: Phone) -> None:
    stage.book.call(stage.core.flow_closed, phone.flow).sees()


def push_failed(stage: Asleep, _phone: Phone) -> None:
    stage.pushed(False, "timeout")


def elsewhere(stage: Asleep, _phone: Phone) -> None:
    monitor = next(one for one in stage.phones.values() if one.letter == "D")
    says(stage, monitor, 200, "A 200 INVITE", "Push cancel app answered-elsewhere")


def given_up(stage: Asleep, _phone: Phone) -> None:
    stage.book.after(19.1).sees("Push cancel app given-up", "A 408 INVITE")


HAPPENS: dict[str, Callable[[Asleep, Phone], None]] = {
    "answers": answers,
    "registered": registered,
    "flow failed": flow_failed,
    "push failed": push_failed,
    "answered-elsewhere": elsewhere,
    "given-up": given_up,
}
ROWS = [
    (DOUBTED, "answers", OVER),
    (DOUBTED, "registered", OVER),
    (DOUBTED, "flow failed", ASLEEP),
    (DOUBTED, "push failed", UNPUSHED),
    (DOUBTED, "answered-elsewhere", OVER),
    (DOUBTED, "given-up", OVER),
    (UNPUSHED, "answers", OVER),
    (UNPUSHED, "registered", OVER),
    (UNPUSHED, "flow failed", UNREACHED),
    (UNPUSHED, "answered-elsewhere", OVER),
    (UNPUSHED, "given-up", OVER),
]


def test_the_rows_are_all_of_these_two_states() -> None:
    assert {(before, event, after) for (before, event), (after, _) in TABLE.items() if before in (DOUBTED, UNPUSHED)} == set(ROWS)


@pytest.mark.parametrize(("before", "event", "after"), ROWS)
def test_row(stage: Asleep, before: str, event: str, after: str) -> None:
    if event == "answered-elsewhere":
        stage.registered("D", "101")
        stage.wakes("P")
        stage.book.sees("P 200 REGISTER")
        plan(stage, "1", ("app", "101"))
        stage.calls("1", "P INVITE", "D INVITE", "Push call app")
        app = next(one for one in stage.phones.values() if one.letter == "P")
    else:
        app, _ = rung(stage)
    if before == UNPUSHED:
        push_failed(stage, app)
    assert state(stage) == [before]
    HAPPENS[event](stage, app)
    assert state(stage) == ([] if after == OVER else [after])


def test_a_flow_that_fails_leaves_a_call_that_waits_until_the_ring_time_ends(stage: Asleep) -> None:
    app, _ = rung(stage)
    flow_failed(stage, app)
    stage.book.after(18.9).sees()
    stage.book.after(0.2).sees("Push cancel app given-up", "A 430 INVITE")


def test_without_a_ring_time_the_wait_after_a_failed_flow_ends_too(stage: Asleep) -> None:
    app = stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    stage.calls("app", "P INVITE", "Push call app")
    flow_failed(stage, app)
    stage.book.after(29.9).sees()
    stage.book.after(0.2).sees("Push cancel app given-up", "A 430 INVITE")


def test_a_failed_flow_and_a_failed_push_let_the_call_go_on_to_its_next_stage(stage: Asleep) -> None:
    stage.registered("D", "101")
    app, _ = rung(stage, ("app",), ("101",))
    push_failed(stage, app)
    stage.book.call(stage.core.flow_closed, app.flow).sees("Push cancel app given-up", "D INVITE")


def test_a_failed_push_alone_does_not_end_the_ringing(stage: Asleep) -> None:
    stage.registered("D", "101")
    app, _ = rung(stage, ("app",), ("101",))
    push_failed(stage, app)
    stage.book.sees()
    says(stage, app, 180, "A 180 INVITE")


def test_an_app_called_by_its_own_number_that_stays_silent_is_over_with_timer_b(stage: Asleep) -> None:
    stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    stage.calls("app", "P INVITE", "Push call app")
    stage.book.after(31.9).sees()
    stage.book.after(0.2).sees("Push cancel app given-up", "A 408 INVITE")
    assert stage.said(CallEnded)[0].facts.missed == ("app",)


def test_the_callers_cancel_withdraws_the_push_of_an_app_that_stayed_silent(stage: Asleep) -> None:
    _, invite = rung(stage)
    stage.book.receive(cancel_of(invite), stage.caller.flow)
    stage.book.sees("A 200 CANCEL", "Push cancel app given-up")
    moves(stage)


def test_a_430_of_an_edge_proxy_leaves_the_app_asleep_and_its_push_out(stage: Asleep) -> None:
    app, _ = rung(stage)
    says(stage, app, 430, "P ACK")
    assert state(stage) == [ASLEEP]
    moves(stage, "Q INVITE")


def test_a_new_flow_that_fails_before_it_rings_leaves_the_app_asleep(stage: Asleep) -> None:
    rung(stage)
    new = moves(stage, "Q INVITE")
    stage.book.call(stage.core.flow_closed, new.flow).sees()
    assert state(stage) == [ASLEEP]
    again = moves(stage, "R INVITE", letter="R", port=40002)
    says(stage, again, 200, "A 200 INVITE")


def test_the_caller_who_hangs_up_while_both_flows_are_open_leaves_nothing_behind(stage: Asleep) -> None:
    _, invite = rung(stage)
    new = moves(stage, "Q INVITE")
    says(stage, new, 180, "A 180 INVITE")
    stage.book.receive(cancel_of(invite), stage.caller.flow).sees("A 200 CANCEL", "Q CANCEL")
    says(stage, new, 487, "Q ACK", "A 487 INVITE")
    stage.book.receive(ack_of(invite, stage.last(stage.caller)), stage.caller.flow)
    stage.book.after(64.0)
    census = stage.core.census()
    assert (census.waiting, census.client_transactions, census.server_transactions) == (0, 0, 0)
