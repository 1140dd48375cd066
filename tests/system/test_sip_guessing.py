"""Password guessing and unauthenticated requests over real sockets (S01, S02, S04).

Ten tries, then nothing is looked at; a source that never has a password runs dry; real devices, a building full of them, notice
nothing."""

import re
import urllib.request
from collections.abc import Iterator

import pytest

from sip.guessing import FAILURES
from sip.message import Response
from tests.system.udp_phone import House, UdpPhone, running_house

pytestmark = pytest.mark.system
BUILDING = 400
"""Devices behind one address: more than a stranger's credit, and far faster than the minute that issue 3 gives them."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("guessing"), 4 + BUILDING, 0xD000)


def limited(house: House, reason: str = "credentials limited") -> int:
    """How many requests the gateway says it refused for this reason."""
    host, port = house.gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(rf'reason="{reason}",transport="udp"\}} ([0-9.]+)', text)
    return int(float(found.group(1))) if found else 0


def masked(response: Response) -> bytes:
    """A response without what differs from one to the next anyhow: tags, branches, numbers, nonces, the user asked about."""
    text = re.sub(rb'(tag=|branch=|nonce="|Call-ID: |CSeq: |rport=|<sip:)[^;"> \r]*', rb"\1*", response.to_bytes())
    return re.sub(rb"127\.0\.0\.[0-9]+(:[0-9]+)?", b"address", text)


def guess(phone: UdpPhone, times: int) -> list[Response]:
    """Wrong passwords, one after the other."""
    right, phone.password = phone.password, b"wrong"
    answers = [phone.registers() for _ in range(times)]
    phone.password = right
    return answers


def test_after_ten_wrong_passwords_the_right_one_is_not_told_and_the_device_goes_on(house: House) -> None:
    account = house.new_account()
    device = house.phone("D", account, "127.0.0.61")
    assert device.registers().status == 200
    guesser, neighbour = house.phone("G", account, "127.0.0.62"), house.phone("N", account, "127.0.0.61")
    for phone in (guesser, neighbour):
        before = limited(house)
        assert {answer.status for answer in guess(phone, FAILURES)} == {401}
        assert limited(house) == before
        assert phone.registers().status == 401
        assert limited(house) == before + 1
    assert device.registers().status == 200
    assert house.phone("E", account, "127.0.0.63").registers().status == 200


def test_users_that_exist_and_users_that_do_not_are_answered_alike(house: House) -> None:
    known, unknown = house.phone("A", host="127.0.0.64"), house.phone("B", host="127.0.0.65")
    unknown.user = "9" * len(known.user)
    for wrong in (FAILURES - 1, 1, 2):
        one, other = guess(known, wrong), guess(unknown, wrong)
        assert [masked(answer) for answer in one] == [masked(answer) for answer in other]
    assert masked(known.asks(known.request(b"INVITE", b"sip:1@gw.test"))) == masked(
        unknown.asks(unknown.request(b"INVITE", b"sip:1@gw.test"))
    )


def test_a_building_behind_one_address_registers_and_a_stranger_asking_as_much_runs_dry(house: House) -> None:
    before = limited(house, "source limited")
    for _ in range(BUILDING):
        assert house.phone("D", host="127.0.0.70").registers().status == 200
    assert limited(house, "source limited") == before
    stranger = house.phone("S", house.new_account(), "127.0.0.71")
    for _ in range(BUILDING):
        stranger.send(stranger.register())
    assert stranger.arrivals(2.0)
    assert limited(house, "source limited") > before + 50
