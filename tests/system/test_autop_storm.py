"""Devices that boot together and have little patience: every one gets its configuration, whatever the node must do about it."""

from collections import Counter
from pathlib import Path

import pytest

from bench.bench_autop_storm import Result, storm_of, weather
from tests.system.autop_fleet import seed
from tests.system.peers import RunningGateway, loopback_config

pytestmark = pytest.mark.system


def storm(folder: Path, devices: int, window: float, honour: float, most: float) -> Result:
    seeded = seed(folder / "state", devices)
    with RunningGateway(folder, loopback_config("warning")) as gateway:
        return weather(gateway, storm_of(seeded, gateway.address("autop_https"), window, honour, most))


def test_three_hundred_that_boot_within_half_a_second_are_all_provisioned(tmp_path: Path) -> None:
    result = storm(tmp_path, 300, window=0.5, honour=0.0, most=40.0)
    assert len(result.aftermath.provisioned) == 300
    assert all(end > boot for boot, end, _ in result.aftermath.provisioned)
    served = sum(count for name, count in result.metrics.items() if 'outcome="served"' in name)
    assert served >= 300


@pytest.mark.slow
def test_three_thousand_within_three_seconds_are_all_provisioned_and_few_sent_away(tmp_path: Path) -> None:
    result = storm(tmp_path, 3000, window=3.0, honour=0.5, most=240.0)
    assert len(result.aftermath.provisioned) == 3000
    served = sum(count for name, count in result.metrics.items() if 'outcome="served"' in name)
    away = {name: count for name, count in result.metrics.items() if "sent_away" in name}
    assert sum(away.values()) <= served / 4 + 25
    assert not any('wanted="door"' in name for name in away)
    assert all(30 <= wait <= 180 for wait in result.aftermath.returns)
    assert max(Counter(wait // 10 for wait in result.aftermath.returns).values(), default=0) <= len(result.aftermath.returns)
