"""Calls through the core and the real relay (without sockets): whatever way a call ends, no call and no port is left behind."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sip.message import Request, Response
from sip.parser import parse
from sip.sdp import parse_sdp
from tests.sip.media_calls import TYPE, TYPED, RelayedStage, offer_of
from tests.sip.phones import Phone
from tests.sip.test_traps_calls import cancel_of, plan


def ringing(stage: RelayedStage, count: int) -> tuple[bytes, list[Phone]]:
    """The caller's INVITE, and the phones that have it."""
    phones = [stage.registered(letter, f"{101 + index}") for index, letter in enumerate("DEF"[:count])]
    plan(stage, "1", tuple(phone.user for phone in phones))
    data = stage.invite(stage.caller, "1", headers=(TYPE,), body=offer_of(stage.caller))
    stage.book.receive(data, stage.caller.flow).sees("A 100 INVITE", *[f"{phone.letter} INVITE" for phone in phones])
    return data, phones


def reply(stage: RelayedStage, phone: Phone, status: int, body: bytes = b"") -> None:
    headers = TYPED if body else ()
    stage.book.receive(phone.reply(stage.sent(phone, b"INVITE"), status, headers=headers, body=body), phone.flow)
    stage.book._unseen.clear()


def test_everyone_who_rings_sees_the_visitor_before_anyone_answers_and_losers_free_their_ports() -> None:
    stage = RelayedStage()
    _, phones = ringing(stage, 3)
    (session,) = stage.engine.relay._sessions.values()
    held = len(stage.engine.terminals)
    for phone in phones[:2]:
        reply(stage, phone, 183, offer_of(phone))
    # The caller's stream goes to all three, also to the one that has only been rung.
    stream = session.offerer.stream(0)
    assert stream is not None
    assert len(stream.rtp.sinks) == 3
    told = [parse_sdp(stage.sent(phone, b"INVITE").body).media[0].port for phone in phones]
    assert len(set(told)) == 3
    reply(stage, phones[2], 486)
    assert len(stage.engine.terminals) == held - 2
    reply(stage, phones[0], 200, offer_of(phones[0]))
    assert len(stage.engine.terminals) == 4
    final = stage.last(stage.caller)
    assert parse_sdp(final.body).media[0].host == "198.51.100.1"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_end_of_a_call_leaves_a_port(data: st.DataObject) -> None:
    stage = RelayedStage()
    invite, phones = ringing(stage, data.draw(st.integers(1, 3), "phones"))
    winner: Phone | None = None
    for phone in phones:
        deed = data.draw(st.sampled_from(("early", "ring", "refuse", "answer", "answer without", "nothing")), phone.letter)
        if deed == "early":
            reply(stage, phone, 183, offer_of(phone))
        elif deed == "ring":
            reply(stage, phone, 180)
        elif deed == "refuse":
            reply(stage, phone, 486)
        elif deed.startswith("answer"):
            body = b"" if deed.endswith("without") else data.draw(st.sampled_from((offer_of(phone), b"garbage")))
            winner = winner or phone
            reply(stage, phone, 200, body)
    end = data.draw(st.sampled_from(("cancel", "time", "bye", "callee's bye")))
    if end == "cancel":
        stage.book.receive(cancel_of(invite), stage.caller.flow)
    if winner is not None:
        replies = [one for one in stage.caller.inbox if isinstance(one, Response)]
        finals = [one for one in replies if (one.status, one.cseq[1]) == (200, b"INVITE")]
        request = parse(invite)
        assert isinstance(request, Request)
        if end == "callee's bye":
            stage.book.receive(winner.in_dialog_as_callee(b"BYE", stage.sent(winner, b"INVITE")), winner.flow)
        elif end != "time":
            stage.book.receive(stage.caller.in_dialog(b"BYE", finals[0], request), stage.caller.flow)
        if "bye" in end:
            assert stage.is_clean()
    stage.book.after(5 * 3600.0)
    stage.book.sees(*stage.book._unseen)
    assert stage.is_clean()
    assert stage.core.census().media == 0


def test_a_used_up_range_is_503_and_the_next_call_finds_the_ports_again() -> None:
    stage = RelayedStage(pairs=2)
    _, (phone,) = ringing(stage, 1)
    other = stage.registered("B", "110")
    data = stage.invite(other, "101", headers=(TYPE,), body=offer_of(other))
    stage.book.receive(data, other.flow).sees("B 100 INVITE", "B 503 INVITE")
    reply(stage, phone, 486)
    assert stage.is_clean()
    data = stage.invite(other, "101", headers=(TYPE,), body=offer_of(other))
    stage.book.receive(data, other.flow).sees("B 100 INVITE", "D INVITE")


def test_garbage_is_488_from_afar_and_passes_within_one_network() -> None:
    stage = RelayedStage()
    stage.registered("D", "101")
    near = stage.registered("N", "109", host=stage.caller.flow.host, port=40_000)
    data = stage.invite(stage.caller, "101", headers=(TYPE,), body=b"v=0 nonsense")
    stage.book.receive(data, stage.caller.flow).sees("A 100 INVITE", "A 488 INVITE")
    data = stage.invite(stage.caller, "109", headers=(TYPE,), body=b"v=0 nonsense")
    stage.book.receive(data, stage.caller.flow).sees("A 100 INVITE", "N INVITE")
    assert stage.sent(near, b"INVITE").body == b"v=0 nonsense"
