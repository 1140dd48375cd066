"""Attacks with a figure in issue 3, over real sockets: guessing with a word list (S02) and a flood of every method (S03).

S02's ten minutes are not waited for: the 10,000 words are tried as fast as the gateway reads them, so the right one comes while
the pair is paused, as it does at any pace that ten minutes allow. What more time gives a guesser is shown in simulated time, in
tests/sip/test_guessing.py. S03's two minutes are 40 seconds, at five times the rate at which this gateway on this machine begins
to put strangers off.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sip.message import Response
from tests.system.attack import Tally, refused, resident
from tests.system.test_sip_overload import capacity
from tests.system.udp_phone import House, UdpPhone, running_house

pytestmark = [pytest.mark.system, pytest.mark.slow]
WORDS = 10_000
RIGHT = 5_000
AT_ONCE = 100
"""Words between two registrations of the real device."""

FLOOD_SECONDS = 40.0
TIMES = 5
"""The flood's rate over the capacity; what a busy machine lets it send may be less, but must be twice the capacity."""
MEMORY = 64 * 1024 * 1024
FLOOD = r"""
import random, socket, sys, time
host, port, seconds, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
chance, target, sent, began = random.Random(3), (host, port), 0, time.monotonic()
methods = ("REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE", "INVITE", "OPTIONS")
while (passed := time.monotonic() - began) < seconds:
    if sent > passed * rate:
        time.sleep(0.001)
        continue
    # A source of its own for every seven requests: no credit of a source ends this flood, and every table sees new names.
    source = f"127.{chance.randrange(16, 250)}.{chance.randrange(250)}.{chance.randrange(1, 250)}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((source, 0))
        own = one.getsockname()[1]
        for method in methods:
            sent += 1
            user = f"u{sent}@gw.test"
            uri = "gw.test" if method == "REGISTER" else user
            try:
                one.sendto(
                    f"{method} sip:{uri} SIP/2.0\r\nVia: SIP/2.0/UDP {source}:{own};branch=z9hG4bKf{sent};rport\r\n"
                    f"Max-Forwards: 70\r\nFrom: <sip:{user}>;tag=f{sent}\r\nTo: <sip:{user}>\r\nCall-ID: f{sent}\r\n"
                    f"CSeq: 1 {method}\r\nContact: <sip:u@{source}:{own}>\r\nEvent: presence\r\n"
                    "User-Agent: flood\r\nContent-Length: 0\r\n\r\n".encode(), target)
            except OSError:
                pass
print(sent)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("attacks"), 130, 0xB200)


def guesses(phone: UdpPhone, right: str) -> list[bytes]:
    """A REGISTER for every word of the list, each with the digest its word gives."""
    data = phone.register()
    challenge = phone.asks(data)
    made = []
    for number in range(1, WORDS + 1):
        phone.password = right.encode() if number == RIGHT else b"word-%d" % number
        made.append(phone.with_credentials(data, challenge))
    return made


def heard(phone: UdpPhone) -> list[int]:
    """The statuses of all that has arrived, without waiting."""
    found = []
    phone.socket.setblocking(False)
    try:
        while True:
            found.append(int(phone.socket.recv(65535)[8:11]))
    except BlockingIOError:
        return found


def test_a_word_list_finds_nothing_and_the_real_device_does_not_notice(house: House) -> None:
    account = house.new_account()
    device = house.phone("D", account)
    assert device.registers().status == 200
    guesser = house.phone("G", account)
    guesser.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    words = guesses(guesser, account.password)
    before = refused(house.gateway, "credentials limited")
    statuses: list[int] = []
    times = Tally()
    for at in range(0, WORDS, AT_ONCE):
        for word in words[at : at + AT_ONCE]:
            guesser.send(word)
        assert times.registers(device)
        statuses += heard(guesser)
    assert set(statuses) == {401}
    assert times.percentile(1.0) < 1.0, f"the device's slowest registration took {times.percentile(1.0):.2f} s"
    assert refused(house.gateway, "credentials limited") - before >= 0.99 * WORDS - 10
    # The right word again, alone: neither is it told now, nor does the guesser's address keep the device out elsewhere.
    guesser.password = account.password.encode()
    guesser.send(words[RIGHT - 1])
    assert times.registers(house.phone("E", account))
    assert set(heard(guesser)) <= {401}


def test_a_flood_of_every_method(house: House) -> None:
    known = [house.phone("K") for _ in range(100)]
    for phone in known:
        assert phone.registers().status == 200
    rate = TIMES * capacity(house)
    before, put_off = resident(house.gateway), refused(house.gateway, "overload")
    host, port = house.address
    command = [sys.executable, "-c", FLOOD, host, str(port), str(FLOOD_SECONDS), str(rate)]
    flood = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    during, most = Tally(), 0
    while flood.poll() is None:
        for phone in known[:10]:
            during.registers(phone)
        most = max(most, resident(house.gateway))
    sent = int(flood.communicate(timeout=10)[0])
    after = Tally()
    for phone in known:
        after.registers(phone)
    most = max(most, resident(house.gateway))
    answered = refused(house.gateway, "overload") - put_off
    said = (
        f"{sent} requests in {FLOOD_SECONDS:g} s ({rate:.0f} a second wanted), {answered} put off; "
        f"known devices {len(during.seconds)} of {during.tried}, p99 {during.percentile(0.99):.2f} s, "
        f"afterwards {after.percentile(0.99):.3f} s; memory + {(most - before) / 2**20:.1f} MiB"
    )
    print(said)
    assert sent > 2 * rate / TIMES * FLOOD_SECONDS, f"the flood was less than twice the capacity: {said}"
    assert answered > 0.2 * sent, f"it was no overload: {said}"
    assert during.tried >= 50, said
    assert len(during.seconds) >= 0.99 * during.tried, said
    assert most - before < MEMORY, said
    assert len(after.seconds) == len(known), said
    assert after.percentile(0.99) <= 5.0, said
    stranger, since = house.phone("S"), time.monotonic()
    answer: Response | None = None
    while answer is None or answer.status == 503:
        assert time.monotonic() - since < 5.0
        answer = stranger.asks(stranger.register())
    assert answer.status == 401
