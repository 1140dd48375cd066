"""Autop commands and One-Time Autop through a whole gateway over HTTPS: curl, clients that break off, and kill -9."""

import hashlib
import os
import re
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.system.fleet import AddedDevice, add_devices, add_site
from tests.system.peers import RunningGateway, needs, program, wait_until

pytestmark = pytest.mark.system

KEY = "Config.Settings.LOGLEVEL.Level"
SMALL_WINDOW = 2048
WITHIN = 10.0


class House:
    """A gateway with one device, and what a device does."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.site = add_site(gateway, "one-time")
        self.device: AddedDevice = add_devices(gateway, self.site, 1)[0]
        self._md5 = b""
        self.applied: dict[str, int] = {}

    @property
    def path(self) -> str:
        return f"{urlsplit(self.device.autop_url).path.rstrip('/')}/{self.device.mac}.cfg"

    def order(self, *lines: str) -> None:
        self.gateway.ask("POST", f"/autop-commands/device/{self.device.mac}/one-time", {"lines": list(lines)})

    def waiting(self) -> list[dict[str, Any]]:
        answer = self.gateway.admin("GET", f"/devices/{self.device.mac}/one-time-autop")
        orders: list[dict[str, Any]] = answer.json["orders"] if answer.status == 200 else []
        assert answer.status in (200, 404)
        return orders

    def all_is_known(self) -> bool:
        """Whether every fetch that the gateway counts is in its store."""
        host, port = self.gateway.address("metrics")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{host}:{port}/metrics", timeout=WITHIN) as page:
            return "\nportico_autop_fetches_waiting 0.0\n" in page.read().decode()

    def configuration(self) -> Any:
        return self.gateway.ask("GET", f"/devices/{self.device.mac}/configuration")

    def dial(self, window: int = 0) -> ssl.SSLSocket:
        """A TLS connection; `window`: bytes the client's kernel takes before the client reads."""
        plain = socket.socket()
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.settimeout(WITHIN)
        plain.connect(self.gateway.address("autop_https"))
        trust = ssl.create_default_context(cafile=self.gateway.ready["ca_file"])
        return trust.wrap_socket(plain, server_hostname="localhost")

    def ask(self, connection: ssl.SSLSocket, *headers: str, method: str = "GET") -> None:
        head = "\r\n".join([f"{method} {self.path} HTTP/1.1", "Host: localhost", "Connection: close", *headers])
        connection.sendall(head.encode() + b"\r\n\r\n")

    def fetch(self, *headers: str) -> bytes:
        """The whole body, as a device takes it: it applies what is new to its MD5."""
        with closing(self.dial()) as connection:
            self.ask(connection, *headers)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(4096)
            head, _, body = received.partition(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
            while len(body) < length:
                body += connection.recv(4096)
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        if md5 != self._md5:
            self._md5 = md5
            for line in re.findall(rb"(?m)^Config\.Once\.A\.\w+ = .*$", body):
                self.applied[line.decode()] = self.applied.get(line.decode(), 0) + 1
        return body


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def house(gateway: RunningGateway) -> House:
    return House(gateway)


@needs("curl")
def test_curl_gets_lines_of_every_scope_and_one_time_lines_once(house: House, tmp_path: Path) -> None:
    gateway, mac = house.gateway, house.device.mac

    def curl(*options: str) -> tuple[str, bytes]:
        command = [str(program("curl")), "-s", "--noproxy", "*", "--cacert", gateway.ready["ca_file"], "-m", "20", *options]
        command += ["-o", "body", "-w", "%{http_code}", house.device.autop_url + f"{mac}.cfg"]
        (tmp_path / "body").write_bytes(b"")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout, (tmp_path / "body").read_bytes()

    plain = curl()[1]
    gateway.ask("PUT", f"/autop-commands/site/{house.site}", {"lines": [f"{KEY} = 3"]})
    status, body = curl()
    assert (status, body) == ("200", plain + f"{KEY} = 3\n".encode())
    etag = hashlib.sha256(body).hexdigest()
    wait_until("the fetch is kept", lambda: house.configuration()["standing"] == "fetched", WITHIN)
    assert curl("-H", f'If-None-Match: "{etag}"') == ("304", b"")
    wait_until("it is confirmed", lambda: house.configuration()["standing"] == "applied (inferred)", WITHIN)

    house.order("Config.Once.A.Curl = 1")
    assert house.configuration()["standing"] == "pending"
    status, once = curl("-H", f'If-None-Match: "{etag}"')
    assert status == "200"
    assert once.endswith(b"Config.Once.A.Curl = 1\n")
    wait_until("nothing waits any more", lambda: not house.waiting(), WITHIN)
    assert curl()[1] == body
    wait_until("it is kept", lambda: len(versions(house)) == 3, WITHIN)
    assert {one["address"] for one in versions(house)} == {"127.0.0.1"}
    kept = gateway.ask("GET", f"/devices/{mac}/configuration/versions/{hashlib.sha256(once).hexdigest()}")
    assert "Config.Once.A.Curl = 1" in kept["lines"]
    assert house.device.password.encode() in once
    assert house.device.password not in str(kept)


def versions(house: House) -> Any:
    return house.gateway.ask("GET", f"/devices/{house.device.mac}/configuration/versions")["items"]


@pytest.fixture(scope="module")
def long_file(house: House) -> int:
    """A file of two TLS records, so that a client that has read one has not taken it all. Its least size."""
    lines = [f"Config.Long.{{}}.Line{n:02d} = {'x' * 700}" for n in range(10)]
    for level, of in (("platform", "all"), ("model", "R29")):
        house.gateway.ask("PUT", f"/autop-commands/{level}/{of}", {"lines": [line.format(level) for line in lines]})
    return len(lines) * 700 * 2


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_fetch_that_breaks_off_does_not_count(house: House, long_file: int, how: str) -> None:
    house.order(*[f"Config.Once.A.Line{n:02d} = {'x' * 700}" for n in range(10)])
    with closing(house.dial(SMALL_WINDOW)) as connection:
        house.ask(connection)
        assert len(connection.recv(100)) == 100
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with closing(house.dial()) as connection:  # the gateway has seen the end of the first by the time it answers
        house.ask(connection, method="HEAD")
        while connection.recv(4096):
            pass
    wait_until("fetches are kept", house.all_is_known, WITHIN)
    (order,) = house.waiting()
    assert order["under_way"] is True
    body = house.fetch()
    assert len(body) > long_file
    assert body.count(b"Config.Once.A.Line") == 10
    wait_until("nothing waits any more", lambda: not house.waiting(), WITHIN)
    assert b"Config.Once" not in house.fetch()


@pytest.mark.usefixtures("long_file")
def test_a_client_that_takes_its_time_counts_when_it_is_done(house: House) -> None:
    house.order("Config.Once.A.Slow = 1", *[f"Config.Once.A.Line{n:02d} = {'x' * 700}" for n in range(10)])
    with closing(house.dial(SMALL_WINDOW)) as connection:
        house.ask(connection)
        received = connection.recv(100)
        wait_until("fetches are kept", house.all_is_known, WITHIN)
        assert house.waiting()
        while b"Config.Once.A.Line09" not in received or not received.endswith(b"\n"):
            received += connection.recv(500)
        wait_until("nothing waits any more", lambda: not house.waiting(), WITHIN)


def test_asterisk_says_nothing_of_what_a_client_has(house: House) -> None:
    house.order("Config.Once.A.Star = 1")
    with closing(house.dial()) as connection:
        house.ask(connection, "If-None-Match: *")
        while connection.recv(4096):
            pass
    wait_until("fetches are kept", house.all_is_known, WITHIN)
    (order,) = house.waiting()
    assert order["under_way"] is True
    house.fetch()
    wait_until("nothing waits any more", lambda: not house.waiting(), WITHIN)


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_between_fetch_and_record(tmp_path: Path, rounds: int) -> None:
    """The device has every byte, and the gateway dies before it can know, or just after: the lines are applied once."""
    with RunningGateway(tmp_path) as gateway:
        house = House(gateway)
        for number in range(rounds):
            house.order(f"Config.Once.A.Kill{number} = 1")
            house.fetch()
            os.kill(gateway.pid, signal.SIGKILL)
            gateway.kill()
            gateway.start()
            house.order(f"Config.Once.A.Later{number} = 1")
            house.fetch()
            wait_until("the first is known", lambda: len(house.waiting()) <= 1, WITHIN)
            house.fetch()
            wait_until("nothing waits any more", lambda: not house.waiting(), WITHIN)
            assert b"Config.Once" not in house.fetch()
        names = [f"Config.Once.A.{word}{number} = 1" for number in range(rounds) for word in ("Kill", "Later")]
        assert house.applied == dict.fromkeys(names, 1)
