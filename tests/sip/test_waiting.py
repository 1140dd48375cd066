"""Apps that sleep (RFC 8599): traces of calls that wake them, on the core."""

from typing import Any

import pytest

from registry.logs import CallResult
from sip.directory import UNKNOWN, AccountFacts, PushParameters, PushQuestion
from sip.events import CallEnded, Push, PushChanged, Refused
from sip.flow import Flow
from sip.limits import SipLimits
from sip.message import Request
from sip.parser import parse
from sip.push import applied
from sip.waiting import OVER, TABLE
from tests.sip.phones import Phone, Stage
from tests.sip.test_traps_calls import ELSEWHERE, ack_of, cancel_of, ended, plan

INSTANCE = "<urn:uuid:00000000-0000-4000-8000-000000000001>"
OTHER = "<urn:uuid:00000000-0000-4000-8000-000000000002>"


class Wakers:
    """A PushDirectory over a dict that follows what the core says, as the node's does."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[PushParameters, ...]] = {}
        self.unknown: set[str] = set()

    def providers(self) -> tuple[str, ...]:
        return ("fcm", "apns")

    def parameters(self, username: str) -> Any:
        return UNKNOWN if username in self.unknown else self.known.get(username, ())


class Asleep(Stage):
    """A stage with an app account "app" of the caller's site, asleep unless `wakes` says otherwise. Pushes are lines too."""

    def __init__(self, limits: SipLimits | None = None) -> None:
        self.wakers = Wakers()
        super().__init__(limits=limits, push=self.wakers)
        self.caller = self.registered("A", "100")
        self.add_app("app")
        self.book.sees()

    def add_app(self, user: str, *instances: str) -> None:
        self.directory.accounts[user] = AccountFacts(user, "north", b"secret-" + user.encode(), kind="app")
        self.wakers.known[user] = tuple(PushParameters("fcm", f"token-{one}", "p", one) for one in instances or (INSTANCE,))

    def wakes(
        self, letter: str = "P", user: str = "app", *, instance: str = INSTANCE, port: int = 40000, prid: bytes = b"token-x"
    ) -> Phone:
        """The app registers on a flow of its own, with the challenge in between; what follows is still to be seen."""
        phone = Phone(letter, user, "203.0.113.9", port)
        phone.flow = Flow("tcp", f"s{port}", "203.0.113.9", port)
        self.phones[phone.flow.name] = phone
        contact = b"<%b;transport=tcp;pn-provider=fcm;pn-prid=%b;pn-param=p>;+sip.instance=\"%b\"" % (
            phone.contact, prid, instance.encode(),
        )  # fmt: skip
        data = phone.register(contact=contact, call_id=b"reg-%d" % port)
        self.book.receive(data, phone.flow).sees(f"{letter} 401 REGISTER")
        self.book.receive(phone.with_credentials(data, self.last(phone)), phone.flow)
        return phone

    def calls(self, dialled: str, *lines: str) -> bytes:
        invite = self.invite(self.caller, dialled)
        self.book.receive(invite, self.caller.flow).sees("A 100 INVITE", *lines)
        return invite

    def pushed(self, accepted: bool = True, reason: str = "") -> None:
        """The shell's word on the newest push for a call."""
        serial = [one.serial for one in self.said(Push) if one.purpose == "call"][-1]
        self.book.call(self.core.pushed, serial, accepted, reason)

    def trace(self) -> list[tuple[float, str, str, str]]:
        (one,) = self.said(CallEnded)
        return [(step.at, step.event.value, step.account, step.reason) for step in one.facts.trace]

    def _name(self, output: Any) -> str | None:
        if isinstance(output, Push):
            return f"Push {output.purpose} {output.account}{' ' + output.reason if output.reason else ''}"
        if isinstance(output, PushChanged):
            self.wakers.known[output.account] = applied(self.wakers.known.get(output.account, ()), output.change)
            return None
        return super()._name(output)


@pytest.fixture
def stage() -> Asleep:
    return Asleep()


def test_an_app_that_wakes_up_gets_the_invite_once_and_the_caller_hears_it_ring_only_then(stage: Asleep) -> None:
    plan(stage, "1", ("app",))
    invite = stage.calls("1", "Push call app")
    (push,) = stage.said(Push)
    assert (push.account, push.caller, push.dialled, push.seconds) == ("app", "100", "1", 20.0)
    assert [one.prid for one in push.apps] == [f"token-{INSTANCE}"]
    assert "token" not in repr(push)
    stage.book.after(0.2)
    stage.pushed()
    stage.book.after(1.8).sees()
    app = stage.wakes()
    stage.book.sees("P 200 REGISTER", "P INVITE")
    arrived = stage.sent(app, b"INVITE")
    again = app.register(contact=b'<%b>;+sip.instance="%b"' % (app.contact, INSTANCE.encode()), call_id=b"reg-40000")
    stage.book.receive(again, app.flow).sees("P 401 REGISTER")
    stage.book.receive(app.with_credentials(again, stage.last(app)), app.flow).sees("P 200 REGISTER")
    stage.book.after(0.5).receive(app.reply(arrived, 180), app.flow).sees("A 180 INVITE")
    stage.book.after(1.0).receive(app.reply(arrived, 200), app.flow).sees("A 200 INVITE")
    stage.book.receive(stage.caller.in_dialog(b"ACK", stage.last(stage.caller), _request(invite)), stage.caller.flow)
    stage.book.sees("P ACK")
    stage.book.receive(app.in_dialog_as_callee(b"BYE", arrived), app.flow).sees("A BYE")
    facts = stage.said(CallEnded)[0].facts
    assert (facts.woken, facts.missed, facts.answered_by) == (("app",), (), "app")
    assert stage.trace() == [
        (0.0, "push", "app", ""),
        (0.2, "push-accepted", "app", ""),
        (2.0, "registered", "app", ""),
        (2.0, "invite", "app", ""),
        (2.5, "ringing", "app", ""),
        (3.5, "answered", "app", ""),
    ]
    assert stage.core.census().waiting == 0


def _request(data: bytes) -> Request:
    parsed = parse(data)
    assert isinstance(parsed, Request)
    return parsed


def test_the_monitor_rings_in_the_same_turn_and_its_answer_ends_the_waiting(stage: Asleep) -> None:
    monitor = stage.registered("D", "101")
    plan(stage, "1", ("app", "101"))
    stage.calls("1", "D INVITE", "Push call app")
    arrived = stage.sent(monitor, b"INVITE")
    stage.book.receive(monitor.reply(arrived, 180), monitor.flow).sees("A 180 INVITE")
    stage.book.receive(monitor.reply(arrived, 200), monitor.flow).sees("A 200 INVITE", "Push cancel app answered-elsewhere")
    stage.wakes()
    stage.book.sees("P 200 REGISTER")
    assert stage.core.census().waiting == 0


def test_an_app_with_a_live_binding_that_forgot_its_push_parameters_is_only_rung(stage: Asleep) -> None:
    stage.wakes()
    stage.book.sees("P 200 REGISTER")
    stage.wakers.known.clear()
    plan(stage, "1", ("app",))
    stage.calls("1", "P INVITE")
    assert stage.core.census().waiting == 0


def test_a_woken_app_is_cancelled_like_any_phone_when_another_answers(stage: Asleep) -> None:
    monitor = stage.registered("D", "101")
    plan(stage, "1", ("app", "101"))
    stage.calls("1", "D INVITE", "Push call app")
    app = stage.wakes()
    stage.book.sees("P 200 REGISTER", "P INVITE")
    stage.book.receive(app.reply(stage.sent(app, b"INVITE"), 180), app.flow).sees("A 180 INVITE")
    stage.book.receive(monitor.reply(stage.sent(monitor, b"INVITE"), 200), monitor.flow).sees("A 200 INVITE", "P CANCEL")
    assert stage.sent(app, b"CANCEL").get(b"reason") == ELSEWHERE


def test_the_caller_leaves_before_the_app_is_awake(stage: Asleep) -> None:
    plan(stage, "1", ("app",))
    invite = stage.calls("1", "Push call app")
    stage.book.after(3.0).receive(cancel_of(invite), stage.caller.flow)
    stage.book.sees("A 200 CANCEL", "Push cancel app given-up", "A 487 INVITE")
    stage.book.receive(ack_of(invite, stage.last(stage.caller)), stage.caller.flow)
    stage.wakes()
    stage.book.sees("P 200 REGISTER")
    facts = stage.said(CallEnded)[0].facts
    assert (facts.result, facts.woken, facts.missed) == (CallResult.CANCELLED, ("app",), ("app",))
    assert stage.trace()[-1] == (3.0, "cancelled", "app", "given-up")


def test_a_call_to_sleeping_apps_alone_is_held_until_the_ring_time_ends(stage: Asleep) -> None:
    plan(stage, "1", ("app",), seconds=15)
    stage.calls("1", "Push call app")
    stage.pushed()
    stage.book.after(14.9).sees()
    stage.book.after(0.2).sees("Push cancel app given-up", "A 480 INVITE")
    assert ended(stage) == (CallResult.NO_ANSWER, 480)
    assert stage.said(CallEnded)[0].facts.missed == ("app",)


def test_the_next_stage_rings_when_nobody_woke_up_and_the_app_of_the_first_no_more(stage: Asleep) -> None:
    stage.registered("D", "101")
    plan(stage, "1", ("app",), ("101",))
    stage.calls("1", "Push call app")
    stage.book.after(20.0).sees("Push cancel app given-up", "D INVITE")
    stage.wakes()
    stage.book.sees("P 200 REGISTER")


def test_an_app_called_by_its_own_number_is_waited_for_half_a_minute(stage: Asleep) -> None:
    stage.calls("app", "Push call app")
    stage.book.after(29.9).sees()
    stage.book.after(0.1).sees("Push cancel app given-up", "A 480 INVITE")


def test_an_app_in_two_stages_is_pushed_once(stage: Asleep) -> None:
    plan(stage, "1", ("app",), ("app",))
    stage.calls("1", "Push call app")
    stage.book.after(20.0).sees()
    stage.book.after(1.0)
    stage.wakes()
    stage.book.sees("P 200 REGISTER", "P INVITE")


def test_a_call_that_ends_in_its_first_stage_withdraws_the_push_though_a_further_stage_had_the_app(stage: Asleep) -> None:
    plan(stage, "1", ("app",), ("app",))
    invite = stage.calls("1", "Push call app")
    stage.book.receive(cancel_of(invite), stage.caller.flow)
    stage.book.sees("A 200 CANCEL", "Push cancel app given-up", "A 487 INVITE")


def test_a_failed_push_lets_the_call_go_on_to_the_next_stage(stage: Asleep) -> None:
    stage.registered("D", "101")
    plan(stage, "1", ("app",), ("101",))
    stage.calls("1", "Push call app")
    stage.book.after(3.0)
    stage.pushed(False, "timeout")
    stage.book.sees("Push cancel app given-up", "D INVITE")


def test_a_failed_push_changes_nothing_where_there_is_no_further_stage(stage: Asleep) -> None:
    plan(stage, "1", ("app",))
    stage.calls("1", "Push call app")
    stage.pushed(False, "dead-token")
    stage.book.after(1.0).sees()
    stage.wakes()
    stage.book.sees("P 200 REGISTER", "P INVITE")


def test_two_phones_of_one_account_sleep_and_both_ring(stage: Asleep) -> None:
    stage.add_app("app", INSTANCE, OTHER)
    plan(stage, "1", ("app",))
    stage.calls("1", "Push call app")
    assert len(stage.said(Push)[0].apps) == 2
    stage.wakes("P", port=40000)
    stage.book.sees("P 200 REGISTER", "P INVITE")
    second = stage.wakes("Q", instance=OTHER, port=40001)
    stage.book.sees("Q 200 REGISTER", "Q INVITE")
    assert stage.sent(second, b"INVITE").get(b"max-breadth") == b"30"


def test_two_phones_of_one_account_are_pushed_together_though_one_has_a_live_binding(stage: Asleep) -> None:
    stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    stage.add_app("app", INSTANCE, OTHER)
    plan(stage, "1", ("app",))
    stage.calls("1", "P INVITE", "Push call app")
    assert [one.instance for one in stage.said(Push)[0].apps] == [OTHER, INSTANCE]
    assert stage.core.census().waiting == 2


def test_an_app_that_loses_its_flow_again_is_waited_for_without_another_push(stage: Asleep) -> None:
    plan(stage, "1", ("app",))
    stage.calls("1", "Push call app")
    app = stage.wakes()
    stage.book.sees("P 200 REGISTER", "P INVITE")
    stage.book.call(stage.core.flow_closed, app.flow).sees()
    stage.wakes("Q", port=40001)
    stage.book.sees("Q 200 REGISTER", "Q INVITE")


def test_the_monitors_do_not_wait_for_facts_about_apps(stage: Asleep) -> None:
    stage.registered("D", "101")
    plan(stage, "1", ("app", "101"))
    stage.wakers.unknown.add("app")
    stage.calls("1", "D INVITE", "Fetch PushQuestion(username='app')")
    stage.wakers.unknown.clear()
    stage.book.call(stage.core.answered, PushQuestion("app")).sees("Push call app")
    assert stage.said(Push)[0].seconds == 20.0
    stage.wakes()
    stage.book.sees("P 200 REGISTER", "P INVITE")


@pytest.mark.parametrize("how", ["store down", "none"])
def test_an_app_that_cannot_be_woken_is_not_waited_for(stage: Asleep, how: str) -> None:
    plan(stage, "1", ("app",))
    stage.wakers.unknown.add("app")
    stage.calls("1", "Fetch PushQuestion(username='app')")
    if how == "none":
        stage.wakers.unknown.clear()
        stage.wakers.known.clear()
    stage.book.call(stage.core.answered, PushQuestion("app")).sees("A 480 INVITE")
    assert stage.trace() == [(0.0, "unreachable", "app", "")]


def test_an_app_that_registers_before_memory_knows_how_to_wake_it_rings_once(stage: Asleep) -> None:
    plan(stage, "1", ("app",))
    stage.wakers.unknown.add("app")
    stage.calls("1", "Fetch PushQuestion(username='app')")
    stage.wakes()
    stage.book.sees("P 200 REGISTER", "P INVITE")
    stage.wakers.unknown.clear()
    stage.book.call(stage.core.answered, PushQuestion("app")).sees()


def test_a_phone_that_rings_and_moves_does_not_ring_again_in_the_place_of_another_that_sleeps(stage: Asleep) -> None:
    stage.wakes("P")
    stage.book.sees("P 200 REGISTER")
    plan(stage, "1", ("app",))
    stage.wakers.unknown.add("app")
    stage.calls("1", "P INVITE", "Fetch PushQuestion(username='app')")
    stage.wakes("Q", port=40001)
    stage.book.sees("Q 200 REGISTER")
    stage.wakes("R", instance=OTHER, port=40002)
    stage.book.sees("R 200 REGISTER", "R INVITE")


def test_an_app_that_calls_its_own_number_wakes_nobody(stage: Asleep) -> None:
    caller = stage.add(Phone("B", "app", "198.51.100.99"))
    stage.book.receive(stage.invite(caller, "app"), caller.flow).sees("B 100 INVITE", "B 480 INVITE")


def test_how_many_may_wait_is_bounded() -> None:
    stage = Asleep(SipLimits(waiting=1))
    stage.add_app("app2")
    plan(stage, "1", ("app",))
    stage.calls("1", "Push call app")
    plan(stage, "2", ("app2",))
    stage.calls("2", "A 480 INVITE")
    assert [one.reason for one in stage.said(Refused) if one.reason == "waiting full"] == ["waiting full"]
    assert stage.core.census().waiting == 1


def test_a_waiting_branch_takes_its_share_of_max_breadth(stage: Asleep) -> None:
    stage.registered("D", "101")
    plan(stage, "1", ("app", "101"))
    invite = stage.invite(stage.caller, "1", headers=(b"Max-Breadth: 1",))
    stage.book.receive(invite, stage.caller.flow).sees("A 100 INVITE", "A 440 INVITE")
    assert not stage.said(Push)


def test_a_rejection_that_ends_the_call_ends_the_waiting(stage: Asleep) -> None:
    monitor = stage.registered("D", "101")
    plan(stage, "1", ("app", "101"))
    stage.calls("1", "D INVITE", "Push call app")
    stage.book.receive(monitor.reply(stage.sent(monitor, b"INVITE"), 603), monitor.flow)
    stage.book.sees("D ACK", "Push cancel app given-up", "A 603 INVITE")
    facts = stage.said(CallEnded)[0].facts
    assert facts.missed == ("app",)


def test_a_busy_monitor_does_not_end_the_waiting_and_is_the_best_answer(stage: Asleep) -> None:
    monitor = stage.registered("D", "101")
    plan(stage, "1", ("app", "101"))
    stage.calls("1", "D INVITE", "Push call app")
    stage.book.receive(monitor.reply(stage.sent(monitor, b"INVITE"), 486), monitor.flow).sees("D ACK")
    stage.book.after(20.0).sees("Push cancel app given-up", "A 486 INVITE")


def test_a_disabled_app_is_not_woken(stage: Asleep) -> None:
    stage.directory.accounts["app"] = AccountFacts("app", "north", b"x", enabled=False, kind="app")
    stage.registered("D", "101")
    plan(stage, "1", ("app", "101"))
    stage.calls("1", "D INVITE")


def test_a_message_wakes_nobody(stage: Asleep) -> None:
    message = stage.challenged(stage.caller, stage.caller.request(b"MESSAGE", b"sip:app@gw.test"))
    stage.book.receive(message, stage.caller.flow).sees("A 480 MESSAGE")


def test_the_callers_stream_breaks_and_nothing_waits_any_more(stage: Asleep) -> None:
    caller = Phone("B", "100", "203.0.113.50", 7000)
    caller.flow = Flow("tcp", "s7", "203.0.113.50", 7000)
    stage.phones[caller.flow.name] = caller
    plan(stage, "1", ("app",))
    stage.book.receive(stage.invite(caller, "1"), caller.flow).sees("B 100 INVITE", "Push call app")
    stage.book.call(stage.core.flow_closed, caller.flow)
    assert [one.purpose for one in stage.said(Push)] == ["call", "cancel"]
    assert stage.core.census().waiting == 0


def test_every_state_can_be_left_and_every_call_that_ends_ends_the_waiting() -> None:
    states = {state for state, _ in TABLE}
    for state in states:
        for event in ("registered", "answered-elsewhere", "given-up"):
            assert TABLE[(state, event)][0] == OVER
    assert {after for after, _ in TABLE.values()} - states == {OVER}


def test_the_trace_is_bounded(stage: Asleep) -> None:
    for number in range(40):
        stage.add_app(f"x{number}")
    plan(stage, "1", *[tuple(f"x{number}" for number in range(first, first + 20)) for first in (0, 20)])
    stage.calls("1", *[f"Push call x{number}" for number in range(20)])
    stage.book.after(20.0)
    stage.book.after(20.0)
    stage.book.sees(
        *[f"Push cancel x{number} given-up" for number in range(20)],
        *[f"Push call x{number}" for number in range(20, 40)],
        *[f"Push cancel x{number} given-up" for number in range(20, 40)],
        "A 480 INVITE",
    )
    assert len(stage.trace()) == 64
