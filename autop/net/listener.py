"""`AutopListener`: the HTTPS (or, where an operator allows it, HTTP) server that devices fetch from. GET and HEAD, no content.

Connections are accepted, and brought through TLS, by the node: it calls `connect` for each. What may be had is known only to
`Configurations`; what a client can learn is a status, and for everything that is not a proven device's own file that is one 404
with the same bytes at the same time.
"""

import asyncio
from collections.abc import Callable

from autop.net.connection import Connection
from autop.net.download import Downloads
from autop.net.image import UpgradeEar
from autop.net.known_files import KnownFiles
from autop.net.limits import ListenerLimits
from autop.net.ports import FetchSink, FileSource, Seat
from autop.net.responder import Service
from autop.observer import AutopObserver
from registry.mac import MacAddress


class AutopListener:
    """Serves the connections it is given; `stop` once, after the last `connect`."""

    def __init__(
        self,
        *,
        configurations: FileSource,
        observer: AutopObserver,
        clock_wall: Callable[[], float],
        limits: ListenerLimits | None = None,
        ear: UpgradeEar | None = None,
        fetches: FetchSink | None = None,
        known: KnownFiles | None = None,
        served_known: Callable[[MacAddress, str], None] | None = None,
    ) -> None:
        """`clock_wall` gives the seconds since the epoch for Date and `fetched`; `ear` is told what devices say of firmware.
        `fetches` None: no history. `known` must be told of every change; None: every request is looked up anew;
        `served_known(mac, peer)` hears of each answer from there, which `configurations` does not."""
        self._limits = limits or ListenerLimits()
        self._downloads = Downloads(self._limits, lambda: len(self._connections))
        self._service = Service(
            configurations, observer, clock_wall, self._limits, self._downloads, ear, fetches, known, served_known
        )
        self._connections: set[Connection] = set()
        self._proven: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        """How many clients are connected (past their handshake)."""
        return len(self._connections)

    @property
    def firmware_sent(self) -> int:
        """Bytes of firmware that went out."""
        return self._downloads.sent

    def connect(self, seat: Seat) -> Connection:
        """The protocol of one accepted connection. It keeps the seat until it has got its own device's file, or is gone."""
        return Connection(self._service, seat, made=self._made, proven=self._got_its_own, lost=self._lost)

    async def stop(self, grace: float) -> None:
        """Answer what was asked, close. What is still open after `grace` seconds is dropped."""
        for connection in tuple(self._connections):
            connection.finish()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.abort()
            await self._empty.wait()

    def _made(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._empty.clear()

    def _got_its_own(self, connection: Connection) -> None:
        if len(self._proven) < self._limits.proven:
            self._proven.add(connection)
            connection.seat.release()

    def _lost(self, connection: Connection) -> None:
        connection.seat.release()
        self._proven.discard(connection)
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
