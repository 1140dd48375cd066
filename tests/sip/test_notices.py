"""NOTIFY out of dialog: to the newest binding over its flow, repeated, answered once."""

import pytest

from sip.events import Flow, Notified
from sip.message import Request
from tests.sip.phones import Phone, Stage


def told(stage: Stage) -> list[tuple[int, int]]:
    return [(one.serial, one.status) for one in stage.said(Notified)]


def notified() -> tuple[Stage, Phone, Request]:
    stage = Stage()
    phone = stage.registered("A", "100001")
    stage.book.call(stage.core.notify, 7, "100001", "check-sync").sees("A NOTIFY")
    return stage, phone, stage.sent(phone, b"NOTIFY")


def test_it_goes_to_the_contact_over_the_flow_and_names_the_event() -> None:
    stage, phone, request = notified()
    assert request.uri == phone.contact
    assert (request.get(b"event"), request.get(b"subscription-state")) == (b"check-sync", b"terminated")
    assert request.get(b"contact") is not None
    assert request.to_tag == b""
    assert told(stage) == []
    stage.book.receive(phone.reply(request, 200), phone.flow)
    stage.book.after(40.0).sees()
    assert told(stage) == [(7, 200)]
    assert stage.core.census().client_transactions == 0


def test_it_is_repeated_until_timer_f() -> None:
    stage, _phone, _request = notified()
    for pause in (0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0):
        stage.book.after(pause).sees("A NOTIFY")
    stage.book.after(0.5).sees()
    assert told(stage) == [(7, 408)]


@pytest.mark.parametrize("status", [401, 407, 481, 489, 503])
def test_a_refusal_is_told_as_it_is(status: int) -> None:
    stage, phone, request = notified()
    stage.book.receive(phone.reply(request, 100), phone.flow).receive(phone.reply(request, status), phone.flow)
    stage.book.receive(phone.reply(request, status), phone.flow)
    stage.book.after(40.0).sees()
    assert told(stage) == [(7, status)]


def test_without_a_binding_nothing_is_sent() -> None:
    stage = Stage()
    stage.phone("A", "100001")
    stage.core.notify(1, "100001", "check-sync", 0.0)
    stage.book.call(stage.core.notify, 2, "nobody", "check-sync").sees()
    assert told(stage) == [(1, 480), (2, 480)]


def test_the_newest_of_two_bindings_gets_it() -> None:
    stage = Stage()
    stage.registered("A", "100001")
    other = stage.add(Phone("B", "100001", "198.51.100.77", password=b"secret-100001"))
    stage.book.after(5.0)
    stage.register(other, call_id=b"reg-b")
    stage.book.call(stage.core.notify, 1, "100001", "check-sync;reboot=true").sees("B NOTIFY")
    assert stage.sent(other, b"NOTIFY").get(b"event") == b"check-sync;reboot=true"


def test_a_lost_stream_ends_it_at_once() -> None:
    stage = Stage()
    phone = stage.phone("A", "100001")
    phone.flow = Flow("tcp", "1", "198.51.100.10", 40000)
    stage.add(phone)
    stage.register(phone)
    stage.book.call(stage.core.notify, 1, "100001", "check-sync").sees("A NOTIFY")
    stage.book.call(stage.core.flow_closed, phone.flow).sees()
    assert told(stage) == [(1, 430)]


def test_a_response_to_nothing_of_ours_stays_a_stray() -> None:
    stage, phone, request = notified()
    request.set_top(b"via", b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKother")
    stage.book.receive(phone.reply(request, 200), phone.flow).sees()
    assert told(stage) == []
