"""The table of a device's states in an upgrade: a test row per table row, and that nothing else happens."""

from dataclasses import replace

import pytest

from autop.upgrade_states import MAX_ASKS, MAX_DOWNLOADS, TABLE, Event, is_offered, may_fetch, step
from registry.firmware import DeviceUpgrade, DeviceUpgradeState
from registry.mac import MacAddress

DEVICE = DeviceUpgrade("u", MacAddress("0C1105AABBCC"), "s", "ab" * 12, "29.30.10.465", 0, 100.0)
ROWS = """
pending   DUE         offered
pending   PROVEN      executed
pending   ENDED       failed
pending   HALTED      failed
pending   CANCELLED   cancelled
pending   GONE        failed
pending   NEWER       failed
offered   CLOSED      pending
offered   TOLD        told
offered   ASKED       told
offered   SENT        fetched
offered   PROVEN      executed
offered   ENDED       failed
offered   HALTED      failed
offered   CANCELLED   cancelled
offered   GONE        failed
offered   NEWER       failed
told      ASKED       told
told      SENT        fetched
told      PROVEN      executed
told      NOT_FETCHED failed
told      HALTED      failed
told      CANCELLED   cancelled
told      GONE        failed
fetched   ASKED       fetched
fetched   SENT        fetched
fetched   PROVEN      executed
fetched   SILENT      failed
fetched   OLD_AGAIN   failed
fetched   GONE        failed
"""
EXPECTED = {
    (DeviceUpgradeState(state), Event[event]): DeviceUpgradeState(after)
    for state, event, after in (row.split() for row in ROWS.strip().splitlines())
}


@pytest.mark.parametrize("state", DeviceUpgradeState)
@pytest.mark.parametrize("event", Event, ids=lambda event: event.name)
def test_every_row_and_nothing_else(state: DeviceUpgradeState, event: Event) -> None:
    before = replace(DEVICE, state=state)
    after = step(before, event, 200.0)
    expected = EXPECTED.get((state, event))
    if expected is None:
        assert after is before
    else:
        assert after.state is expected
        assert after.result == (event.value if expected.is_over else "")
    assert ((state, event) in TABLE) == (expected is not None)


def test_what_is_over_stays_as_it_is() -> None:
    for state in DeviceUpgradeState:
        if state.is_over:
            assert not [key for key in TABLE if key[0] is state]


def test_only_progress_puts_off_the_silence() -> None:
    told = step(replace(DEVICE, state=DeviceUpgradeState.OFFERED), Event.TOLD, 200.0)
    assert told.since == 200.0
    assert step(told, Event.ASKED, 300.0).since == 300.0
    fetched = step(told, Event.SENT, 400.0)
    assert fetched.since == 400.0
    again = step(step(fetched, Event.ASKED, 500.0), Event.SENT, 600.0)
    assert (again.since, again.asks, again.downloads) == (400.0, 1, 2)


def test_the_image_is_offered_until_it_was_fetched_and_never_without_end() -> None:
    offering = [state.value for state in DeviceUpgradeState if is_offered(replace(DEVICE, state=state))]
    serving = [state.value for state in DeviceUpgradeState if may_fetch(replace(DEVICE, state=state))]
    assert offering == ["offered", "told"]
    assert serving == ["offered", "told", "fetched"]
    fetched = replace(DEVICE, state=DeviceUpgradeState.FETCHED)
    assert may_fetch(replace(fetched, asks=MAX_ASKS - 1, downloads=MAX_DOWNLOADS - 1))
    assert not may_fetch(replace(fetched, asks=MAX_ASKS))
    assert not may_fetch(replace(fetched, downloads=MAX_DOWNLOADS))
