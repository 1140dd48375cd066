"""A scanner that asks for one MAC after another, and devices that work meanwhile: what each was answered, and how fast."""

import asyncio
import contextlib
import itertools
import random
import re
import ssl
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

WRONG = "a" * 32
"""A token that no device has."""


@dataclass(slots=True)
class Swept:
    """What a sweep met with. `answers`: the different answers but for their dates and nonces, with how often."""

    answers: dict[bytes, int] = field(default_factory=dict)
    known: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)
    cut_off: int = 0
    """Connections that were ended by the other side."""

    @property
    def found(self) -> int:
        """Configurations handed out."""
        return sum(count for answer, count in self.answers.items() if not answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 401 ")))

    def difference(self) -> float:
        """Seconds by which the medians of MACs that exist and of those that do not differ."""
        return abs(statistics.median(self.known) - statistics.median(self.unknown))

    def noise(self) -> float:
        """The same where there is nothing to tell apart: the ninth of ten samples of unknown MACs, each as many as are known."""
        whole, rounds = statistics.median(self.unknown), [random.Random(seed) for seed in range(10)]
        return sorted(abs(statistics.median(one.sample(self.unknown, len(self.known))) - whole) for one in rounds)[8]


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """One whole answer of a connection that stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


Place = tuple[str, int, ssl.SSLContext | None]
"""Host, port, and TLS or not."""


async def sweep(places: Iterable[Place], macs: Iterable[str], known: set[str], *, connections: int, token: str = WRONG) -> Swept:
    """Ask for all these MACs over so many connections to each place, as fast as they are answered. `token` empty: without one."""
    swept, left, folder, dialling = Swept(), iter(macs), f"/{token}" if token else "", asyncio.Semaphore(5)
    await asyncio.gather(*(_scan(place, left, known, swept, folder, dialling) for place in places for _ in range(connections)))
    return swept


async def _scan(
    place: Place, left: Iterator[str], known: set[str], swept: Swept, folder: str, dialling: asyncio.Semaphore
) -> None:
    """One connection's part, or that of those that follow it where it is cut off."""
    clock = asyncio.get_running_loop().time
    asked = ""
    while True:
        async with dialling:
            try:
                reader, writer = await asyncio.open_connection(*place[:2], ssl=place[2])
            except OSError:
                swept.cut_off += 1
                continue
        try:
            while asked := asked or next(left, ""):
                began = clock()
                writer.write(f"GET /autop{folder}/{asked}.cfg HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                answer = await answer_of(reader)
                (swept.known if asked in known else swept.unknown).append(clock() - began)
                plain = re.sub(rb'(?i)(?<=\r\ndate: )[^\r]*|(?<=nonce=")[^"]*', b"", answer)
                swept.answers[plain] = swept.answers.get(plain, 0) + 1
                asked = ""
            return
        except (OSError, asyncio.IncompleteReadError):
            swept.cut_off += 1
        finally:
            await _closed(writer)


class Devices:
    """Honest devices that fetch their configurations again and again, each over a connection of its own, until `stop`."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, paths: list[str], *, every: float) -> None:
        self._where = host, port, tls
        self._paths = paths
        self._every = every
        self._stopping = asyncio.Event()
        self.times: list[float] = []
        """Seconds of each fetch that was answered by a configuration, from the dial to the last byte."""
        self.failed: list[str] = []
        self.retried = 0
        """Connections that ended without an answer, and were followed by another one as devices do."""

    async def work(self) -> None:
        """All of them, spread evenly."""
        count = len(self._paths)
        await asyncio.gather(*(self._device(path, self._every * number / count) for number, path in enumerate(self._paths)))

    def stop(self) -> None:
        """No further fetches."""
        self._stopping.set()

    async def _device(self, path: str, wait: float) -> None:
        for _ in itertools.count():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
                return
            wait = self._every
            await self._fetch(path)

    async def _fetch(self, path: str) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        for _ in range(3):
            answer = await self._answer(path)
            if answer:
                break
            self.retried += 1
        if answer.startswith(b"HTTP/1.1 200 "):
            self.times.append(clock() - began)
        else:
            self.failed.append(answer[:20].decode("latin-1"))

    async def _answer(self, path: str) -> bytes:
        """The answer; empty where the connection ended before it."""
        host, port, tls = self._where
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(host, port, ssl=tls)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    return await answer_of(reader)
                finally:
                    await _closed(writer)
        except (OSError, asyncio.IncompleteReadError):
            return b""


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close at once; what the other side thinks of it does not matter."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
