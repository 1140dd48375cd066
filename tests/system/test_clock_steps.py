"""The wall clock of a running gateway is stepped by two hours, forward and back (libfaketime): nobody's registration ends, nonces
stay good, and timers take as long as they take. Finding 1 of reference/reliability-and-security.md."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import pytest

from tests.system.fleet import add_devices, add_site
from tests.system.peers import RunningGateway, loopback_config, needs, wait_until
from tests.system.udp_phone import House, UdpPhone

pytestmark = [pytest.mark.system, needs("faketime")]
DEVICES = 20
SHORT = 15
"""Seconds of the shortest registration in this test's configuration."""
CONFIG = loopback_config(more=f'[sip]\ndomains = ["gw.test"]\nmin_expires = {SHORT}\n')


class Clock:
    """The offset of the gateway's wall clock; its monotonic clock is left alone, as the kernel does when time is set."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "offset"
        self.step(0)

    def step(self, seconds: int) -> None:
        self.file.write_text(f"{seconds:+d}s\n")


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(tmp_path)
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not where Debian puts it")
    for name, value in {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(made.file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def house(tmp_path: Path, clock: Clock) -> Iterator[House]:
    with RunningGateway(tmp_path, CONFIG) as gateway:
        made = House(gateway, add_devices(gateway, add_site(gateway, "Clock"), DEVICES + 2, first=0xA000))
        try:
            yield made
        finally:
            made.close()


def reached(caller: UdpPhone, callee: UdpPhone) -> None:
    """A MESSAGE from one arrives at the other and is answered."""
    caller.send(caller.authorised(caller.request(b"MESSAGE", b"sip:%b@gw.test" % callee.user.encode(), body=b"still there?")))
    callee.answers(callee.asked(b"MESSAGE"), 200)
    caller.gets(200, b"MESSAGE")


def test_steps_of_two_hours_end_no_registration_and_move_no_timer(house: House, clock: Clock) -> None:
    phones = [house.phone("D") for _ in range(DEVICES)]
    # Reading the clock from a file is slow, and making the site kept the node busy: it may still be sending strangers away.
    wait_until("a node that is not pressed", lambda: phones[0].asks(phones[0].register()).status == 401, 10.0)
    for phone in phones:
        assert phone.registers(expires=3600).status == 200
    caller, brief = phones[0], house.phone("B")
    assert brief.registers(expires=SHORT).status == 200
    bound_at = time.monotonic()
    pending = caller.register(cseq=100)
    challenge = caller.asks(pending)

    for offset in (7200, -7200, 0):
        clock.step(offset)
        wait_until("new wall clock", partial(_has_followed, house.gateway, offset), 5.0)
        for phone in phones[1:]:
            reached(caller, phone)
    assert caller.asks(caller.with_credentials(pending, challenge)).status == 200

    mute = phones[1]
    caller.send(caller.authorised(caller.request(b"MESSAGE", b"sip:%b@gw.test" % mute.user.encode())))
    asked_at = time.monotonic()
    clock.step(7200)
    caller.gets(100, b"MESSAGE")
    assert 3.4 < time.monotonic() - asked_at < 4.2, "RFC 4320: the 100 comes when Timer E reaches T2, 3.5 s"

    assert time.monotonic() - bound_at < SHORT - 1.0, "this machine is too slow for the rest of this test"
    reached(caller, brief)
    late = caller.authorised(caller.request(b"MESSAGE", b"sip:%b@gw.test" % brief.user.encode()))
    wait_until("the end of the short registration", lambda: time.monotonic() > bound_at + SHORT + 0.2, SHORT)
    caller.send(late)
    caller.gets(480, b"MESSAGE")


def _has_followed(gateway: RunningGateway, offset: int) -> bool:
    """Whether the gateway's own wall clock has been stepped, by the Date of an answer (it renews that once a second)."""
    said = parsedate_to_datetime(gateway.admin("GET", "/sites").headers["date"])
    return abs(said.timestamp() - time.time() - offset) < 60
