"""What the storm benchmark counts as goodput, and as demand that exceeds it."""

from bench.bench_autop_storm import goodput
from bench.storm_devices import Aftermath


def served(*each_second: int, waiting: int = 100) -> Aftermath:
    """So many in each second, all booted at 0; `waiting` more wait until long after the last whole bin."""
    ends = [second + 0.5 for second, number in enumerate(each_second) for _ in range(number)]
    return Aftermath(provisioned=[(0.0, end, 1) for end in (*ends, *[len(each_second) + 0.1] * waiting)])


def test_the_worst_bin_counts_while_more_wait_than_the_best_served() -> None:
    found = goodput(served(10, 10, 4, 8, 10), width=1.0)
    assert (found.peak, found.worst, found.share) == (10.0, 4.0, 0.4)


def test_a_quiet_end_is_no_collapse() -> None:
    found = goodput(served(10, 10, 9, 2, 1, waiting=1), width=1.0)
    assert (found.peak, found.worst) == (10.0, 9.0)


def test_devices_that_were_told_to_wait_are_no_demand() -> None:
    after = served(10, 10, 4, 8, 10)
    after.away = [(1.5, 9.0)] * 200
    assert goodput(after, width=1.0).worst == 10.0


def test_for_each_cpu_second() -> None:
    cpu = [(0.0, 0.0), (1.0, 1.0), (2.0, 1.5), (3.0, 1.75), (4.0, 2.75), (5.0, 3.75)]
    found = goodput(served(10, 10, 4, 8, 10), cpu, width=1.0)
    assert found.bins == (10.0, 20.0, 16.0, 8.0, 10.0)
    assert (found.peak, found.worst) == (20.0, 8.0)


def test_nothing_served_is_no_goodput() -> None:
    assert goodput(Aftermath()).share is None
