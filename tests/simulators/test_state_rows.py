"""Every row of the two tables, read off RFC 3261 (the sections are named) and not off the tables."""

import pytest

from simulators import call_states, registration_states

CALL_ROWS = [
    # 13.2.2.1: a provisional makes it ring; 13.2.2.4: a 2xx makes a call; 13.2.2.3 and 17.1.1.2: everything else ends it.
    ("calling", "r 1xx", "ringing", "say it rings"),
    ("calling", "r 2xx", "up", "send ACK, say it is answered"),
    ("calling", "r 3xx-6xx", "ended", "say it is over"),
    ("ringing", "r 1xx", "ringing", "say it rings"),
    ("ringing", "r 2xx", "up", "send ACK, say it is answered"),
    ("ringing", "r 3xx-6xx", "ended", "say it is over"),
    # 9.1: "If no provisional response has been received, the CANCEL request MUST NOT be sent; rather, the client MUST wait".
    ("calling", "hang up", "withdrawn", "-"),
    ("withdrawn", "r 1xx", "cancelling", "send CANCEL"),
    ("withdrawn", "r 3xx-6xx", "ended", "say it is over"),
    ("ringing", "hang up", "cancelling", "send CANCEL"),
    ("cancelling", "r 3xx-6xx", "ended", "say it is over"),
    # 15: a 2xx that comes nevertheless has made a dialog, which BYE ends.
    ("withdrawn", "r 2xx", "ending", "send ACK, send BYE"),
    ("cancelling", "r 2xx", "ending", "send ACK, send BYE"),
    # 13.2.2.4: "The UAC core MUST generate an ACK request for each 2xx".
    ("up", "r 2xx", "up", "send ACK"),
    ("ending", "r 2xx", "ending", "send ACK"),
    ("ended", "r 2xx", "ended", "send ACK"),
    # 13.3.1: the called side answers, refuses, or the caller gives up (9.2: 487); 15.1.2: BYE during ringing, 487 too.
    ("offered", "answer", "answered", "send 200"),
    ("offered", "reject", "ended", "send the refusal, say it is over"),
    ("offered", "hang up", "ended", "send the refusal, say it is over"),
    ("offered", "r CANCEL", "ended", "send the refusal, say it is over"),
    ("offered", "r BYE", "ended", "send the refusal, say it is over"),
    # 13.3.1.4: without an ACK in 64*T1 "the session should be terminated ... with a BYE".
    ("answered", "r ACK", "up", "say it is answered"),
    ("answered", "no ACK in 64*T1", "ending", "send BYE"),
    ("up", "no ACK in 64*T1", "ending", "send BYE"),
    # 15: "the callee's UA MUST NOT send a BYE on a confirmed dialog until it has received an ACK ... or ... times out".
    ("answered", "hang up", "leaving", "-"),
    ("leaving", "r ACK", "ending", "send BYE"),
    ("leaving", "no ACK in 64*T1", "ending", "send BYE"),
    # 15.1: BYE from either side ends it; 15.1.1: any final answer to ours, or none, too.
    ("up", "hang up", "ending", "send BYE"),
    ("up", "r BYE", "ended", "say it is over"),
    ("answered", "r BYE", "ended", "say it is over"),
    ("leaving", "r BYE", "ended", "say it is over"),
    ("ending", "r BYE", "ended", "say it is over"),
    ("ending", "BYE answered", "ended", "say it is over"),
]

REGISTRATION_ROWS = [
    # 10.2 and 10.2.4: register, refresh before it expires.
    ("idle", "start", "trying", "send REGISTER"),
    ("trying", "r 2xx", "registered", "say it is registered, set the refresh"),
    ("registered", "due", "refreshing", "send REGISTER"),
    ("refreshing", "r 2xx", "registered", "say it is refreshed, set the refresh"),
    # 10.2.7 and RFC 5626 4.5: not at once again.
    ("trying", "refused", "waiting", "say it failed, set the next try"),
    ("refreshing", "refused", "waiting", "say it failed, set the next try"),
    ("waiting", "due", "trying", "send REGISTER"),
    # 10.2.2: "a request with an expiration interval of 0" removes it.
    ("trying", "stop", "leaving", "send REGISTER with Expires 0"),
    ("registered", "stop", "leaving", "send REGISTER with Expires 0"),
    ("refreshing", "stop", "leaving", "send REGISTER with Expires 0"),
    ("waiting", "stop", "gone", "say it is gone"),
    ("leaving", "r 2xx", "gone", "say it is gone"),
    ("leaving", "refused", "gone", "say it is gone"),
    ("gone", "start", "trying", "send REGISTER"),
]


@pytest.mark.parametrize(("state", "event", "then", "what"), CALL_ROWS)
def test_call_row(state: str, event: str, then: str, what: str) -> None:
    assert call_states.TABLE[state, event] == (then, what)


@pytest.mark.parametrize(("state", "event", "then", "what"), REGISTRATION_ROWS)
def test_registration_row(state: str, event: str, then: str, what: str) -> None:
    assert registration_states.TABLE[state, event] == (then, what)


def test_no_row_is_untested_and_none_twice() -> None:
    assert len({row[:2] for row in CALL_ROWS}) == len(CALL_ROWS) == len(call_states.TABLE)
    assert len({row[:2] for row in REGISTRATION_ROWS}) == len(REGISTRATION_ROWS) == len(registration_states.TABLE)
