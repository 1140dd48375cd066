"""Keys in INFO inside a dialog with a door phone: which pass, in which form, who is told; and which calls go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.directory import DoorFacts, DoorQuestion
from sip.door_keys import CALLS, DIGITS, DoorKeys, completes
from sip.dtmf import PLAIN, RELAY
from sip.events import KeyPressed, Output, Refused
from sip.message import Request, Response
from sip.outbound import Hop
from sip.parser import parse
from tests.sip.phones import Accounts, Phone, Stage

CODES = (("#", True), ("25", False), ("9", True))


class Talk:
    """Door A (account 100) has called phone D (account 101), which has answered."""

    def __init__(self, form: bytes = RELAY) -> None:
        self.stage = Stage()
        self.stage.directory.doors["100"] = DoorFacts(CODES, form)
        self.door = self.stage.registered("A", "100")
        self.phone = self.stage.registered("D", "101")
        book = self.stage.book
        invite = self.stage.invite(self.door, "101")
        book.receive(invite, self.door.flow).sees("A 100 INVITE", "D INVITE")
        self.arrived = self.stage.sent(self.phone, b"INVITE")
        book.receive(self.phone.reply(self.arrived, 200), self.phone.flow).sees("A 200 INVITE")
        self.answered: Response = self.stage.last(self.door)
        sent = self._ack(invite)
        book.receive(sent, self.door.flow).sees("D ACK")

    def _ack(self, invite: bytes) -> bytes:
        request = parse(invite)
        assert isinstance(request, Request)
        self.invite = request
        return self.door.in_dialog(b"ACK", self.answered, request)

    def info(self, key: str = "", *, kind: bytes = RELAY, body: bytes | None = None) -> bytes:
        """An INFO of the phone's."""
        text = b"Signal=%b\r\nDuration=160\r\n" % key.encode() if body is None else body
        data = self.phone.in_dialog_as_callee(b"INFO", self.arrived, headers=(b"Content-Type: " + kind,))
        return data.replace(b"Content-Length: 0", b"Content-Length: %d" % len(text)) + text

    def press(self, key: str, *, passes: bool = True) -> None:
        """Press a key at the phone; the door, if it comes there, takes it."""
        book = self.stage.book.receive(self.info(key), self.phone.flow)
        if not passes:
            book.sees("D 403 INFO")
            return
        book.sees("A INFO")
        book.receive(self.door.reply(self.stage.sent(self.door, b"INFO"), 200), self.door.flow).sees("D 200 INFO")

    @property
    def told(self) -> list[str]:
        return [one.key for one in self.stage.said(KeyPressed)]


def test_a_key_passes_and_is_told_once() -> None:
    talk = Talk()
    info = talk.info("#")
    talk.stage.book.receive(info, talk.phone.flow).sees("A INFO")
    talk.stage.book.receive(info, talk.phone.flow).sees()  # a retransmission
    (told,) = talk.stage.said(KeyPressed)
    assert told == KeyPressed(talk.arrived.call_id.decode(), "101", "100", "#")
    arrived = talk.stage.sent(talk.door, b"INFO")
    assert (arrived.get(b"content-type"), arrived.body) == (RELAY, b"Signal=#\r\nDuration=160\r\n")


@pytest.mark.parametrize(
    ("takes", "kind", "body", "given"),
    [
        (RELAY, PLAIN, b"9", b"Signal=9\r\nDuration=160\r\n"),
        (PLAIN, RELAY, b"Signal=11\r\nDuration=250\r\n", b"#"),
        (PLAIN, PLAIN, b" 9\r\n", b"9"),
        (RELAY, RELAY, b"Duration=250\nSignal= 9\n", b"Signal=9\r\nDuration=250\r\n"),
    ],
)
def test_a_key_comes_in_the_form_the_doors_model_takes(takes: bytes, kind: bytes, body: bytes, given: bytes) -> None:
    talk = Talk(takes)
    talk.stage.book.receive(talk.info(kind=kind, body=body), talk.phone.flow).sees("A INFO")
    arrived = talk.stage.sent(talk.door, b"INFO")
    assert (arrived.get(b"content-type"), arrived.body) == (takes, given)
    assert arrived.get(b"content-length") == b"%d" % len(given)


def test_the_key_that_would_complete_a_forbidden_code_does_not_pass() -> None:
    talk = Talk()
    talk.press("2")
    talk.press("5", passes=False)
    talk.press("5", passes=False)
    talk.press("9")
    assert talk.told == ["2", "9"]
    assert talk.stage.said(Refused)[-1].reason == "dtmf not allowed"


def test_keys_that_the_door_may_have_refused_hide_no_code() -> None:
    talk = Talk()
    talk.press("2")
    talk.press("9")
    talk.press("5", passes=False)


def test_the_door_itself_presses_what_it_likes() -> None:
    talk = Talk()
    body = b"Signal=9\r\n"
    for key in (b"2", b"5"):
        body = b"Signal=%b\r\n" % key
        data = talk.door.in_dialog(b"INFO", talk.answered, talk.invite, cseq=int(key) + 10, headers=(b"Content-Type: " + RELAY,))
        data = data.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body)) + body
        talk.stage.book.receive(data, talk.door.flow).sees("D INFO")
        assert talk.stage.sent(talk.phone, b"INFO").body == body
        talk.stage.book.receive(talk.phone.reply(talk.stage.sent(talk.phone, b"INFO"), 200), talk.phone.flow).sees("A 200 INFO")
    assert talk.told == []


@pytest.mark.parametrize(
    ("kind", "body"), [(RELAY, b"Signal=25\r\n"), (b"application/telephone-event", b"5"), (RELAY, b"Signal=1\r\nSignal=2\r\n")]
)
def test_keys_that_cannot_be_read_do_not_pass(kind: bytes, body: bytes) -> None:
    talk = Talk()
    talk.stage.book.receive(talk.info(kind=kind, body=body), talk.phone.flow).sees("D 415 INFO")
    assert talk.told == []


@pytest.mark.parametrize(
    "kind",
    [b"multipart/mixed;boundary=x", b"text/plain\r\nContent-Type: application/dtmf-relay", b""],
    ids=["multipart", "two types", "no type"],
)
def test_a_body_that_door_and_gateway_could_read_differently_does_not_pass(kind: bytes) -> None:
    talk = Talk()
    data = talk.info("5", kind=kind or b"x/y")
    if not kind:
        data = data.replace(b"Content-Type: x/y\r\n", b"")
    talk.stage.book.receive(data, talk.phone.flow)
    talk.stage.book.sees(f"D {talk.stage.last(talk.phone).status} INFO")
    assert talk.stage.last(talk.phone).status in (400, 415)
    assert talk.told == []


@pytest.mark.parametrize("tagged", [True, False])
def test_a_key_outside_a_dialog_of_ours_reaches_no_door(tagged: bool) -> None:
    """Without our Route, or without a dialog at all: the door might match it with its call by the tags alone."""
    talk = Talk()
    body = b"Signal=5\r\n"
    to = (talk.arrived.get(b"from") or b"") if tagged else b"<sip:100@gw.test>"
    info = talk.phone.request(
        b"INFO",
        b"sip:100@gw.test",
        to=to,
        tag=b"tag-D",
        call_id=talk.arrived.call_id,
        headers=(b"Content-Type: " + RELAY,),
        body=body,
    )
    talk.stage.book.receive(talk.stage.challenged(talk.phone, info), talk.phone.flow).sees("D 481 INFO")


def test_other_infos_pass_as_they_are() -> None:
    talk = Talk()
    body = b"<media_control/>"
    talk.stage.book.receive(talk.info(kind=b"application/media_control+xml", body=body), talk.phone.flow).sees("A INFO")
    assert talk.stage.sent(talk.door, b"INFO").body == body
    assert talk.told == []


def test_a_door_that_memory_does_not_know_is_asked_for() -> None:
    talk = Talk()
    talk.stage.directory.unknown.add("door 100")
    question = DoorQuestion("100")
    talk.stage.book.receive(talk.info("9"), talk.phone.flow).sees(f"Fetch {question}")
    assert talk.told == []
    talk.stage.directory.unknown.clear()
    talk.stage.book.call(talk.stage.core.answered, question).sees("A INFO")
    assert talk.told == ["9"]


def test_a_door_that_cannot_be_found_out_about_gets_no_key() -> None:
    talk = Talk()
    talk.stage.directory.unknown.add("door 100")
    question = DoorQuestion("100")
    talk.stage.book.receive(talk.info("9"), talk.phone.flow).sees(f"Fetch {question}")
    talk.stage.book.call(talk.stage.core.answered, question).sees("D 503 INFO")


def test_digits_end_with_their_call() -> None:
    talk = Talk()
    talk.press("2")
    keys = talk.stage.core._keys
    assert len(keys) == 1
    talk.stage.book.receive(talk.phone.in_dialog_as_callee(b"BYE", talk.arrived), talk.phone.flow).sees("A BYE")
    assert len(keys) == 0


def test_memory_is_bounded() -> None:
    accounts = Accounts()
    accounts.doors["100"] = DoorFacts((), RELAY)
    said: list[Output] = []
    keys = DoorKeys(accounts, said.append, limit=10)
    hop = Hop("101", "100", "", True, "")
    for number in range(50):
        for _ in range(3 * DIGITS if number == 49 else 1):
            request = Request(b"INFO", b"sip:x", [], [], b"9")
            for name, value in ((b"call-id", b"c%d" % number), (b"content-type", PLAIN)):
                request.append(name, value)
            keys.passed(request, hop)
    assert len(keys) == 10 < CALLS
    assert max(map(len, keys._passed.values())) == DIGITS


@pytest.mark.parametrize(
    ("code", "digits", "whole"),
    [
        ("#", "#", True),
        ("25", "25", True),
        ("25", "295", True),
        ("25", "255", True),
        ("25", "52", False),
        ("25", "5", False),
        ("25", "2", False),
        ("22", "2", False),
        ("", "2", False),
        ("2", "", False),
    ],
)
def test_completes(code: str, digits: str, whole: bool) -> None:
    assert completes(code, digits) is whole


@given(st.text("12#", min_size=1, max_size=4), st.text("12#", max_size=8), st.text("12#", max_size=8))
def test_a_code_pressed_in_a_row_is_always_seen(code: str, before: str, between: str) -> None:
    assert completes(code, before + code)
    assert completes(code, before + code[:-1] + between + code[-1])


# Calls that go on


def test_talking_is_an_answered_call_between_the_two_until_it_ends() -> None:
    talk = Talk()
    core, call_id = talk.stage.core, talk.arrived.call_id
    assert (core.talking("101", "100"), core.talking("100", "101")) == (call_id.decode(),) * 2
    assert (core.talking("101", "102"), core.talking("100", "100")) == ("", "")
    caller_tag = talk.arrived.from_tag
    assert core._calls.parties(call_id, caller_tag, b"tag-D") == ("100", "101")
    assert core._calls.parties(call_id, b"tag-D", caller_tag) == ("101", "100")
    assert core._calls.parties(b"another", caller_tag, b"tag-D") is None
    talk.stage.book.receive(talk.phone.in_dialog_as_callee(b"BYE", talk.arrived), talk.phone.flow).sees("A BYE")
    assert core.talking("101", "100") == ""


def test_a_call_that_only_rings_is_no_talk() -> None:
    stage = Stage()
    door: Phone = stage.registered("A", "100")
    phone = stage.registered("D", "101")
    stage.book.receive(stage.invite(door, "101"), door.flow).sees("A 100 INVITE", "D INVITE")
    stage.book.receive(phone.reply(stage.sent(phone, b"INVITE"), 180), phone.flow).sees("A 180 INVITE")
    assert stage.core.talking("101", "100") == ""
