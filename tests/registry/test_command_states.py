"""The table of a command's life row by row, what may be sent twice, and whose turn it is."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.command_states import (
    REPEATABLE,
    TABLE,
    Event,
    is_lost,
    longest,
    may_go,
    next_moment,
    next_of,
    overdue,
    sent,
    step,
    usual,
)
from registry.commands import Command, CommandName, CommandState, CommandWay, Priority, command_id
from registry.mac import MacAddress

S = CommandState
MAC = MacAddress("0C1105000001")
ROWS = """
pending SENT processing
pending EXPIRED expired
pending CANCELLED cancelled
pending UNSUPPORTED failed
pending GONE cancelled
processing SENT processing
processing NOT_SENT pending
processing DONE executed
processing ACCEPTED accepted
processing REFUSED failed
processing SILENT failed
processing LOST failed
processing GONE failed
accepted CONFIRMED executed
"""


def command(name: CommandName = CommandName.REBOOT, number: int = 1, **changes: object) -> Command:
    made = Command(command_id(float(number), bytes(10)), MAC, "s", name, "me", 0.0, 100.0, 0.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_table_has_these_rows_and_no_other() -> None:
    rows = {(S(a), Event[b]): S(c) for a, b, c in (line.split() for line in ROWS.split("\n") if line)}
    assert dict(TABLE) == rows
    assert not any(state in (S.EXECUTED, S.FAILED, S.EXPIRED, S.CANCELLED) for state, _ in TABLE)


@pytest.mark.parametrize(("state", "event"), list(product(S, Event)))
def test_every_pair_does_what_its_row_says(state: CommandState, event: Event) -> None:
    before = command(state=state, attempts=1, way=CommandWay.CHANNEL)
    after = sent(before, CommandWay.CHANNEL, "n", 7.0) if event is Event.SENT else step(before, event, 7.0)
    row = TABLE.get((state, event))
    if row is None:
        assert after is before
        return
    assert after.state is row
    if after.state.is_over:
        assert (after.since, after.result) == (7.0, event.value)


def test_what_an_earlier_attempt_may_have_done_is_not_taken_back() -> None:
    twice = command(state=S.PROCESSING, attempts=2)
    assert step(twice, Event.NOT_SENT, 7.0) is twice
    assert step(replace(twice, attempts=1), Event.NOT_SENT, 7.0).state is S.PENDING


def test_sent_counts_and_names_the_way() -> None:
    once = sent(command(), CommandWay.SIP, "n1", 3.0)
    again = sent(once, CommandWay.CHANNEL, "n2", 5.0)
    assert (once.attempts, once.way, once.node, once.since) == (1, CommandWay.SIP, "n1", 3.0)
    assert (again.attempts, again.way, again.node, again.since) == (2, CommandWay.CHANNEL, "n2", 3.0)
    over = command(state=S.EXECUTED)
    assert sent(over, CommandWay.SIP, "n1", 3.0) is over


def test_the_deadline_says_whether_it_can_have_been_done() -> None:
    waits, begun, over = command(), command(state=S.PROCESSING), command(state=S.ACCEPTED)
    assert [overdue(one, 99.9) is one for one in (waits, begun, over)] == [True, True, True]
    assert [overdue(one, 100.0).state for one in (waits, begun, over)] == [S.EXPIRED, S.FAILED, S.ACCEPTED]
    assert "may or may not" in overdue(begun, 100.0).result
    assert "may or may not" not in overdue(waits, 100.0).result


@pytest.mark.parametrize("name", CommandName)
@pytest.mark.parametrize("first", [CommandWay.CHANNEL, CommandWay.CONNECTOR, CommandWay.SIP])
@pytest.mark.parametrize("second", [CommandWay.CHANNEL, CommandWay.CONNECTOR, CommandWay.SIP])
def test_only_what_cannot_be_done_twice_is_sent_twice(name: CommandName, first: CommandWay, second: CommandWay) -> None:
    begun = sent(command(name), first, "n", 1.0)
    harmless = name in REPEATABLE or (first is second and first is not CommandWay.SIP)
    assert may_go(begun, second) is harmless
    assert may_go(command(name), second)
    assert is_lost(begun, "n") is (name not in REPEATABLE and first is CommandWay.SIP)
    assert not is_lost(begun, "another")
    assert not is_lost(command(name), "n")


def test_doors_and_resets_are_never_repeatable() -> None:
    assert not REPEATABLE & {CommandName.REBOOT, CommandName.RESET, CommandName.OPEN_RELAY}


def test_the_begun_one_then_the_urgent_then_the_oldest() -> None:
    old, new = command(number=1), command(number=2)
    group, urgent = command(number=3, priority=Priority.GROUP), command(number=4, priority=Priority.EMERGENCY)
    begun, later = command(number=5, state=S.PROCESSING), command(number=0, not_before=50.0)
    queue = [later, new, old, group, urgent, begun]
    order = []
    while (chosen := next_of(queue, 0.0)) is not None:
        order.append(chosen)
        queue.remove(chosen)
    assert order == [begun, urgent, group, old, new]
    assert next_moment([later], 0.0) == 50.0
    assert next_moment([later], 50.0) == 100.0
    assert next_of([later], 50.0) is later
    assert next_moment([], 0.0) is None


def test_a_door_does_not_open_long_after() -> None:
    assert usual(CommandName.OPEN_RELAY, Priority.NORMAL) <= longest(CommandName.OPEN_RELAY, Priority.NORMAL) == 30.0
    assert longest(CommandName.OPEN_RELAY, Priority.GROUP) == 30.0
    assert longest(CommandName.OPEN_RELAY, Priority.EMERGENCY) == 3600.0


@given(
    wall=st.floats(0, 2**37),
    later=st.floats(0.001, 1e6),
    one=st.binary(min_size=10, max_size=10),
    two=st.binary(min_size=10, max_size=10),
)
def test_ids_sort_by_time_and_are_call_ids(wall: float, later: float, one: bytes, two: bytes) -> None:
    first, second = command_id(wall, one), command_id(wall + later, two)
    assert len(first) == 32
    assert first[:12] <= second[:12]
    assert len(command(id=first).call_id) == 16
