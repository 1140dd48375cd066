"""A device's connection to its SIP server over TCP or TLS: made, kept, made again when it is lost."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import cast

from sip.errors import MalformedMessage
from sip.framing import KEEPALIVE, PONG, StreamFramer

CONNECT_DEADLINE = 10.0
RETRY_FIRST = 1.0
RETRY_MOST = 30.0
"""Seconds between tries to connect: RETRY_FIRST * 2^n at most, a random half of it off."""


class SipStream(asyncio.Protocol):
    """One device's connection. `up` is called when it is made, `received` for each message, `down` when it is lost.

    `tls` None is plain TCP; the certificate must be good for `host`. `chance` gives a number of [0, 1). `run` does it
    all, for ever.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        up: Callable[[], None],
        received: Callable[[bytes], None],
        down: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._up, self._received, self._down = up, received, down
        self._chance = chance
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            self._lost.clear()
            try:
                async with asyncio.timeout(CONNECT_DEADLINE):
                    await self._connect()
                failures = 0
                await self._lost.wait()
            except OSError:  # also ssl.SSLError and TimeoutError
                failures += 1
            await asyncio.sleep(min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(failures, 16)) * (0.5 + 0.5 * self._chance()))

    def write(self, data: bytes) -> bool:
        """Send a message; False: there is no connection."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return True

    def close(self) -> None:
        """Close the connection; what was written is still sent."""
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._framer = StreamFramer()
        self._transport = cast(asyncio.Transport, transport)
        self._up()

    def data_received(self, data: bytes) -> None:
        with contextlib.suppress(MalformedMessage):
            for piece in self._framer.feed(data):
                if piece not in (PONG, KEEPALIVE):
                    self._received(piece)
        if self._framer.fault is not None:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        self._down()

    async def _connect(self) -> None:
        name = self._host if self._tls is not None else None
        await asyncio.get_running_loop().create_connection(
            lambda: self, self._host, self._port, ssl=self._tls, server_hostname=name
        )
