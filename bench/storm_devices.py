"""Devices that boot at once and fetch their configurations, in a process of its own: `python -m bench.storm_devices` reads what
to do as one JSON line, says `ready`, waits for a line, and answers with what came of it as a JSON line.

Each device dials a new TLS connection, loses patience if it has not its whole configuration by then, and tries again by its own
back-off. Some honour Retry-After, the others know nothing of it. Devices of a site stand behind one address.
"""

import asyncio
import json
import random
import ssl
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop

from bench.autop_load import resuming

PATIENCE = (1.5, 5.0)
"""Seconds of one try, from the dial to the last byte."""
BACK_OFF = (1.5, 5.0)
"""Seconds between two tries."""
LOOK = 0.1
"""Seconds between two looks at this process' own lag."""


@dataclass(frozen=True, slots=True)
class Storm:
    """`devices`: (MAC, site, path) each; they boot within `window` seconds; `honour` of them do as Retry-After says. Given up
    after `most` seconds."""

    host: str
    port: int
    devices: list[tuple[str, int, str]] = field(repr=False)
    window: float
    honour: float
    most: float
    seed: int = 1


@dataclass(slots=True)
class Aftermath:
    """`provisioned`: (seconds from the storm's begin, `began` on the monotonic clock, to the device's boot, to its configuration,
    tries). `returns`: seconds after which devices were told to come again; `away`: when (from, to) those that heed it stay away.
    `failures`: tries without a configuration, by reason. `lag`: how late this process itself was at worst, in seconds."""

    provisioned: list[tuple[float, float, int]] = field(default_factory=list, repr=False)
    returns: list[int] = field(default_factory=list, repr=False)
    away: list[tuple[float, float]] = field(default_factory=list, repr=False)
    began: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    lag: float = 0.0
    seconds: float = 0.0


class Fetch(asyncio.Protocol):
    """One try: TLS, one request, one answer. uvloop's own TLS keeps a connection that is dropped in its handshake, and says so at
    length; this one is gone at once."""

    def __init__(self, tls: ssl.SSLContext, request: bytes) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._in, self._out)
        self._request = request
        self._asked = False
        self._came = bytearray()
        self._transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        """Status, and seconds of Retry-After or 0. (0, 0): the connection was lost."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._in.write(data)
        self._go_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._settle(0, 0)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        assert self._transport is not None
        try:
            if not self._asked:
                self._tls.do_handshake()
                self._tls.write(self._request)
                self._asked = True
            self._came += self._tls.read(65536)
            self._look()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._settle(0, 0)
        if self._out.pending:
            self._transport.write(self._out.read())

    def _look(self) -> None:
        head, _, body = bytes(self._came).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or -1)
        if len(body) == length:
            self._settle(int(head[9:12]), int(head.lower().partition(b"retry-after: ")[2].partition(b"\r")[0] or 0))

    def _settle(self, status: int, retry_after: int) -> None:
        if not self.answer.done():
            self.answer.set_result((status, retry_after))


class Devices:
    """The devices of one storm."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._tls = resuming()
        self._chance = random.Random(storm.seed)
        self._began = 0.0
        self._failures: Counter[str] = Counter()
        self.aftermath = Aftermath()

    async def run(self) -> Aftermath:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        self._began = self.aftermath.began = time.monotonic()
        watch = asyncio.create_task(self._watch_lag())
        devices = [asyncio.create_task(self._device(*device)) for device in self._storm.devices]
        _, late = await asyncio.wait(devices, timeout=self._storm.most)
        for task in (*late, watch):
            task.cancel()
        self.aftermath.failures = dict(self._failures)
        self.aftermath.seconds = time.monotonic() - self._began
        return self.aftermath

    async def _watch_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK)
            self.aftermath.lag = max(self.aftermath.lag, time.monotonic() - before - LOOK)

    async def _device(self, _mac: str, site: int, path: str) -> None:
        chance = self._chance
        boot, honours = chance.uniform(0, self._storm.window), chance.random() < self._storm.honour
        source = f"127.{1 + site // 65536}.{site // 256 % 256}.{site % 256 or 255}"
        await asyncio.sleep(boot)
        tries = 0
        while True:
            tries += 1
            wait = await self._try(source, path)
            if wait is None:
                break
            if wait and honours:
                now = time.monotonic() - self._began
                self.aftermath.away.append((now, now + wait))
                await asyncio.sleep(wait)
            else:
                await asyncio.sleep(chance.uniform(*BACK_OFF))
        self.aftermath.provisioned.append((boot, time.monotonic() - self._began, tries))

    async def _try(self, source: str, path: str) -> int | None:
        """One try. None: it has its configuration; else the seconds it is to wait, 0 if nobody said."""
        storm = self._storm
        request = f"GET {path} HTTP/1.1\r\nHost: {storm.host}\r\nUser-Agent: Akuvox R29C\r\nConnection: close\r\n\r\n"
        fetch = Fetch(self._tls, request.encode())
        try:
            async with asyncio.timeout(self._chance.uniform(*PATIENCE)):
                await asyncio.get_running_loop().create_connection(lambda: fetch, storm.host, storm.port, local_addr=(source, 0))
                status, retry_after = await fetch.answer
        except TimeoutError:
            self._failures["patience"] += 1
            return 0
        except OSError as error:
            self._failures[type(error).__name__] += 1
            return 0
        finally:
            fetch.drop()
        if status == 200:
            return None
        self._failures[str(status) if status else "cut"] += 1
        if retry_after:
            self.aftermath.returns.append(retry_after)
        return retry_after


def main() -> None:
    facts: dict[str, Any] = json.loads(sys.stdin.readline())
    print(json.dumps(asdict(uvloop.run(Devices(Storm(**facts)).run()))), flush=True)


if __name__ == "__main__":
    main()
