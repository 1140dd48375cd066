"""The node's settings: what is allowed, what is off by default, and when devices poll."""

from typing import Any

import pytest

from autop.settings import AutopSettings, poll_time
from registry.mac import MacAddress
from registry.records import Transmission


def settings(**changes: Any) -> AutopSettings:
    return AutopSettings(**{"sip_host": "h", "autop_url": "https://h/autop", "registration_seconds": 300, **changes})


@pytest.mark.parametrize("seconds", [30, 65535])
def test_registration_times_devices_take(seconds: int) -> None:
    assert settings(registration_seconds=seconds).registration_seconds == seconds


@pytest.mark.parametrize("seconds", [29, 65536, 0, -1])
def test_registration_times_they_do_not(seconds: int) -> None:
    with pytest.raises(ValueError, match="between 30 and 65535"):
        settings(registration_seconds=seconds)


@pytest.mark.parametrize(("first", "hours"), [(0, 1), (23, 24)])
def test_poll_hours_of_a_day(first: int, hours: int) -> None:
    settings(poll_first_hour=first, poll_hours=hours)


@pytest.mark.parametrize(("first", "hours"), [(-1, 4), (24, 4), (1, 0), (1, 25)])
def test_poll_hours_of_no_day(first: int, hours: int) -> None:
    with pytest.raises(ValueError, match="poll_first_hour"):
        settings(poll_first_hour=first, poll_hours=hours)


def test_what_is_not_said_is_off() -> None:
    bare = settings()
    assert [bare.sip_port(each) for each in (Transmission.UDP, Transmission.TCP, Transmission.TLS)] == [0, 0, 0]
    assert bare.sip_port(Transmission.DNS_SRV) is None
    assert (bare.channel_host, bare.channel_port) == ("", 0)


@pytest.mark.parametrize("base", ["https://h/autop", "https://h/autop/", "https://h/autop//"])
def test_the_directory_of_a_token(base: str) -> None:
    assert settings(autop_url=base).directory("t") == "https://h/autop/t/"


def test_poll_times_cover_their_hours_and_pass_midnight() -> None:
    times = [poll_time(MacAddress(f"0C1105{number:06X}"), 23, 2) for number in range(2000)]
    assert {hour for hour, _, _ in times} == {23, 0}
    assert {minute for _, minute, _ in times} == set(range(60))
    assert {second for _, _, second in times} == set(range(60))
    assert poll_time(MacAddress("0C1105000000"), 1, 4) == poll_time(MacAddress("0C1105000000"), 1, 4)
