"""`advance`: time, hours, stages, failure rate, versions, and that calling it again changes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autop.rollout import DeviceFacts, advance, first_stage
from autop.upgrade_states import SILENCE_SECONDS, Event, step
from registry.firmware import DeviceUpgrade, DeviceUpgradeState, FirmwareUpgrade, ResetStep, UpgradeState
from registry.mac import MacAddress

S = DeviceUpgradeState
OLD, NEW = "29.30.10.100", "29.30.10.465"
UPGRADE = FirmwareUpgrade("u", "s", "ab" * 12, "R29", NEW, 1000.0, 100_000.0, 0, 0.0, 0.0)


class Site:
    """An upgrade and its devices, moved on by hand."""

    def __init__(self, count: int, **changes: Any) -> None:
        self.upgrade = replace(UPGRADE, devices=count, **changes)
        macs = [MacAddress(f"0C11050000{place:02X}") for place in range(count)]
        self.devices = [DeviceUpgrade("u", mac, "s", "ab" * 12, NEW, place, 0.0) for place, mac in enumerate(macs)]
        self.facts = {mac.text: DeviceFacts(fits=True, version=OLD) for mac in macs}
        self.now = 0.0

    def at(self, now: float, *, in_hours: bool = True) -> str:
        """Move on; returns the first letters of the devices' states."""
        self.now = now
        self.upgrade, self.devices = advance(self.upgrade, self.devices, self.facts, now, in_hours=in_hours)
        again = advance(self.upgrade, self.devices, self.facts, now, in_hours=in_hours)
        assert again[0] is self.upgrade
        assert all(one is other for one, other in zip(again[1], self.devices, strict=True))
        return self.states

    @property
    def states(self) -> str:
        return "".join("-" if device.state is S.CANCELLED else device.state.value[0] for device in self.devices)

    def happens(self, event: Event, *places: int) -> None:
        for place in places:
            self.devices[place] = step(self.devices[place], event, self.now)

    def tells(self, version: str, *places: int) -> None:
        for place in places:
            self.facts[self.devices[place].mac.text] = DeviceFacts(fits=True, version=version)


def test_a_plain_upgrade_from_pending_to_executed() -> None:
    site = Site(2)
    assert (site.at(999.0), site.upgrade.state) == ("pp", UpgradeState.PENDING)
    assert (site.at(1000.0), site.upgrade.state) == ("oo", UpgradeState.PROCESSING)
    site.happens(Event.TOLD, 0)
    site.happens(Event.SENT, 0)
    site.tells(NEW, 0)
    assert site.at(1100.0) == "eo"
    site.tells(NEW, 1)  # it had the version all along, or got it while this gateway was away
    assert (site.at(1200.0), site.upgrade.state) == ("ee", UpgradeState.EXECUTED)
    assert site.upgrade.updated == 1200.0


def test_silence_and_an_old_version_are_failures_after_thirty_minutes_each_with_its_reason() -> None:
    site = Site(3, max_failed_percent=100)
    site.facts[site.devices[1].mac.text] = DeviceFacts(fits=True)
    site.at(1000.0)
    site.happens(Event.TOLD, 0, 1, 2)
    site.happens(Event.SENT, 0, 1)
    assert site.at(1000.0 + SILENCE_SECONDS - 1) == "fft"
    assert all(device.state is not S.FAILED for device in site.devices)
    site.at(1000.0 + SILENCE_SECONDS)
    assert [device.result for device in site.devices] == [Event.OLD_AGAIN.value, Event.SILENT.value, Event.NOT_FETCHED.value]
    assert site.upgrade.state is UpgradeState.FAILED


def test_a_device_that_was_off_gets_it_until_the_end_and_one_under_way_may_finish() -> None:
    site = Site(2)
    assert site.at(99_999.0) == "oo"
    site.happens(Event.TOLD, 1)
    assert [device.state for device in (site.at(100_000.0), site.devices)[1]] == [S.FAILED, S.TOLD]
    assert site.devices[0].result == Event.ENDED.value
    site.happens(Event.SENT, 1)
    site.tells(NEW, 1)
    site.at(100_100.0)
    assert site.devices[1].state is S.EXECUTED


def test_the_daily_hours_open_and_close_the_offer() -> None:
    site = Site(2)
    assert site.at(1000.0, in_hours=False) == "pp"
    assert site.at(2000.0) == "oo"
    site.happens(Event.TOLD, 0)
    assert site.at(2600.0, in_hours=False) == "tp"
    assert site.upgrade.state is UpgradeState.PROCESSING
    assert site.at(3000.0) == "to"


def test_the_first_stage_goes_first_and_half_of_it_lets_the_rest_go() -> None:
    site = Site(10, first_percent=25)
    assert first_stage(site.upgrade) == 3
    assert site.at(1000.0) == "ooo" + "p" * 7
    site.happens(Event.TOLD, 0, 1)
    site.tells(NEW, 0)
    assert site.at(1100.0) == "eto" + "p" * 7
    site.tells(NEW, 1)
    assert site.at(1200.0) == "eeo" + "o" * 7  # the third is off and holds up nobody
    site.happens(Event.TOLD, 2)
    assert site.at(1300.0) == "eet" + "o" * 7


def test_too_many_failures_stop_it_but_not_those_who_have_the_image() -> None:
    site = Site(10, first_percent=20)
    site.at(1000.0)
    site.happens(Event.TOLD, 0, 1)
    site.happens(Event.SENT, 0)
    assert site.at(1000.0 + SILENCE_SECONDS - 10) == "ft" + "p" * 8
    site.at(1000.0 + SILENCE_SECONDS)
    assert site.states == "f" * 10
    assert [device.result for device in site.devices[2:]] == [Event.HALTED.value] * 8
    site = Site(10)
    site.at(1000.0)
    site.happens(Event.TOLD, 0, 1, 2)
    site.now = 2000.0
    site.happens(Event.SENT, 3)
    site.at(1000.0 + SILENCE_SECONDS)
    assert site.states == "ffff" + "f" * 6
    assert site.devices[3].state is S.FETCHED
    assert {device.result for device in site.devices[4:]} == {Event.HALTED.value}
    site.tells(NEW, 3)
    assert site.at(3000.0)[3] == "e"


def test_a_newer_device_is_left_alone_unless_the_operator_wants_it() -> None:
    site = Site(1)
    site.tells("29.30.10.500", 0)
    site.at(1000.0)
    assert site.devices[0].result == Event.NEWER.value
    site = Site(1, allow_older=True)
    site.tells("29.30.10.500", 0)
    assert site.at(1000.0) == "o"


def test_a_device_that_was_removed_or_exchanged_for_another_model_fails_at_any_time() -> None:
    site = Site(2)
    site.at(1000.0)
    site.facts.pop(site.devices[0].mac.text)
    site.facts[site.devices[1].mac.text] = DeviceFacts(fits=False, version=NEW)
    site.at(1001.0)
    assert [device.result for device in site.devices] == [Event.GONE.value] * 2


def test_reset_is_due_only_after_proof() -> None:
    site = Site(2, reset_after=True, max_failed_percent=100)
    site.at(1000.0)
    site.happens(Event.SENT, 0, 1)
    site.tells(NEW, 0)
    site.at(1000.0 + SILENCE_SECONDS)
    assert [device.reset for device in site.devices] == [ResetStep.WAITING, ResetStep.NONE]


def test_a_cancelled_upgrade_only_follows_what_was_fetched() -> None:
    site = Site(2)
    site.at(1000.0)
    site.happens(Event.SENT, 0)
    site.happens(Event.CANCELLED, 0, 1)
    site.upgrade = replace(site.upgrade, cancelled=True)
    assert site.at(1100.0) == "f-"
    site.tells(NEW, 0)
    assert (site.at(1200.0), site.upgrade.state) == ("e-", UpgradeState.FAILED)


EVENTS = st.tuples(st.integers(0, 4), st.sampled_from([Event.TOLD, Event.ASKED, Event.SENT]))
MOVES = st.lists(st.tuples(st.floats(0, 4000), st.booleans(), st.lists(EVENTS, max_size=4), st.integers(0, 9)), max_size=30)


@given(MOVES, st.integers(1, 100), st.integers(0, 100))
def test_whatever_happens_it_ends_and_nothing_that_is_over_moves(moves: Sequence[Any], first: int, most: int) -> None:
    site = Site(5, first_percent=first, max_failed_percent=most)
    now = 0.0
    for later, in_hours, events, telling in moves:
        now += later
        for place, event in events:
            site.happens(event, place)
        if telling < 5:
            site.tells(NEW, telling)
        over = [(device, device.state.is_over) for device in site.devices]
        site.at(now, in_hours=in_hours)
        assert all(before is after for (before, was), after in zip(over, site.devices, strict=True) if was)
    site.at(max(now, 100_000.0))
    site.at(max(now, 100_000.0) + SILENCE_SECONDS)
    assert site.upgrade.state.is_over
