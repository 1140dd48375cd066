"""Credit: what may be sent, when it is granted again, when a window grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import Code, LocalError, PeerError
from tunnel.window import MAX_CREDIT, ReceiveWindow, SendWindow


def test_sending_needs_credit() -> None:
    window = SendWindow(100)
    window.spend(60)
    window.spend(40)
    with pytest.raises(LocalError):
        window.spend(1)
    window.granted(5)
    assert window.credit == 5


@pytest.mark.parametrize("grant", [0, MAX_CREDIT])
def test_a_grant_of_nothing_or_too_much_is_the_peers_fault(grant: int) -> None:
    with pytest.raises(PeerError) as caught:
        SendWindow(1).granted(grant)
    assert caught.value.code is Code.FLOW_CONTROL


def test_more_data_than_credit_is_the_peers_fault() -> None:
    window = ReceiveWindow(100)
    window.received(100)
    with pytest.raises(PeerError) as caught:
        window.received(1)
    assert caught.value.code is Code.FLOW_CONTROL


def test_credit_comes_back_at_a_quarter_of_the_window_and_not_before() -> None:
    window = ReceiveWindow(100)
    window.received(100)
    assert not window.consumed(24)
    assert window.consumed(1)
    assert window.grant(100) == 25
    assert window.credit == 25
    assert window.consumed(75)
    assert window.grant(100) == 75
    assert (window.credit, window.size, window.unread) == (100, 100, 0)


def test_consuming_what_never_came_is_a_bug() -> None:
    with pytest.raises(LocalError):
        ReceiveWindow(100).consumed(1)


def test_a_window_grows_at_once_and_shrinks_by_what_was_taken() -> None:
    window = ReceiveWindow(100)
    window.received(100)
    assert window.consumed(50)
    assert window.grant(300) == 250
    assert (window.size, window.credit) == (300, 250)
    window.received(200)
    assert window.consumed(100)
    assert window.grant(120) == 0, "a shrinking window gives nothing back"
    assert (window.size, window.credit) == (200, 50)
    assert window.consumed(100)
    assert window.grant(120) == 20
    assert (window.size, window.credit) == (120, 70)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000), st.integers(1, 5000)), max_size=40))
def test_a_window_is_always_what_is_granted_unread_and_taken_and_never_runs_dry(steps: list[tuple[int, int, int]]) -> None:
    window, taken = ReceiveWindow(1000), 0
    for arriving, reading, wanted in steps:
        window.received(min(arriving, window.credit))
        size = min(reading, window.unread)
        taken += size
        if window.consumed(size):
            window.grant(wanted)
            taken = 0
        assert window.size == window.credit + window.unread + taken
        assert window.credit >= 0
        assert window.size > 0
    for _ in range(100):  # a peer that sends what it may, a reader that takes it all
        window.received(window.credit)
        if window.consumed(window.unread):
            window.grant(700)
    assert window.size == 700
    assert window.credit > 0
