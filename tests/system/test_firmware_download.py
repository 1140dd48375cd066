"""Downloads at the autop listener: how many at a time, when to come again, slow readers, and what is held in memory for them."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autop.identify import Asked, FirmwareFile
from autop.net.configurations import File, Refused
from autop.net.limits import ListenerLimits
from autop.net.listener import AutopListener
from autop.net.proof import Presented
from autop.observer import Outcome, Reason
from gateway.accept import Acceptor
from gateway.handshakes import HandshakePlaces
from registry.errors import StoreUnavailable
from registry.mac import MacAddress
from tests.autop import examples
from tests.system.autop_site import Answer, client_context, make_certificate, server_context

pytestmark = pytest.mark.system

IMAGE = hashlib.shake_256(b"image").digest(16 * 1024 * 1024)
TAG = '"' + hashlib.sha256(IMAGE).hexdigest() + '"'


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (it happens inside the listener)
            await asyncio.sleep(0.005)


@dataclass
class FakeImage:
    """An image in memory that tells what was done with it."""

    mac: MacAddress
    events: list[str]
    allowed: bool = True
    fails: bool = False
    etag: bytes = TAG.encode()
    size: int = len(IMAGE)

    async def begin(self) -> bool:
        self.events.append("begin")
        return self.allowed

    async def complete(self) -> None:
        if self.fails:
            raise StoreUnavailable("away")
        self.events.append("complete")

    async def read(self, start: int, count: int) -> bytes:
        self.events.append(f"read {count}")
        return IMAGE[start : start + count]

    def close(self) -> None:
        self.events.append("close")


@dataclass
class Images:
    """One image for whoever asks in the right form."""

    events: list[str] = field(default_factory=list)
    opened: int = 0
    allowed: bool = True
    fails: bool = False

    async def find(self, asked: Asked | None, presented: Presented) -> File | FakeImage | Refused:
        if not isinstance(asked, FirmwareFile):
            return Refused(Outcome.REFUSED, Reason.NO_SUCH_FILE)
        self.opened += 1
        return FakeImage(asked.mac, self.events, self.allowed, self.fails)


@dataclass
class Served:
    """A listener that serves it."""

    port: int
    tls: ssl.SSLContext | None
    images: Images
    listener: AutopListener
    observed: examples.Recorder

    async def ask(self, number: int = 1, *headers: str, limit: int = 2**16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        near = socket.socket()
        if limit < 2**16:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        near.setblocking(False)
        await asyncio.get_running_loop().sock_connect(near, ("127.0.0.1", self.port))
        host = "127.0.0.1" if self.tls else None
        reader, writer = await asyncio.open_connection(sock=near, ssl=self.tls, limit=limit, server_hostname=host)
        target = f"/autop/{'a' * 26}/0C11050000{number:02X}-{'0' * 24}.rom"
        head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", "Connection: close", *headers])
        writer.write(head.encode() + b"\r\n\r\n")
        return reader, writer

    async def get(self, number: int = 1, *headers: str) -> Answer:
        reader, writer = await self.ask(number, *headers)
        try:
            return Answer.read(await reader.read())
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(limits: ListenerLimits | None = None, certificate: tuple[Path, Path] | None = None) -> AsyncIterator[Served]:
    images, observed = Images(), examples.Recorder()
    listener = AutopListener(configurations=images, observer=observed, clock_wall=lambda: 1_780_000_000.0, limits=limits)
    door = Acceptor(
        connect=listener.connect,
        tls=server_context(*certificate) if certificate else None,
        handshakes=HandshakePlaces(),
        refused=lambda reason: None,
    )
    _, port = await door.start("127.0.0.1", 0)
    try:
        yield Served(port, client_context(certificate[0]) if certificate else None, images, listener, observed)
    finally:
        await door.stop()
        await listener.stop(1.0)
        assert images.events.count("close") == images.opened
        assert listener.connections == 0


async def test_a_whole_image_over_tls_is_read_in_pieces_and_its_end_is_kept_before_it_goes(tmp_path: Path) -> None:
    async with serving(certificate=make_certificate(tmp_path)) as served:
        answer = await served.get()
        assert (answer.status, answer.headers["etag"], answer.headers["accept-ranges"]) == (200, TAG, "bytes")
        assert answer.body == IMAGE
        assert served.listener.firmware_sent == len(IMAGE)
        events = served.images.events
        assert (events[0], events[-2:]) == ("begin", ["complete", "close"])
        assert set(events[1:-2]) == {"read 65536"}
        part = await served.get(1, "Range: bytes=100-199", f"If-Range: {TAG}")
        assert (part.status, part.headers["content-range"], part.body) == (206, f"bytes 100-199/{len(IMAGE)}", IMAGE[100:200])
        assert events[-3:] == ["begin", "read 100", "close"]  # not its end, so not kept as had


async def test_downloads_are_bounded_and_the_others_are_spread_over_time() -> None:
    limits = ListenerLimits(downloads=2, downloads_per_device=1, retry_seconds=100.0)
    async with serving(limits) as served:
        busy = [await served.ask(number, limit=1024) for number in (1, 2)]
        for reader, _ in busy:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        answers = [await served.get(number) for number in range(3, 23)]
        assert {answer.status for answer in answers} == {503}
        waits = [int(answer.headers["retry-after"]) for answer in answers]
        assert all(100 <= wait <= 200 for wait in waits)
        assert len(set(waits)) > 10
        assert served.observed.answers.count((Outcome.LIMITED, Reason.BUSY)) == 20
        assert served.images.events.count("begin") == 2  # who was sent away lost no try
        for _, writer in busy:
            writer.transport.abort()
        await until(lambda: served.images.events.count("close") == 22)
        assert (await served.get(9)).status == 200


async def test_no_download_begins_while_many_want_configurations() -> None:
    async with serving(ListenerLimits(busy_connections=3)) as served:
        idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3)]
        await until(lambda: served.listener.connections == 3)
        assert (await served.get()).status == 503
        for _, writer in idle:
            writer.close()
        await until(lambda: not served.listener.connections)
        assert (await served.get()).status == 200


async def test_a_reader_that_stops_costs_little_and_is_cut_off() -> None:
    async with serving(ListenerLimits(request_seconds=0.5)) as served:
        reader, writer = await served.ask(1, limit=1024)
        await reader.readline()
        await until(lambda: "close" in served.images.events)
        assert "complete" not in served.images.events
        assert served.listener.firmware_sent < len(IMAGE)  # the kernel's buffers and one piece
        assert (Outcome.REFUSED, Reason.TOO_SLOW) in served.observed.answers
        writer.transport.abort()


async def test_all_of_a_download_has_a_deadline_however_well_it_goes() -> None:
    async with serving(ListenerLimits(download_seconds=0.3)) as served:
        reader, writer = await served.ask(1, limit=1024)
        got = 0
        with contextlib.suppress(OSError):
            async with asyncio.timeout(10):
                while chunk := await reader.read(1024):
                    got += len(chunk)
                    await asyncio.sleep(0.001)
        assert got < len(IMAGE)
        writer.transport.abort()


async def test_a_store_that_is_away_cuts_the_answer_before_its_end_and_enough_is_enough() -> None:
    async with serving() as served:
        served.images.fails = True
        reader, writer = await served.ask()
        with contextlib.suppress(OSError):
            got = await reader.read()
            assert len(got) < len(IMAGE)
        writer.close()
        assert (Outcome.ERROR, Reason.UNAVAILABLE) in served.observed.answers
        served.images.fails, served.images.allowed = False, False
        assert (await served.get()).status == 404
