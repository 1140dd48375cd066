"""Slow and greedy streams with a figure in issue 3: 4,000 that say nothing or drip (S14), 1,000 that promise a gigabyte (S15).

The attackers are in this process, on one selector. Real deadlines are waited for: 10 s for a TLS handshake, 30 s for a message.
"""

import asyncio
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.system.attack import descriptors, refused, resident
from tests.system.stream_peer import StreamPeer
from tests.system.udp_phone import House, running_house

pytestmark = [pytest.mark.system, pytest.mark.slow]
EACH = 1000
"""Connections of a kind to a listener: silent and dripping, to TCP and to TLS, makes 4,000."""
LATEST = 30.0 + 5.0
"""Seconds until the last one is gone: a message's deadline, and what issue 3 allows on top."""
SILENT, DRIPPING = "127.0.0.81", "127.0.0.82"
HONEST_SECONDS = 1.0
GIGABYTE = 1_000_000_000
MEMORY = 10 * 1024 * 1024
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512)
"""The beginning of a TLS handshake record of 512 octets."""
MESSAGE = b"REGISTER sip:gw.test SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nX: " + 512 * b"x"


def greedy(number: int) -> bytes:
    return (
        b"INVITE sip:1@gw.test SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK%d\r\nMax-Forwards: 70\r\n"
        b"From: <sip:a@gw.test>;tag=1\r\nTo: <sip:1@gw.test>\r\nCall-ID: g%d\r\nCSeq: 1 INVITE\r\nContent-Length: %d\r\n\r\n"
    ) % (number, number, GIGABYTE)


class Attackers:
    """Connections that drip `text` at a pace, or say nothing. A thread of its own drips and notices who was closed."""

    def __init__(self, octets_a_second: int) -> None:
        self._pace = octets_a_second
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        self._open: dict[socket.socket, bytes] = {}
        self.refused = 0
        """Closed while we still connected."""
        self.last_closed = 0.0

    def connect(self, address: tuple[str, int], source: str, text: bytes = b"", head: int = 0) -> None:
        """One more connection, which says the first `head` octets at once and drips the rest."""
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.bind((source, 0))
        one.settimeout(10.0)
        try:
            one.connect(address)
            if head:
                one.sendall(text[:head])
        except OSError:
            self.refused += 1
            one.close()
            return
        one.setblocking(False)
        self._open[one] = text[head:]

    @property
    def alive(self) -> int:
        return len(self._open)

    def run(self) -> None:
        """Drip until told to stop."""
        for one in self._open:
            self._selector.register(one, selectors.EVENT_READ)
        while not self._over.is_set():
            until = time.monotonic() + 1.0
            for one, text in list(self._open.items()):
                if text:
                    self._open[one] = text[self._pace :]
                    with suppress(OSError):
                        one.send(text[: self._pace])
            while (left := until - time.monotonic()) > 0 and not self._over.is_set():
                for key, _ in self._selector.select(min(left, 0.2)):
                    self._hear(key.fileobj)  # type: ignore[arg-type]

    def _hear(self, one: socket.socket) -> None:
        try:
            if one.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._selector.unregister(one)
        del self._open[one]
        one.close()
        self.last_closed = time.monotonic()

    def stop(self) -> None:
        self._over.set()

    def close(self) -> None:
        for one in self._open:
            one.close()
        self._selector.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield from running_house(tmp_path_factory.mktemp("streams"), 4, 0xB400)


async def registers(house: House, account_user: str, password: str, tls: ssl.SSLContext) -> float:
    """Seconds that an honest device takes for a TLS connection of its own and a registration over it."""
    since = time.monotonic()
    peer = await StreamPeer.dial(house.gateway.address("sip_tls"), account_user, tls, "127.0.0.83")
    peer.phone.password = password.encode()
    try:
        assert (await peer.register()).status == 200
    finally:
        peer.kill()
    return time.monotonic() - since


async def honest(house: House, attackers: Attackers, seconds: float) -> list[float]:
    """How long registrations take while the attackers are there, one after the other."""
    account = house.new_account()
    tls = ssl.create_default_context(cafile=str(Path(house.gateway.ready["ca_file"])))
    times: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and attackers.alive:
        async with asyncio.timeout(20):
            times.append(await registers(house, account.username, account.password, tls))
        await asyncio.sleep(0.05)  # ten a second or so: a pace, no wait for anything
    return sorted(times)


def against(house: House, attackers: Attackers, seconds: float) -> list[float]:
    """Let them attack, and an honest device register meanwhile. Each has a thread, as the tests' own loop is not theirs."""
    with ThreadPoolExecutor(2) as threads:
        attack = threads.submit(attackers.run)
        try:
            return threads.submit(lambda: asyncio.run(honest(house, attackers, seconds))).result()
        finally:
            attackers.stop()
            attack.result()


def test_silent_and_dripping_connections_are_all_gone_in_time(house: House) -> None:
    before, began = descriptors(house.gateway), time.monotonic()
    tcp, tls = house.gateway.address("sip_tcp"), house.gateway.address("sip_tls")
    attackers = Attackers(octets_a_second=10)
    try:
        for _ in range(EACH):
            for address, text in ((tcp, MESSAGE), (tls, HELLO)):
                attackers.connect(address, SILENT)
                attackers.connect(address, DRIPPING, text, 1)
        connected = time.monotonic() - began
        times = against(house, attackers, LATEST)
        took = attackers.last_closed - began
        said = (
            f"connecting took {connected:.1f} s, {attackers.refused} refused, {attackers.alive} alive after {took:.1f} s; "
            f"{len(times)} honest registrations, p99 {times[int(0.99 * len(times))]:.3f} s, slowest {times[-1]:.3f} s"
        )
        print(said)
        assert attackers.alive == 0, said
        assert len(times) >= 50, said
        assert times[int(0.99 * len(times))] < HONEST_SECONDS, said
        assert descriptors(house.gateway) <= before + 5, said
    finally:
        attackers.close()


def test_a_promised_gigabyte_is_refused_at_once_and_costs_no_memory(house: House) -> None:
    before, memory, began = descriptors(house.gateway), resident(house.gateway), time.monotonic()
    attackers = Attackers(octets_a_second=1024)
    try:
        for number in range(1000):
            text = greedy(number) + bytes(60_000)
            attackers.connect(house.gateway.address("sip_tcp"), DRIPPING, text, len(greedy(number)))
        against(house, attackers, 30.0)
        grown = resident(house.gateway) - memory
        said = f"{attackers.alive} alive after {time.monotonic() - began:.1f} s, memory + {grown / 2**20:.1f} MiB"
        print(said)
        assert attackers.alive == 0, said
        assert grown < MEMORY, said
        assert descriptors(house.gateway) <= before + 5, said
    finally:
        attackers.close()


def test_an_invite_and_a_reset_leave_nothing(house: House) -> None:
    """10,000 connections that send an INVITE and reset: no transaction, no descriptor and no seat is left."""
    before = descriptors(house.gateway)
    linger = struct.pack("ii", 1, 0)
    for number in range(10_000):
        with socket.create_connection(house.gateway.address("sip_tcp"), 10.0, (DRIPPING, 0)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            one.sendall(greedy(number).replace(b"%d" % GIGABYTE, b"0"))
    phone = house.phone("A")
    assert phone.registers().status == 200
    deadline = time.monotonic() + 5.0
    while descriptors(house.gateway) > before + 5:
        assert time.monotonic() < deadline, f"{descriptors(house.gateway)} descriptors, {before} before"
        time.sleep(0.05)
    assert refused(house.gateway, "strangers-per-source", "tcp") < 10_000
