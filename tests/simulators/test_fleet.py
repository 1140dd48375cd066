"""How a fleet is laid out, counted and bounded."""

import pytest

from simulators.fleet import FleetPlan, members, percentile


def test_sites_of_fifty_with_five_doors_each() -> None:
    fleet = members(120)
    assert [sum(m.site == site for m in fleet) for site in range(3)] == [50, 50, 20]
    assert [sum(m.site == site and m.is_door for m in fleet) for site in range(3)] == [5, 5, 2]
    assert len({m.mac for m in fleet}) == 120
    for site in range(3):
        numbers = [m.number for m in fleet if m.site == site and not m.is_door]
        assert numbers == [str(101 + place) for place in range(len(numbers))]


def test_the_smallest_fleets() -> None:
    assert [m.is_door for m in members(1)] == [True]
    assert [(m.is_door, m.number) for m in members(2)] == [(True, ""), (False, "101")]


@pytest.mark.parametrize(("share", "milliseconds"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_percentiles(share: float, milliseconds: float) -> None:
    assert percentile([number / 1000 for number in range(100, 0, -1)], share) == milliseconds


def test_no_times_no_percentile() -> None:
    assert percentile([], 0.5) is None


@pytest.mark.parametrize("plan", [(0, 1, 1, 1), (-1, 1, 1, 1), (1 << 20, 1, 1, 1), (1, -1, 1, 1), (1, 1, -1, 1), (1, 1, 1, -1)])
def test_impossible_plans_are_refused(plan: tuple[int, float, float, float]) -> None:
    with pytest.raises(ValueError, match="--"):
        FleetPlan(*plan)
