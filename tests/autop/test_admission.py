"""Who is sent away under load, how few, and when they come again."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autop.admission import FIRST, MAX_CREDIT, RETURNS_PER_SECOND, SHARE, SPREAD, Admission, Pressure, Rank, rank
from autop.identify import CommonFile, FirmwareFile, MacFile, PhonebookFile
from registry.mac import MacAddress
from registry.records import DeviceKind

MACS = [MacAddress(f"0C1105{number:06X}") for number in range(30_000)]
MAC = MACS[0]


def pressed(pressure: Pressure) -> Admission:
    admission = Admission()
    delay = {Pressure.CALM: 0.0, Pressure.BUSY: 0.3, Pressure.OVERLOADED: 1.5}[pressure]
    for _ in range(2):
        admission.sample(0.0, delay)
    assert admission.pressure is pressure
    return admission


def indoor(admission: Admission, mac: MacAddress, now: float = 0.0, *, is_known: bool = False) -> int:
    return admission.weigh(Rank.INDOOR, mac, is_known=is_known, now=now)


def test_ranks() -> None:
    assert rank(MacFile("t", MAC), DeviceKind.MULTI_TENANT_DOOR_PHONE) is Rank.DOOR
    assert rank(MacFile("t", MAC), DeviceKind.ACCESS_CONTROL) is Rank.DOOR
    assert rank(MacFile("t", MAC), DeviceKind.INDOOR_MONITOR) is Rank.INDOOR
    assert rank(CommonFile("t", "r29"), DeviceKind.GUARD_PHONE) is Rank.INDOOR
    assert rank(PhonebookFile("t", MAC), DeviceKind.MULTI_TENANT_DOOR_PHONE) is Rank.CONTACTS
    assert rank(FirmwareFile("t", MAC, "i", ".rom"), DeviceKind.MULTI_TENANT_DOOR_PHONE) is Rank.FIRMWARE


def test_one_late_sample_is_no_load_and_one_good_one_ends_it() -> None:
    admission, said = Admission(), []
    for lag, delay in ((5.0, 0.0), (5.0, 0.0), (0.0, 2.0), (0.0, 2.0), (0.0, 0.0)):
        admission.sample(lag, delay)
        said.append(admission.pressure)
    assert said == [Pressure.CALM, Pressure.BUSY, Pressure.BUSY, Pressure.OVERLOADED, Pressure.CALM]


@pytest.mark.parametrize(
    ("pressure", "away"),
    [
        (Pressure.CALM, set()),
        (Pressure.BUSY, {Rank.CONTACTS, Rank.FIRMWARE}),
        (Pressure.OVERLOADED, {Rank.INDOOR, Rank.CONTACTS, Rank.FIRMWARE}),
    ],
)
def test_what_is_put_off(pressure: Pressure, away: set[Rank]) -> None:
    admission = pressed(pressure)
    for mac in MACS[1:9]:
        assert admission.weigh(Rank.DOOR, mac, is_known=False, now=0.0) == 0
    assert {one for one in Rank if admission.weigh(one, MAC, is_known=False, now=0.0)} == away
    assert set(admission.sent_away) == {(one, pressure) for one in away}


def test_what_costs_a_look_up_is_served() -> None:
    admission = pressed(Pressure.OVERLOADED)
    assert not any(indoor(admission, mac, is_known=True) for mac in MACS[:100])


def test_nobody_is_sent_away_twice_running() -> None:
    admission = pressed(Pressure.OVERLOADED)
    away = [mac for mac in MACS[:1000] if indoor(admission, mac)]
    assert away
    assert not any(indoor(admission, mac) for mac in away)


@given(st.lists(st.tuples(st.sampled_from(list(Rank)), st.integers(0, 60)), max_size=400))
def test_configurations_sent_away_are_at_most_a_quarter_of_those_served(asked: list[tuple[Rank, int]]) -> None:
    admission, served, away = pressed(Pressure.OVERLOADED), 0, 0
    for wanted, number in asked:
        wait = admission.weigh(wanted, MACS[number], is_known=False, now=0.0)
        if wanted is Rank.DOOR:
            assert wait == 0
        if wanted in (Rank.DOOR, Rank.INDOOR):
            served, away = served + (wait == 0), away + (wait > 0)
        assert away <= served * SHARE
        assert wait == 0 or wait >= FIRST


def test_credit_does_not_outlive_the_load() -> None:
    admission = pressed(Pressure.OVERLOADED)
    for mac in MACS[:1000]:
        admission.weigh(Rank.DOOR, mac, is_known=False, now=0.0)
    assert sum(indoor(admission, mac) > 0 for mac in MACS[1000:1200]) <= MAX_CREDIT + 200 * SHARE
    admission.sample(0.0, 0.0)
    admission.weigh(Rank.DOOR, MAC, is_known=False, now=0.0)
    for _ in range(2):
        admission.sample(0.0, 2.0)
    assert indoor(admission, MACS[2000]) == 0


@pytest.mark.parametrize("crowd", [600, 3000, 20_000])
def test_who_was_sent_away_comes_again_evenly(crowd: int) -> None:
    """All at one instant: the histogram of their returns is flat, and never above what was allowed for by much."""
    admission = pressed(Pressure.BUSY)
    returns = [admission.weigh(Rank.CONTACTS, MACS[number], is_known=False, now=7.0) for number in range(crowd)]
    assert min(returns) >= FIRST
    per_ten = Counter(int((one - FIRST) // 10) for one in returns)
    window = max(SPREAD, crowd / RETURNS_PER_SECOND)
    inner = [per_ten[number] for number in range(1, int(SPREAD / 10) - 1)]
    assert max(inner) <= 1.3 * min(inner)
    if crowd > SPREAD * RETURNS_PER_SECOND:
        assert max(returns) > FIRST + 0.9 * window


def test_those_of_a_storm_of_a_minute_come_again_evenly_too() -> None:
    admission, serial = pressed(Pressure.BUSY), count()
    returns = [
        step / 10 + admission.weigh(Rank.CONTACTS, MACS[next(serial)], is_known=False, now=step / 10)
        for step in range(600)
        for _ in range(5)
    ]
    per_five = Counter(int(one // 5) for one in returns)
    assert max(per_five.values()) < 1.35 * len(returns) / (60 + SPREAD) * 5 * 2
