"""`AutopListener`: the HTTPS (or, where an operator allows it, HTTP) server that devices fetch from. GET and HEAD, no content.

One of these per address. It knows who may have what only through `Configurations`; what a client can learn is a status, and
for everything that is not a proven device's own file that is one 404 with the same bytes at the same time.
"""

import asyncio
import ssl
from collections.abc import Callable

from autop.net.accept import Acceptor
from autop.net.connection import Connection, FileSource
from autop.net.limits import ListenerLimits
from autop.observer import AutopObserver


class AutopListener:
    """Start once, stop once."""

    def __init__(
        self,
        *,
        configurations: FileSource,
        ssl_context: ssl.SSLContext | None,
        observer: AutopObserver,
        clock_wall: Callable[[], float],
        limits: ListenerLimits | None = None,
    ) -> None:
        """`ssl_context` None makes it plain HTTP. `clock_wall` gives the seconds since the epoch for Date and `fetched`."""
        self._configurations = configurations
        self._observer = observer
        self._clock_wall = clock_wall
        self._limits = limits or ListenerLimits()
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._acceptor = Acceptor(
            protocol_factory=self._connection,
            ssl_context=ssl_context,
            limits=self._limits,
            dropped=observer.answered,
        )

    @property
    def connections(self) -> int:
        """How many clients are connected (past their handshake)."""
        return len(self._connections)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen on an address literal; port 0 picks a free one. Returns what was bound. Raises OSError if it is taken."""
        return await self._acceptor.start(host, port)

    async def stop(self, grace: float) -> None:
        """Stop listening, answer what was asked, close. What is still open after `grace` seconds is dropped."""
        await self._acceptor.stop()
        for connection in tuple(self._connections):
            connection.finish()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.abort()
            await self._empty.wait()

    def _connection(self) -> Connection:
        return Connection(
            files=self._configurations,
            observer=self._observer,
            clock_wall=self._clock_wall,
            limits=self._limits,
            made=self._made,
            lost=self._lost,
        )

    def _made(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._empty.clear()

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
        self._acceptor.left()
