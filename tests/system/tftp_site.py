"""A TFTP server of a few files on loopback, and a raw client: what the TFTP system tests stand on."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from autop.net.tftp import TftpFile, TftpLimits, TftpServer
from autop.tftp_packets import data
from gateway.accept import source_of
from tests.system.peers import LOOPBACK

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


def _place(host: str, port: int) -> Any:
    """A socket address, with the interface of a link-local one."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4]


class Client:
    """A raw client: one socket, datagrams by hand."""

    def __init__(self, served: Served) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET6 if ":" in served.host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(_place(served.host, 0))
        self._heard: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self._loop.add_reader(self._socket.fileno(), lambda: self._heard.put_nowait(self._socket.recvfrom(70_000)))
        self._server = _place(served.host, served.port)
        self.peer = self._server

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def ask(self, name: bytes, *options: bytes, mode: bytes = b"octet", opcode: bytes = b"\0\1") -> None:
        self.tell(opcode + b"".join(part + b"\0" for part in (name, mode, *options)), self._server)

    def tell(self, datagram: bytes, peer: Any = None) -> None:
        self._socket.sendto(datagram, peer or self.peer)

    async def hear(self, seconds: float = 5.0) -> bytes:
        async with asyncio.timeout(seconds):
            heard, peer = await self._heard.get()
        self.peer = peer
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


async def until_idle(served: Served) -> None:
    while served.transfers > 0:  # noqa: ASYNC110  (the end of a transfer tells nobody)
        await asyncio.sleep(0.005)
