"""The core's main flows as traces: registration, a call from ringing to hanging up, CANCEL, unanswered, parked."""

from registry.logs import CallResult
from sip.events import BindingsChanged, CallEnded, CallStarted
from sip.message import Request
from sip.parser import parse
from tests.sip.phones import Stage


def test_a_phone_registers_and_is_bound() -> None:
    stage = Stage()
    phone = stage.registered("D", "101")
    final = stage.last(phone)
    assert final.status == 200
    assert final.get(b"contact") == b"<sip:101@198.51.100.10:5060>;expires=3600"
    (changed,) = stage.said(BindingsChanged)
    assert changed.aor == "101"
    assert changed.bindings[0].stored(0.0).flow == "udp:5060:198.51.100.10:5060"
    stage.book.close()


def test_a_call_rings_is_answered_and_hung_up() -> None:
    stage = Stage()
    caller, callee = stage.registered("A", "100"), stage.registered("D", "101")
    book = stage.book
    invite = stage.invite(caller, "101")
    book.receive(invite, caller.flow).sees("A 100 INVITE", "D INVITE")
    arrived = stage.sent(callee, b"INVITE")
    assert arrived.uri == callee.contact
    assert arrived.get(b"proxy-authorization") is None
    assert arrived.max_forwards == 69
    book.receive(callee.reply(arrived, 180), callee.flow).sees("A 180 INVITE")
    book.after(3.0).receive(callee.reply(arrived, 200), callee.flow).sees("A 200 INVITE")
    answered, sent = stage.last(caller), parse(invite)
    assert isinstance(sent, Request)
    assert answered.count(b"via") == 1
    book.receive(caller.in_dialog(b"ACK", answered, sent), caller.flow).sees("D ACK")
    book.after(60.0).receive(callee.in_dialog_as_callee(b"BYE", arrived), callee.flow).sees("A BYE")
    bye = stage.sent(caller, b"BYE")
    assert bye.uri == caller.contact
    assert bye.get(b"route") is None
    book.receive(caller.reply(bye, 200), caller.flow).sees("D 200 BYE")
    (started,), (ended,) = stage.said(CallStarted), stage.said(CallEnded)
    assert started.facts.caller == "100"
    facts = ended.facts
    assert (facts.dialled, facts.rang, facts.answered_by, facts.ended_by) == ("101", ("101",), "101", "101")
    assert (facts.ring_seconds, facts.talk_seconds, facts.result, facts.site) == (3.0, 60.0, CallResult.ANSWERED, "north")
    book.after(200.0).sees()
    census = stage.core.census()
    assert (census.server_transactions, census.client_transactions, census.calls) == (0, 0, 0)
    book.close()
