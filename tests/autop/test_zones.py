"""IANA names to what devices write: standard offsets on both hemispheres, cities, and names nobody knows."""

import pytest

from autop.net.zones import zone
from autop.render import Zone


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UTC", Zone(0)),
        ("Etc/GMT-5", Zone(300)),
        ("Europe/Moscow", Zone(180, "Moscow")),
        ("Europe/Berlin", Zone(60, "Berlin")),
        ("Australia/Sydney", Zone(600, "Sydney")),
        ("America/New_York", Zone(-300, "New York")),
        ("America/Argentina/Buenos_Aires", Zone(-180, "Buenos Aires")),
        ("America/St_Johns", Zone(-210, "St Johns")),
        ("Asia/Kathmandu", Zone(345, "Kathmandu")),
    ],
)
def test_standard_time_and_city(name: str, expected: Zone) -> None:
    assert zone(name) == expected


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../../etc/passwd", "/etc/passwd", "Europe", "\x00", "x" * 5000])
def test_a_name_nobody_knows(name: str) -> None:
    assert zone(name) is None
