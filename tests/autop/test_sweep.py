"""The sweep detector: who is throttled, who never is, and that it stays small."""

from hypothesis import given
from hypothesis import strategies as st

from autop.sweep import DEVICES_PER_MISS, MISSES, MOST_DEVICES, NETWORK_FACTOR, TOLD_AGAIN, WINDOW, Sweep, Sweeps

NAT = "198.51.100.7"
NOW = 1_000 * WINDOW


def miss(sweeps: Sweeps, count: int, now: float = NOW, source: str = NAT, first: int = 0) -> list[Sweep]:
    return [found for what in range(first, first + count) for found in sweeps.missed(source, what, now)]


def prove(sweeps: Sweeps, count: int, now: float = NOW, source: str = NAT) -> None:
    for device in range(count):
        sweeps.proven(source, device, now)


def test_twenty_misses_a_minute_are_borne_and_one_more_is_not() -> None:
    sweeps = Sweeps()
    assert miss(sweeps, MISSES) == []
    assert not sweeps.is_throttled(NAT, NOW)
    assert miss(sweeps, 1, first=MISSES) == [Sweep(NAT, MISSES + 1, 0)]
    assert sweeps.is_throttled(NAT, NOW)
    assert not sweeps.is_throttled("198.51.100.8", NOW)
    assert sweeps.throttled(NOW) == 1


def test_twenty_misses_a_minute_for_a_whole_day_are_never_throttled() -> None:
    sweeps = Sweeps()
    for minute in range(1440):
        assert miss(sweeps, MISSES, NOW + minute * WINDOW, first=minute * MISSES) == []


def test_the_same_miss_again_and_again_is_one() -> None:
    sweeps = Sweeps()
    for _ in range(1000):
        assert sweeps.missed(NAT, 1, NOW) == ()
    assert not sweeps.is_throttled(NAT, NOW)


def test_a_building_that_comes_back_with_a_tenth_of_misses_is_not_throttled_in_whatever_order() -> None:
    for missing_first in (True, False):
        sweeps = Sweeps()
        if missing_first:
            assert miss(sweeps, MISSES) == []
        prove(sweeps, 500)
        assert miss(sweeps, 30, first=MISSES) == []
        assert not sweeps.is_throttled(NAT, NOW)


def test_a_sweep_from_behind_a_building_is_throttled() -> None:
    """500 devices that poll once a day excuse nothing in the next minute."""
    sweeps = Sweeps()
    prove(sweeps, 500, NOW - WINDOW)
    assert miss(sweeps, MISSES + 1) == [Sweep(NAT, MISSES + 1, 0)]


def test_one_device_that_polls_in_a_loop_buys_no_sweep() -> None:
    sweeps = Sweeps()
    for what in range(1000):
        sweeps.proven(NAT, 7, NOW)
        sweeps.missed(NAT, what, NOW)
        assert sweeps.is_throttled(NAT, NOW) == (what >= MISSES)


def test_it_ends_after_a_whole_minute_in_order() -> None:
    sweeps = Sweeps()
    miss(sweeps, 100, NOW + 30)
    for later in (0, 30, WINDOW + 29):
        assert sweeps.is_throttled(NAT, NOW + 30 + later)
    assert not sweeps.is_throttled(NAT, NOW + 2 * WINDOW)


def test_a_sweep_that_goes_on_stays_throttled_and_is_reported_once_an_hour() -> None:
    sweeps = Sweeps()
    told = []
    for minute in range(180):
        for half in (0, 30):
            now = NOW + minute * WINDOW + half
            told += [minute for _ in miss(sweeps, 21, now, first=half)]
            assert sweeps.is_throttled(NAT, now)
    assert told == [0, 60, 120]
    assert TOLD_AGAIN == 60 * WINDOW


def test_challenges_that_are_answered_rightly_were_no_misses() -> None:
    """100 devices with Digest behind one address ask all at once, before the first one proves itself."""
    sweeps = Sweeps()
    miss(sweeps, 100)
    assert sweeps.is_throttled(NAT, NOW)
    for device in range(100):
        sweeps.proven(NAT, device, NOW, device)
    assert not sweeps.is_throttled(NAT, NOW)


def test_a_right_answer_does_not_end_what_an_earlier_minute_brought() -> None:
    sweeps = Sweeps()
    miss(sweeps, 100, NOW - WINDOW)
    miss(sweeps, 30, NOW)
    for device in range(30):
        sweeps.proven(NAT, device, NOW, device)
    assert sweeps.is_throttled(NAT, NOW)
    assert not sweeps.is_throttled(NAT, NOW + WINDOW)


def test_a_sweep_spread_over_a_network_is_throttled_as_a_network() -> None:
    sweeps = Sweeps()
    told = []
    for host in range(20):
        told += miss(sweeps, MISSES - 5, source=f"203.0.113.{host}", first=100 * host)
    assert told == [Sweep("203.0.113.0/24", NETWORK_FACTOR * MISSES + 1, 0)]
    assert sweeps.is_throttled("203.0.113.250", NOW)
    assert not sweeps.is_throttled("203.0.112.250", NOW)


def test_one_source_alone_never_throttles_its_network() -> None:
    sweeps = Sweeps()
    assert miss(sweeps, 100_000) == [Sweep(NAT, MISSES + 1, 0)]
    assert not sweeps.is_throttled("198.51.100.8", NOW)


def test_a_source_is_an_ipv4_address_or_an_ipv6_64() -> None:
    sweeps = Sweeps()
    for what in range(MISSES):
        sweeps.missed(f"2001:db8:1:2::{what:x}", what, NOW)
    assert sweeps.missed("2001:db8:1:2:ffff::1%eth0", MISSES, NOW) == (Sweep("2001:db8:1:2::/64", MISSES + 1, 0),)
    assert not sweeps.is_throttled("2001:db8:1:3::1", NOW)
    assert miss(sweeps, MISSES + 1, source="::ffff:192.0.2.1") == [Sweep("192.0.2.1", MISSES + 1, 0)]
    assert sweeps.is_throttled("192.0.2.1", NOW)
    assert miss(sweeps, MISSES + 1, source="") == [Sweep("", MISSES + 1, 0)]


SOURCES = [*(f"192.0.2.{host}" for host in range(4)), "198.51.100.1", "2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:2::1", "x"]
STEPS = st.lists(
    st.tuples(st.sampled_from(["miss", "prove"]), st.sampled_from(SOURCES), st.integers(0, 400), st.integers(0, 70)), max_size=300
)


@given(STEPS)
def test_the_tables_are_bounded_and_a_stranger_needs_more_than_twenty_misses(steps: list[tuple[str, str, int, int]]) -> None:
    sweeps, now = Sweeps(limit=4), NOW
    misses: dict[tuple[str, int], set[int]] = {}
    for do, source, what, seconds in steps:
        now += seconds / 10
        if do == "prove":
            sweeps.proven(source, what, now)
            continue
        misses.setdefault((source, int(now // WINDOW)), set()).add(what)
        if sweeps.missed(source, what, now):
            assert sum(len(found) for (_, minute), found in misses.items() if minute == now // WINDOW) > MISSES
            assert sweeps.is_throttled(source, now)
        assert len(sweeps) <= 3 * 4


@given(st.lists(st.integers(0, 10_000), max_size=60), st.integers(0, 200))
def test_the_rule_is_misses_beside_devices(misses: list[int], devices: int) -> None:
    sweeps = Sweeps()
    prove(sweeps, devices)
    for what in misses:
        sweeps.missed(NAT, what, NOW)
    assert sweeps.is_throttled(NAT, NOW) == (len(set(misses)) > MISSES + devices // DEVICES_PER_MISS)


def test_a_source_tells_no_more_devices_apart_than_it_may() -> None:
    sweeps = Sweeps()
    prove(sweeps, 10 * MOST_DEVICES)
    excused = MISSES + MOST_DEVICES // DEVICES_PER_MISS
    assert miss(sweeps, excused) == []
    assert miss(sweeps, 1, first=excused) == [Sweep(NAT, excused + 1, MOST_DEVICES)]
