"""Devices that fetch their configurations, in a process of its own: `python -m bench.autop_load` reads what to do as one JSON
line, says `ready`, waits for a line, and answers with what came of it as a JSON line."""

import asyncio
import json
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop

KEEP_ALIVE, NEW, RESUMED = "keep-alive", "new connection", "resumed session"
FETCH_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: `requests` in all by so many devices at a time, over targets of (path, entity tag) in turn. Each over
    the device's one connection, a new one each time, or a new one that resumes the last one's TLS session. With `conditional`
    a request names the tag, and 304 is the answer that counts; else 200."""

    host: str
    port: int
    targets: list[tuple[str, str]] = field(repr=False)
    connections: str
    conditional: bool
    requests: int
    devices: int


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it. `resumed`: connections whose session was resumed; `tls` the version and cipher of the last."""

    done: int
    failed: int
    resumed: int
    seconds: float
    tls: str


class Resuming(ssl.SSLContext):
    """Trusts everybody, as devices leave the factory, and offers `session`, if there is one, to the next server."""

    session: ssl.SSLSession | None = None

    def wrap_bio(  # type: ignore[override]
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool = False, server_hostname: str | None = None
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, self.session)


def resuming() -> Resuming:
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Exchange(asyncio.Protocol):
    """One connection of a device: one request at a time. `answer` is set to the status, or 0 when the connection is lost."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._came = bytearray()
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> asyncio.Future[int]:
        assert self.transport is not None
        self._came.clear()
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self._came += data
        end = self._came.find(b"\r\n\r\n")
        if end < 0 or self.answer.done():
            return
        head = bytes(self._came[:end])
        status = int(head[9:12])
        length = 0 if status == 304 else int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
        if len(self._came) >= end + 4 + length:
            self.body = bytes(self._came[end + 4 :])
            self.answer.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(0)


class Load:
    """The devices of one piece of work."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self._left = work.requests
        self._next = 0
        self._done = self._failed = self._resumed = 0
        self._tls = ""
        close = "" if work.connections == KEEP_ALIVE else "Connection: close\r\n"
        name = "If-None-Match: {}\r\n" if work.conditional else ""
        self._requests = [
            f"GET {path} HTTP/1.1\r\nHost: {work.host}:{work.port}\r\nUser-Agent: Akuvox R29C 29.30.10.19\r\nAccept: */*\r\n"
            f"{name.format(etag)}{close}\r\n".encode()
            for path, etag in work.targets
        ]

    async def run(self) -> Done:
        contexts = [resuming() for _ in range(self.work.devices)]
        open_ones = [await self._open(context) for context in contexts] if self.work.connections == KEEP_ALIVE else []
        if self.work.connections == RESUMED:
            for context in contexts:
                await self._one_connection(context, self._request())
            self._done = self._failed = self._resumed = 0
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        began = time.monotonic()
        if open_ones:
            await asyncio.gather(*(self._keep(exchange) for exchange in open_ones))
        else:
            await asyncio.gather(*(self._dial(context) for context in contexts))
        return Done(self._done, self._failed, self._resumed, time.monotonic() - began, self._tls)

    async def _open(self, context: Resuming) -> Exchange:
        work = self.work
        _, exchange = await asyncio.get_running_loop().create_connection(Exchange, work.host, work.port, ssl=context)
        assert exchange.transport is not None
        found: ssl.SSLObject = exchange.transport.get_extra_info("ssl_object")
        self._resumed += bool(found.session_reused)
        self._tls = f"{found.version()} {(found.cipher() or ('',))[0]}"
        return exchange

    def _request(self) -> bytes:
        self._next = (self._next + 1) % len(self._requests)
        return self._requests[self._next]

    def _take(self) -> bool:
        self._left -= 1
        return self._left >= 0

    async def _keep(self, exchange: Exchange) -> None:
        while self._take():
            self._count(await exchange.ask(self._request()))

    async def _dial(self, context: Resuming) -> None:
        while self._take():
            await self._one_connection(context, self._request())

    async def _one_connection(self, context: Resuming, request: bytes) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                exchange = await self._open(context)
                self._count(await exchange.ask(request))
        except OSError:
            self._count(0)
            return
        assert exchange.transport is not None
        if self.work.connections == RESUMED:
            context.session = exchange.transport.get_extra_info("ssl_object").session
        exchange.transport.close()

    def _count(self, status: int) -> None:
        if status == (304 if self.work.conditional else 200):
            self._done += 1
        else:
            self._failed += 1


def main() -> None:
    facts: dict[str, Any] = json.loads(sys.stdin.readline())
    print(json.dumps(asdict(uvloop.run(Load(Work(**facts)).run()))), flush=True)


if __name__ == "__main__":
    main()
