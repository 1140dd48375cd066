"""Devices without a network: patience at boot, what a changed configuration restarts, daily polls, the ready file."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from registry.mac import MacAddress
from simulators.device import ConfigFailed, ConfigFetched, Device, seconds_until
from simulators.device_config import DeviceConfig, Fetched
from simulators.indoor_monitor import IndoorMonitor
from simulators.ready_file import NotReady, read_ready
from tests.simulators.wire import counted_entropy

MAC = MacAddress("0C1105000001")


class Autop:
    """Answers what the test lays out, in order."""

    def __init__(self, *answers: Fetched | Exception) -> None:
        self.answers = list(answers)

    async def fetch(self) -> Fetched:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def factory_reset(self, url: str) -> None:
        """It is the same to this one."""


def device(autop: Autop, kind: type[Device] = Device) -> Device:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return kind(MAC, autop, tls=tls, entropy=counted_entropy("device"), wall=lambda: 1_800_000_000.0)


async def test_unchanged_bytes_are_not_applied() -> None:
    booted = device(Autop(Fetched(100, '"a"', DeviceConfig(button_numbers=("1",))), Fetched(0, '"a"', None)))
    await booted.boot()
    assert booted.config == DeviceConfig(button_numbers=("1",))
    assert not await booted.poll()
    assert booted.config == DeviceConfig(button_numbers=("1",))
    assert booted.happenings.find(ConfigFetched, 1) == ConfigFetched(0, '"a"', applied=False)
    await booted.shut_down()


@pytest.mark.parametrize("failure", [OSError("no route"), ValueError("no configuration"), TimeoutError("late")])
async def test_boot_waits_and_tries_again(failure: Exception) -> None:
    booting = device(Autop(failure))
    task = asyncio.ensure_future(booting.boot())
    failed = await booting.happenings.next(ConfigFailed, 0)
    assert failed.why == str(failure)
    assert 0.5 <= failed.retry_in <= 1.0
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await booting.shut_down()


async def test_errors_that_are_bugs_are_not_patience() -> None:
    broken = device(Autop(KeyError("bug")))
    with pytest.raises(KeyError):
        await broken.boot()


async def test_a_monitor_without_account_ignores_its_resident() -> None:
    monitor = device(Autop(Fetched(1, "", DeviceConfig(unlock_codes=("#",)))), IndoorMonitor)
    assert isinstance(monitor, IndoorMonitor)
    await monitor.boot()
    for action in (monitor._answer, monitor._open, monitor._hang_up):
        action("some call")
    assert not monitor.registered
    await monitor.shut_down()


@pytest.mark.parametrize(
    ("time_of_day", "wall", "seconds"),
    [
        ((0, 0, 0), 0.0, 86400.0),
        ((0, 0, 1), 0.0, 1.0),
        ((23, 59, 59), 0.0, 86399.0),
        ((1, 0, 0), 3599.5, 0.5),
        ((1, 0, 0), 3600.0, 86400.0),
        ((1, 0, 0), 1_800_000_000.25, 61_199.75),
        ((None, 0, 0), 0.0, 3600.0),
        ((None, 59, 58), 3597.0, 1.0),
    ],
)
def test_when_the_next_poll_is(time_of_day: tuple[int | None, int, int], wall: float, seconds: float) -> None:
    assert seconds_until(time_of_day, wall) == seconds


GOOD = {
    "sip_udp": ["127.0.0.1", 5060],
    "autop_https": ["::1", 8443],
    "admin": ["127.0.0.1", 8088],
    "admin_token_file": "/t",
    "ca_file": "/ca.pem",
}


def test_a_ready_file(tmp_path: Path) -> None:
    file = tmp_path / "ready.json"
    file.write_text(json.dumps(GOOD))
    ready = read_ready(file)
    assert ready.autop_url("/autop/x/") == "https://[::1]:8443/autop/x/"
    assert (ready.folder, ready.sip_udp, ready.ca_file_text) == (tmp_path, ("127.0.0.1", 5060), "/ca.pem")
    file.write_text(json.dumps({**GOOD, "ca_file": None}))
    assert read_ready(file).ca_file_text is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", json.dumps({**GOOD, "sip_udp": 5}), json.dumps({**GOOD, "admin": ["h", "x"]})]
)
def test_a_ready_file_that_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ready.json"
    file.write_text(content)
    with pytest.raises(NotReady, match=r"ready\.json"):
        read_ready(file)
    with pytest.raises(NotReady, match="start a gateway first"):
        read_ready(tmp_path / "none")
