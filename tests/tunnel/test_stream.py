"""One test row per row of the stream table, read off the drawing in docs/tunnel-protocol.md section 4."""

import pytest

from tunnel.errors import LocalError, PeerError
from tunnel.stream import TABLE, Event, State, advance, allowed

ROWS = """
opening       send data       opening
opening       send fin        opening-done
opening       receive opened  open
opening       send rst        closed
opening       receive rst     closed
opening-done  receive opened  local-done
opening-done  send rst        closed
opening-done  receive rst     closed
offered       receive data    offered
offered       receive fin     offered-done
offered       send opened     open
offered       send rst        closed
offered       receive rst     closed
offered-done  send opened     remote-done
offered-done  send rst        closed
offered-done  receive rst     closed
open          send data       open
open          receive data    open
open          send window     open
open          receive window  open
open          send fin        local-done
open          receive fin     remote-done
open          send rst        closed
open          receive rst     closed
local-done    receive data    local-done
local-done    send window     local-done
local-done    receive window  local-done
local-done    receive fin     closed
local-done    send rst        closed
local-done    receive rst     closed
remote-done   send data       remote-done
remote-done   receive window  remote-done
remote-done   send fin        closed
remote-done   send rst        closed
remote-done   receive rst     closed
"""


def _rows() -> list[tuple[State, Event, State]]:
    rows = []
    for line in ROWS.strip().splitlines():
        state, kind, what, then = line.split()
        rows.append((State(state), Event(f"{kind} {what}"), State(then)))
    return rows


@pytest.mark.parametrize(("state", "event", "then"), _rows())
def test_row(state: State, event: Event, then: State) -> None:
    assert allowed(state, event)
    assert advance(state, event) is then


def test_the_drawing_and_the_table_have_the_same_rows() -> None:
    assert len(TABLE) == len(_rows()) == len({(state, event) for state, event, _ in _rows()})


def test_what_has_no_row_is_the_fault_of_its_doer() -> None:
    for state in State:
        for event in Event:
            if (state, event) in TABLE:
                continue
            assert not allowed(state, event)
            with pytest.raises(LocalError if event.sent else PeerError):
                advance(state, event)


def test_a_closed_stream_takes_nothing() -> None:
    assert not any(state is State.CLOSED for state, _ in TABLE)
