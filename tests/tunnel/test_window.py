"""Credit: what may be sent, when it is granted again, when a window grows."""

import pytest

from tunnel.errors import Code, LocalError, PeerError
from tunnel.window import GROWTH_STEP, MAX_CREDIT, ReceiveWindow, SendWindow


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
    window = ReceiveWindow(100, 0.0)
    window.received(100)
    with pytest.raises(PeerError) as caught:
        window.received(1)
    assert caught.value.code is Code.FLOW_CONTROL


def test_credit_comes_back_at_half_the_window_and_not_before() -> None:
    window = ReceiveWindow(100, 0.0)
    window.received(100)
    assert window.consumed(49, 1.0, None, 0) == 0
    assert window.consumed(1, 1.0, None, 0) == 50
    assert window.credit == 50
    assert window.consumed(50, 2.0, None, 0) == 50
    assert window.credit == window.size == 100


def test_consuming_what_never_came_is_a_bug() -> None:
    with pytest.raises(LocalError):
        ReceiveWindow(100, 0.0).consumed(1, 0.0, None, 0)


def used_up(round_trip: float | None, room: int, seconds: float) -> ReceiveWindow:
    window = ReceiveWindow(65_536, 0.0)
    window.received(40_000)
    window.consumed(40_000, seconds, round_trip, room)
    return window


def test_a_window_that_held_a_fast_peer_back_grows_by_a_step() -> None:
    assert used_up(0.1, 10**6, 0.09).size == 65_536 + GROWTH_STEP
    assert used_up(0.1, 10**6, 0.09).credit == 65_536 + GROWTH_STEP


def test_it_does_not_grow_for_a_slow_peer_a_full_queue_or_without_room() -> None:
    assert used_up(0.1, 10**6, 0.11).size == 65_536
    assert used_up(None, 10**6, 0.01).size == 65_536
    assert used_up(0.1, 0, 0.01).size == 65_536
    assert used_up(0.1, 10, 0.01).size == 65_546
