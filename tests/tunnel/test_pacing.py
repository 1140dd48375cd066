"""Windows that follow the path: full, with a short queue; not growing without end; a changed path found again.

`Path` is the world a pacing lives in: a link of some rate and round trip whose queue is what the windows put there.
"""

import pytest

from tunnel.frames import Limits
from tunnel.pacing import QUEUE_SHARE, RECENT, Pacing


class Path:
    """A sender that always fills the windows, over a link of `rate` bytes a second and an empty round trip of `trip` seconds."""

    def __init__(self, rate: float, trip: float) -> None:
        self.rate, self.trip, self.now = rate, trip, 0.0
        self.pacing = Pacing(Limits(), 0.0)
        self.pacing.answered(trip, 0.0)  # before there is data
        self.trips: list[float] = []
        self.rates: list[float] = []

    def run(self, seconds: float, demand: float = 1e12) -> None:
        end = self.now + seconds
        while self.now < end:
            window = self.pacing.window
            rate = min(self.rate, window / self.trip, demand)
            queue = max(window / self.rate - self.trip, 0.0) if demand > self.rate else 0.0
            trip = self.trip + queue
            step = max(0.1, trip)
            self.now += step
            self.pacing.received(int(rate * step), 0)
            self.pacing.answered(trip, self.now)
            self.trips.append(trip)
            self.rates.append(rate)


@pytest.mark.parametrize(
    ("rate", "trip"),
    [(1e6, 0.04), (1e6, 0.01), (12.5e6, 0.1), (2e6, 0.2), (0.5e6, 0.08)],
)
def test_a_path_is_filled_and_its_queue_stays_short(rate: float, trip: float) -> None:
    path = Path(rate, trip)
    path.run(5.0)
    path.trips.clear()
    path.rates.clear()
    path.run(60.0)
    share = sum(path.rates) / len(path.rates) / rate
    assert share >= min(0.92, 0.92 * Limits().max_window / (rate * trip))
    assert max(path.trips[20:]) <= max(trip + max(min(trip * QUEUE_SHARE, 0.05), 0.005) * 1.1, Limits().least_together / rate)
    assert min(path.trips) == pytest.approx(trip), "the windows make room now and then, so that the least is known"


def test_a_long_download_does_not_take_its_own_queue_for_the_path() -> None:
    path = Path(1e6, 0.04)
    path.run(3600.0)
    assert max(path.trips[-100:]) <= 0.075


def test_a_path_that_got_longer_is_found_again() -> None:
    path = Path(1e6, 0.04)
    path.run(30.0)
    path.trip = 0.2
    path.run(60.0)
    assert path.rates[-1] == pytest.approx(1e6, rel=0.05) or path.rates[-2] == pytest.approx(1e6, rel=0.05)


def test_a_peer_with_little_to_send_gets_no_larger_windows() -> None:
    path = Path(1e6, 0.04)
    path.run(30.0, demand=100_000)
    assert path.pacing.together == Limits().initial_window


def test_a_few_late_answers_change_nothing_and_more_do() -> None:
    pacing = Pacing(Limits(), 0.0)
    for number in range(RECENT):
        pacing.answered(0.5 if number else 0.001, number / 10)
    assert pacing.together == Limits().initial_window
    pacing.answered(0.5, 0.5)
    assert pacing.together == Limits().initial_window // 2
    for number in range(20):
        pacing.answered(0.5, 0.6 + number / 10)
    assert pacing.together == Limits().least_together


def shared(pacing: Pacing, sizes: list[int], trip: float, now: float) -> None:
    """One spell in which each of these streams receives so much, until its answer."""
    for size in sizes:
        pacing.received(size, 0)
    pacing.answered(trip, now)


def test_streams_share_a_path_that_queues_and_a_silent_one_leaves_its_share() -> None:
    pacing = Pacing(Limits(), 0.0)
    shared(pacing, [1000] * 4, 0.01, 0.1)
    assert pacing.window == 65_536, "as at first, while nothing queues"
    for _ in range(RECENT):
        shared(pacing, [1000] * 4, 0.5, 0.2)
    assert pacing.together == 4 * 65_536 // 2
    assert pacing.window == 65_536 // 2
    shared(pacing, [1000], 0.01, 0.4)
    assert pacing.window == 2 * 65_536
    for _ in range(RECENT):
        shared(pacing, [1000] * 64, 0.5, 0.5)
    assert pacing.window == Limits().least_window


def test_small_answers_beside_a_download_take_nothing_of_its_share() -> None:
    pacing = Pacing(Limits(), 0.0)
    for _ in range(RECENT + 1):
        shared(pacing, [100_000, 1_000, 1_000, 1_000], 0.5, 0.1)
    assert pacing.window >= 0.9 * pacing.together


def test_a_stream_is_weighed_by_all_it_received_in_a_spell() -> None:
    pieces, whole = Pacing(Limits(), 0.0), Pacing(Limits(), 0.0)
    for before in range(0, 50_000, 500):
        pieces.received(500, before)
    whole.received(50_000, 0)
    for pacing in (pieces, whole):
        pacing.received(50_000, 0)
        pacing.answered(0.01, 0.1)
    assert pieces.receiving == whole.receiving == 2.0
