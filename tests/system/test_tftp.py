"""TFTP over real sockets: tftp-hpa and atftp as clients, the probe list of provisioning-and-admin.md, and hostile peers."""

import asyncio
import contextlib
import hashlib
import random
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autop.net.tftp import NOT_FOUND, UNKNOWN_TRANSFER, TftpFile, TftpLimits, TftpServer
from autop.tftp_packets import data, netascii, oack
from gateway.accept import source_of
from tests.system.fleet import add_devices, add_site
from tests.system.peers import LOOPBACK, RunningGateway, loopback_config, needs, program, wait_until

pytestmark = pytest.mark.system

BIG = random.Random(4).randbytes(200_000)
TEXT = b"Config.A.B.C = 1\nConfig.A.B.D = 2\n" * 40


@dataclass
class Served:
    """A server of a few files, and what it said."""

    port: int
    host: str = LOOPBACK
    files: dict[bytes, bytes] = field(default_factory=lambda: {b"big": BIG, b"text": TEXT, b"even": b"x" * 1024, b"empty": b""})
    counted: list[str] = field(default_factory=list)
    complete: list[bytes] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    slow: float = 0.0
    server: TftpServer | None = None

    async def find(self, name: bytes, source: str) -> TftpFile | None:
        self.sources.append(source)
        await asyncio.sleep(self.slow)
        body = self.files.get(name)
        return None if body is None else TftpFile(body, lambda: self.complete.append(name))

    @property
    def transfers(self) -> int:
        assert self.server is not None
        return self.server.transfers


@contextlib.asynccontextmanager
async def serving(limits: TftpLimits | None = None, host: str = LOOPBACK, allowed: bool = True) -> AsyncIterator[Served]:
    served = Served(0, host)
    served.server = TftpServer(served, allows=lambda _: allowed, source_of=source_of, count=served.counted.append, limits=limits)
    _, served.port = await served.server.start(host, 0)
    try:
        yield served
    finally:
        await served.server.stop(0.0)
        assert served.transfers == 0


class Client:
    """A raw client: one socket, datagrams by hand."""

    def __init__(self, served: Served) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET6 if ":" in served.host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((served.host, 0))
        self._heard: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()
        self._loop.add_reader(self._socket.fileno(), lambda: self._heard.put_nowait(self._socket.recvfrom(70_000)))
        self._server = (served.host, served.port)
        self.peer: tuple[str, int] = self._server

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def ask(self, name: bytes, *options: bytes, mode: bytes = b"octet", opcode: bytes = b"\0\1") -> None:
        self.tell(opcode + b"".join(part + b"\0" for part in (name, mode, *options)), self._server)

    def tell(self, datagram: bytes, peer: tuple[str, int] | None = None) -> None:
        self._socket.sendto(datagram, peer or self.peer)

    async def hear(self, seconds: float = 5.0) -> bytes:
        async with asyncio.timeout(seconds):
            heard, peer = await self._heard.get()
        self.peer = peer[:2]
        return heard

    async def hears_nothing(self, seconds: float = 0.2) -> bool:
        try:
            await self.hear(seconds)
        except TimeoutError:
            return True
        return False

    async def read_on(self, block: int = 1, size: int = 512) -> bytes:
        """Everything from this block on, in lock step."""
        got = b""
        while True:
            heard = await self.hear()
            assert heard[:4] == data(block, b"")
            got += heard[4:]
            self.tell(b"\0\4" + (block & 0xFFFF).to_bytes(2))
            if len(heard) < size + 4:
                return got
            block += 1


@contextlib.contextmanager
def client(served: Served) -> Iterator[Client]:
    made = Client(served)
    try:
        yield made
    finally:
        made.close()


async def run(*command: str, cwd: Path, feed: str = "") -> tuple[int, str]:
    """A real client's exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate(feed.encode())
    return process.returncode or 0, said.decode()


# Real clients


@needs("tftp")
@pytest.mark.parametrize("mode", ["octet", "netascii"])
async def test_tftp_hpa(tmp_path: Path, mode: str) -> None:
    async with serving() as served:
        for name, body in (("big", BIG), ("even", b"x" * 1024), ("empty", b"")) if mode == "octet" else (("text", TEXT),):
            code, said = await run(str(program("tftp")), "-m", mode, LOOPBACK, str(served.port), "-c", "get", name, cwd=tmp_path)
            assert code == 0, said
            assert (tmp_path / name).read_bytes() == body
            assert served.complete[-1] == name.encode()


@needs("tftp")
async def test_tftp_hpa_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    async with serving() as served:
        _, said = await run(str(program("tftp")), LOOPBACK, str(served.port), "-c", "get", "../etc/passwd", cwd=tmp_path)
        assert "File not found" in said
        _, said = await run(str(program("tftp")), LOOPBACK, str(served.port), "-c", "put", "/etc/hostname", "x", cwd=tmp_path)
        assert "Access violation" in said
        assert served.counted == ["not-found", "write"]


ATFTP_OPTIONS = [
    [],
    ["blksize 1428"],
    ["blksize 65464"],
    ["tsize"],
    ["timeout 2"],
    ["windowsize 8"],
    ["blksize 1024", "tsize", "timeout 3", "windowsize 4"],
]


@needs("atftp")
@pytest.mark.parametrize("options", ATFTP_OPTIONS, ids=lambda options: "+".join(options) or "none")
async def test_atftp(tmp_path: Path, options: list[str]) -> None:
    async with serving() as served:
        command = [str(program("atftp")), *[part for option in options for part in ("--option", option)]]
        code, said = await run(*command, "--get", "--remote-file", "big", LOOPBACK, str(served.port), cwd=tmp_path)
        assert code == 0, said
        assert (tmp_path / "big").read_bytes() == BIG
        assert served.complete == [b"big"]


# The probe list


async def test_options_that_are_accepted() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", b"blksize", b"1024", b"tsize", b"0", b"timeout", b"2", b"windowsize", b"1")
            accepted = ((b"blksize", 1024), (b"tsize", len(TEXT)), (b"timeout", 2), (b"windowsize", 1))
            assert await probe.hear() == oack(accepted)
            assert probe.peer[1] != served.port
            probe.tell(b"\0\4\0\0")
            assert await probe.read_on(size=1024) == TEXT


async def test_options_that_are_not() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", b"frobnicate", b"1", b"tsize", b"0")
            assert await probe.hear() == oack(((b"tsize", len(TEXT)),))
        with client(served) as probe:
            probe.ask(b"text", b"frobnicate", b"1", b"timeout", b"2.0", b"blksize", b"many")
            assert await probe.hear() == data(1, TEXT[:512])


async def test_a_huge_block_size_hurts_nobody() -> None:
    async with serving() as served:
        for size in (b"70000", b"65464", b"9" * 12, b"9" * 40, b"-1", b"0"):
            with client(served) as probe:
                probe.ask(b"big", b"blksize", size, b"tsize", b"0")
                heard = await probe.hear()
                assert heard[:2] == b"\0\6"
                probe.tell(b"\0\4\0\0")
                assert len(await probe.hear()) <= 1432
                probe.tell(b"\0\5\0\0enough\0")
        with client(served) as probe:
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024


async def test_a_repeated_ack() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"big")
            await probe.hear()
            for _ in range(5):
                probe.tell(b"\0\4\0\1")
            assert (await probe.hear())[:4] == data(2, b"")
            assert await probe.hears_nothing()


@pytest.mark.slow
@needs("tftp", "atftp")
@pytest.mark.parametrize("name", ["tftp", "atftp"])
async def test_the_number_of_a_block_wraps(tmp_path: Path, name: str) -> None:
    """40 MB in blocks of 512: 65,535 is followed by 0."""
    async with serving() as served:
        served.files[b"huge"] = body = random.Random(2).randbytes(40 * 1024 * 1024)
        options = {"tftp": ["-m", "octet", LOOPBACK, str(served.port), "-c", "get", "huge"]}
        options["atftp"] = ["--get", "--remote-file", "huge", LOOPBACK, str(served.port)]
        code, said = await run(str(program(name)), *options[name], cwd=tmp_path)
        assert code == 0, said
        assert (tmp_path / "huge").read_bytes() == body
        assert served.complete == [b"huge"]


async def test_what_is_lost_comes_again() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text")
            first = await probe.hear()
            assert await probe.hear() == first
            probe.tell(b"\0\4\0\1")
            assert (await probe.hear())[:4] == data(2, b"")


async def test_another_port_is_told_and_the_transfer_goes_on() -> None:
    async with serving() as served:
        with client(served) as probe, client(served) as stranger:
            probe.ask(b"even")
            first = await probe.hear()
            for _ in range(10):
                stranger.tell(b"\0\4\0\1", probe.peer)
            for _ in range(3):
                assert await stranger.hear() == UNKNOWN_TRANSFER
            assert await stranger.hears_nothing()
            stranger.tell(b"\0\5\0\0stop\0", probe.peer)
            assert first == data(1, b"x" * 512)
            probe.tell(b"\0\4\0\1")
            assert await probe.hear() == data(2, b"x" * 512)
            probe.tell(b"\0\4\0\2")
            assert await probe.hear() == data(3, b"")


async def test_netascii() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", mode=b"NetAscii")
            assert await probe.read_on() == netascii(TEXT)


async def test_what_is_refused_by_form() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"text", mode=b"mail")
            assert (await probe.hear())[:4] == b"\0\5\0\4"
            probe.ask(b"text", opcode=b"\0\2")
            assert (await probe.hear())[:4] == b"\0\5\0\2"
            probe.tell(b"\0\1text")
            assert (await probe.hear())[:4] == b"\0\5\0\4"
            for noise in (b"", b"\0", b"\0\4\0\1", b"\0\5\0\1x\0", b"SIP/2.0 200 OK\r\n\r\n", b"\0\1" + b"a" * 2000):
                probe.tell(noise)
            assert await probe.hears_nothing()
        assert served.counted == ["mode", "write", "malformed"]
        assert served.sources == []


async def test_refusals_leave_at_one_instant_whatever_they_cost() -> None:
    async with serving(TftpLimits(refusal_seconds=0.1)) as served:
        took = []
        for served.slow in (0.0, 0.06):
            with client(served) as probe:
                began = time.monotonic()
                probe.ask(b"../../etc/passwd")
                assert await probe.hear() == NOT_FOUND
                assert probe.peer[1] == served.port
                took.append(time.monotonic() - began)
        assert min(took) >= 0.1


# Bounds


async def test_a_repeated_request_is_one_transfer() -> None:
    async with serving() as served:
        served.slow = 0.05
        with client(served) as probe:
            for _ in range(10):
                probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
            assert len(served.sources) == 1


async def test_a_client_that_begins_anew_from_its_port() -> None:
    async with serving() as served:
        with client(served) as probe:
            probe.ask(b"big")
            await probe.hear()
            first = probe.peer
            probe.tell(b"\0\4\0\1")
            await probe.hear()
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
            assert probe.peer != first
            await until_idle(served)


async def test_places_of_one_source_and_of_all() -> None:
    async with serving(TftpLimits(transfers=3, per_source=2)) as served:
        with contextlib.ExitStack() as open_clients:
            probes = [open_clients.enter_context(client(served)) for _ in range(3)]
            for probe in probes:
                probe.ask(b"big")
            assert [await probe.hear() for probe in probes[:2]] == [data(1, BIG[:512])] * 2
            assert await probes[2].hears_nothing()
            assert served.counted == ["busy"]
            probes[0].tell(b"\0\5\0\0enough\0")
            probes[1].tell(b"\0\5\0\0enough\0")
            await until_idle(served)
            probes[2].ask(b"big")
            assert await probes[2].hear() == data(1, BIG[:512])


async def test_a_source_outside_the_networks_hears_nothing() -> None:
    async with serving(allowed=False) as served:
        with client(served) as probe:
            probe.ask(b"text")
            assert await probe.hears_nothing()
        assert served.counted == ["network"]


async def test_ipv6() -> None:
    async with serving(host="::1") as served:
        with client(served) as probe:
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
        assert served.sources == ["::1"]


async def test_the_answer_comes_from_the_address_that_was_asked() -> None:
    async with serving(host="0.0.0.0") as served:
        served.host = "127.0.0.3"
        with client(served) as probe:
            probe.ask(b"even")
            await probe.hear()
            assert probe.peer[0] == "127.0.0.3"
            probe.tell(b"\0\5\0\0enough\0")


async def test_a_look_up_that_never_ends() -> None:
    async with serving(TftpLimits(find_seconds=0.1)) as served:
        served.slow = 60.0
        with client(served) as probe:
            probe.ask(b"text")
            assert await probe.hear() == NOT_FOUND
        await until_idle(served)


async def test_a_flood_leaves_nothing_behind() -> None:
    """Noise, halves of packets and requests for what is not there, from two hundred sources; then an honest client."""
    chance = random.Random(7)
    starts = [b"", b"\0\1", b"\0\1nothing\0octet\0", b"\0\1nothing\0octet\0blksize\0", b"\0\4", b"\0\2", b"\0\5"]
    async with serving(TftpLimits(transfers=50, per_source=4)) as served:
        for host in range(200):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
                flooder.bind((f"127.1.1.{host + 1}", 0))
                for _ in range(50):
                    noise = chance.randbytes(chance.choice([0, 0, 1, 7, 40]))
                    flooder.sendto(chance.choice(starts) + noise, (served.host, served.port))
            await asyncio.sleep(0)
            assert served.transfers <= 50
        with client(served) as probe:
            probe.ask(b"x", opcode=b"\0\2")
            assert (await probe.hear())[:4] == b"\0\5\0\2", "all that came before has been read"
            await until_idle(served)
            probe.ask(b"even")
            assert await probe.read_on() == b"x" * 1024
        await until_idle(served)
        assert {"not-found", "malformed", "write"} <= set(served.counted)


async def until_idle(served: Served) -> None:
    while served.transfers > 0:  # noqa: ASYNC110  (the end of a transfer tells nobody)
        await asyncio.sleep(0.005)


# A node


@needs("atftp")
def test_a_device_fetches_from_a_node_and_the_operator_sees_it(tmp_path: Path) -> None:
    config = loopback_config().replace("sip_udp = 0\n", "sip_udp = 0\ntftp = 0\n")
    with RunningGateway(tmp_path, config) as gateway:
        host, port = gateway.address("tftp")
        device = add_devices(gateway, add_site(gateway, "tftp"), 1)[0]
        configuration = f"/devices/{device.mac}/configuration"
        token = device.autop_url.rstrip("/").rpartition("/")[2]
        gateway.ask("POST", f"/autop-commands/device/{device.mac}/one-time", {"lines": ["Config.Settings.LOGLEVEL.Level = 7"]})

        def fetch(name: str) -> str:
            command = [str(program("atftp")), "--option", "blksize 1024", "--get", "--remote-file", name, "--local-file", "got"]
            done = subprocess.run(
                [*command, host, str(port)], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
            )
            return done.stdout + done.stderr

        for name in (f"{'x' * 26}/{device.mac}.cfg", f"{token}/0C1105000000.cfg", "../state/master.key"):
            assert "File not found" in fetch(name)
        assert gateway.ask("GET", configuration)["fetched"] is None

        fetch(f"autop/{token}/{device.mac}.cfg")
        got = (tmp_path / "got").read_bytes()
        assert got.startswith(b"# One-Time Autop ")
        assert b"Config.Settings.LOGLEVEL.Level = 7\n" in got

        def fetched() -> bool:
            return gateway.ask("GET", configuration)["fetched"] is not None

        wait_until("the fetch in the store", fetched, 10)
        known = gateway.ask("GET", configuration)
        assert known["fetched"]["etag"] == hashlib.sha256(got).hexdigest()
        assert (known["fetched"]["address"], known["fetched"]["transport"]) == (LOOPBACK, "tftp")
        assert gateway.admin("GET", f"/devices/{device.mac}/one-time-autop").status == 404
