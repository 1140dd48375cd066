"""`VisitorListener`: Remote Control: browsers over HTTPS, each session at an origin of its own; port forwards beside them.

Connections are accepted, and brought through TLS, by the node: it calls `connect` for each.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from registry.errors import RegistryError
from registry.mac import MacAddress
from registry.records import Device, RemoteSession
from registry.store import Store
from tunnel.net.exchange import CHUNK, Visitor, VisitorGone
from tunnel.net.forward_connection import FORWARD_ALPN, ForwardConnection
from tunnel.net.pins import Pins
from tunnel.net.ports import Reached, Seat, VisitorObserver
from tunnel.net.sessions import LiveSessions
from tunnel.net.visitor_connection import VisitorConnection, VisitorDeadlines, VisitorSite
from tunnel.session_origins import SessionOrigins

ALPN = ("http/1.1", FORWARD_ALPN)
"""What the listener's TLS offers."""


class VisitorListener:
    """Serves the sessions of `tunnel.session_origins`, for which the node needs a certificate for *.<domain>, or for <host>.

    `links(mac)` gives a way to the device or None. `wall()` reads the wall clock. `domain`, `host`, `ports` and `public_port` as
    `SessionOrigins` has them.
    """

    def __init__(
        self,
        *,
        store: Store,
        links: Callable[[MacAddress], Reached | None],
        observer: VisitorObserver,
        entropy: Callable[[int], bytes],
        wall: Callable[[], float],
        domain: str = "remote.localhost",
        host: str = "localhost",
        ports: Sequence[int] = (),
        public_port: int | None = None,
        deadlines: VisitorDeadlines | None = None,
    ) -> None:
        self._store = store
        self._deadlines = deadlines or VisitorDeadlines()
        self.origins = SessionOrigins(domain=domain, host=host, ports=ports, public_port=public_port)
        self._sessions = LiveSessions(store=store, observer=observer, entropy=entropy, wall=wall)
        self._site = VisitorSite(
            sessions=self._sessions,
            origins=self.origins,
            links=links,
            pins=Pins(store=store, observer=observer, wall=wall),
            observer=observer,
            deadlines=self._deadlines,
            device_name=self._device_name,
        )
        self._serving: set[asyncio.Task[None]] = set()

    def link_url(self, session: RemoteSession, link_path: str) -> str:
        """The one-time link of a session made by `tunnel.session.new_session`."""
        return self.origins.of(session) + link_path

    @property
    def live_sessions(self) -> int:
        """Sessions this node serves right now."""
        return len(self._sessions)

    async def start(self) -> None:
        """Take up the sessions that are stored. Before the first `connect`. Raises StoreUnavailable."""
        await self._sessions.start()

    def listening(self, port: int) -> None:
        """Connections are accepted at this port."""
        self.origins.listening(port)

    def connect(self, seat: Seat) -> asyncio.StreamReaderProtocol:
        """The protocol of one accepted connection. It keeps the seat until a request of a session came, or it is gone."""

        def made(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(reader, writer, seat))
            self._serving.add(task)

            def done(task: asyncio.Task[None]) -> None:
                # Here and not in the task: one that is cancelled before its first step runs none of its own lines.
                self._serving.discard(task)
                seat.release()
                if task.cancelled():
                    writer.transport.abort()

            task.add_done_callback(done)

        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=CHUNK), made)

    async def stop(self, grace: float) -> None:
        """Take nothing more, let answers end for `grace` seconds, then cut. Sessions stay valid for the next start."""
        if self._site.stopping:
            return
        self._site.stop()
        if self._serving:
            await asyncio.wait(self._serving, timeout=grace)
        await self._sessions.stop()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
        transport = writer.transport
        transport.set_write_buffer_limits(high=CHUNK)
        try:
            if writer.get_extra_info("ssl_object").selected_alpn_protocol() == FORWARD_ALPN:
                await ForwardConnection(self._site, reader, writer, seat).run()
            else:
                await VisitorConnection(self._site, Visitor(reader, writer), seat).run()
        except VisitorGone:
            pass
        except asyncio.CancelledError:
            transport.abort()  # revoked, expired or stopping: nothing more gets through
            raise
        finally:
            writer.close()
            asyncio.get_running_loop().call_later(self._deadlines.farewell, transport.abort)

    async def _device_name(self, mac: MacAddress) -> str:
        with contextlib.suppress(RegistryError):
            if (stored := await self._store.get(Device, mac.text)) is not None:
                return f"{stored.record.name} ({mac.colons})"
        return mac.colons
