"""Strangers ask for twice what the gateway can do (issue 3 point 8): devices in use register all the same, strangers get a cheap
503 with Retry-After, and when it is over the next stranger is served at once."""

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

from sip.message import Response
from tests.system.peers import RunningGateway
from tests.system.udp_phone import House, UdpPhone, running_house

pytestmark = [pytest.mark.system, pytest.mark.slow]
FLOOD_SECONDS = 5.0
FIRST_RATE = 4000.0
SOURCES = 900
"""So many that each stays within its own credit (sip/source_limits.py)."""
T1, TRIES = 0.5, 7

FLOOD = """
import socket, sys, time
host, port, rate, seconds, sources = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
target, sockets = (host, port), []
for number in range(sources):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.bind((f"127.9.{number // 250}.{number % 250 + 1}", 0))
    sockets.append((one, *one.getsockname()))
began, sent = time.monotonic(), 0
while (passed := time.monotonic() - began) < seconds:
    while sent < passed * rate:
        one, source, own = sockets[sent % sources]
        sent += 1
        one.sendto(
            f"REGISTER sip:gw.test SIP/2.0\\r\\nVia: SIP/2.0/UDP {source}:{own};branch=z9hG4bKf{sent};rport\\r\\n"
            "Max-Forwards: 70\\r\\n"
            f"From: <sip:u{sent}@gw.test>;tag=f{sent}\\r\\nTo: <sip:u{sent}@gw.test>\\r\\nCall-ID: flood-{sent}\\r\\n"
            f"CSeq: 1 REGISTER\\r\\nContact: <sip:u@{source}:{own}>\\r\\nContent-Length: 0\\r\\n\\r\\n".encode(), target)
    time.sleep(0.001)
print(sent)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("overload"), 12, 0xB000)


def flood(house: House, rate: float, seconds: float) -> subprocess.Popen[str]:
    host, port = house.address
    command = [sys.executable, "-c", FLOOD, host, str(port), str(rate), str(seconds), str(SOURCES)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def capacity(house: House) -> float:
    """Strangers' requests a second at which this gateway begins to put some off: found by asking ever faster, a second each."""
    rate = FIRST_RATE
    while put_off(house.gateway) == 0:
        rate *= 1.5
        said, _ = flood(house, rate, 1.0).communicate(timeout=20)
        assert int(said) > 0.8 * rate, "the flood is too slow on this machine to overload the gateway"
    return rate


def put_off(gateway: RunningGateway) -> int:
    host, port = gateway.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r'^portico_sip_refused_total\{reason="overload",transport="udp"\} ([0-9.e+]+)$', text, re.MULTILINE)
    return int(float(found.group(1))) if found else 0


def insisting(phone: UdpPhone, data: bytes) -> Response | None:
    """What a client transaction gets: the request is repeated as Timer E says. None: never an answer."""
    wait = T1
    for _ in range(TRIES):
        phone.send(data)
        try:
            answer = phone.next(wait)
        except AssertionError:
            wait = min(2 * wait, 4.0)
            continue
        assert isinstance(answer, Response)
        return answer
    return None


def test_known_devices_do_not_notice_twice_the_capacity(house: House) -> None:
    phones = [house.phone("K") for _ in range(10)]
    for phone in phones:
        assert phone.registers().status == 200
    rate = 2 * capacity(house)
    before = put_off(house.gateway)
    running = flood(house, rate, FLOOD_SECONDS)
    tried = done = 0
    while running.poll() is None:
        for phone in phones:
            tried += 1
            data = phone.register()
            challenge = insisting(phone, data)
            if challenge is None or challenge.status != 401:
                continue
            final = insisting(phone, phone.with_credentials(data, challenge))
            done += final is not None and final.status == 200
    said, _ = running.communicate(timeout=10)
    assert int(said) > 0.8 * rate * FLOOD_SECONDS, "the flood itself was too slow to tell"
    assert put_off(house.gateway) - before > 0.2 * int(said), "it was no overload"
    assert tried >= 50
    assert done >= 0.99 * tried, f"{done} of {tried} at {rate:.0f} requests a second"
    stranger, since = house.phone("S", host="127.0.0.251"), time.monotonic()
    answer = insisting(stranger, stranger.register())
    assert answer is not None
    assert answer.status in (401, 503)
    while answer is not None and answer.status == 503:
        assert 30 <= int(answer.get(b"retry-after") or b"0") <= 60
        answer = insisting(stranger, stranger.register())
    assert time.monotonic() - since < 5.0
