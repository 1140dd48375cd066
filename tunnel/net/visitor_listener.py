"""`VisitorListener`: Remote Control in a browser: HTTPS, one origin per session, each request checked before a device sees it.

Connections are accepted, and brought through TLS, by the node: it calls `connect` for each.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import h11

from registry.errors import RegistryError
from registry.mac import MacAddress
from registry.records import Device
from registry.store import Store
from tunnel import http_rewrite, pages
from tunnel.errors import LinkDown, SessionRefused, StreamClosed
from tunnel.http_rewrite import COOKIE, Origins
from tunnel.net.device_link import DeviceLink
from tunnel.net.exchange import CHUNK, DeviceAtFault, Exchange, Visitor, VisitorAtFault, VisitorGone
from tunnel.net.ports import Seat, VisitorObserver
from tunnel.net.sessions import CONNECTIONS, LiveSession, LiveSessions
from tunnel.session import OPEN_PATH, is_session_id

OWN_PATHS = b"/.portico/"
"""Paths of a session's origin that are the gateway's own and never reach a device."""
SERVICE = "web"
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class VisitorDeadlines:
    """Seconds: for a request's head once it began, between requests on one connection, for the farewell of a connection."""

    head: float = 10.0
    keep_alive: float = 60.0
    farewell: float = 5.0


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer of the gateway's own; the connection closes after it."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class VisitorListener:
    """Serves https://<session id>.<domain>:<public port>/, for which the node needs a certificate for *.<domain>.

    `links(mac)` gives the device's link or None. `wall()` reads the wall clock. `public_port` is the one in links, if a proxy or
    a port mapping makes it another than the bound one.
    """

    def __init__(
        self,
        *,
        store: Store,
        links: Callable[[MacAddress], DeviceLink | None],
        observer: VisitorObserver,
        entropy: Callable[[int], bytes],
        wall: Callable[[], float],
        domain: str = "remote.localhost",
        public_port: int | None = None,
        deadlines: VisitorDeadlines | None = None,
    ) -> None:
        self._store = store
        self._links = links
        self._observer = observer
        self._domain = domain.lower()
        self._public_port = public_port
        self._deadlines = deadlines or VisitorDeadlines()
        self._sessions = LiveSessions(store=store, observer=observer, entropy=entropy, wall=wall)
        self._stopping = False
        self._serving: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        """Reads of connections that stand between two requests."""

    def origin(self, session_id: str) -> str:
        """The session's origin, for example https://<id>.remote.localhost:9443. Only after `listening`, or with `public_port`."""
        if self._public_port is None:
            raise RuntimeError("the listener has no port yet")
        port = "" if self._public_port == 443 else f":{self._public_port}"
        return f"https://{session_id}.{self._domain}{port}"

    def link_url(self, session_id: str, link_path: str) -> str:
        """The one-time link of a session made by `tunnel.session.create_session`."""
        return self.origin(session_id) + link_path

    @property
    def live_sessions(self) -> int:
        """Sessions this node serves right now."""
        return len(self._sessions)

    async def start(self) -> None:
        """Take up the sessions that are stored. Before the first `connect`. Raises StoreUnavailable."""
        await self._sessions.start()

    def listening(self, port: int) -> None:
        """Connections are accepted at this port."""
        if self._public_port is None:
            self._public_port = port

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
        if self._stopping:
            return
        self._stopping = True
        for reading in list(self._waiting):
            reading.cancel()
        if self._serving:
            await asyncio.wait(self._serving, timeout=grace)
        await self._sessions.stop()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    # ---- one connection -------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
        transport = writer.transport
        transport.set_write_buffer_limits(high=CHUNK)
        connection = _Connection(self, Visitor(reader, writer), seat)
        try:
            await connection.run()
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

    def _session_id(self, host: bytes) -> str | None:
        """The session a Host header names, None if it names none."""
        if not host.isascii():
            return None
        name, colon, port = host.decode("ascii").lower().partition(":")
        label, dot, domain = name.partition(".")
        if not dot or domain != self._domain or (colon and not _PORT.fullmatch(port)) or not is_session_id(label):
            return None
        return label


class _Connection:
    """One visitor connection: request after request, all of one session, over one device connection."""

    def __init__(self, listener: VisitorListener, visitor: Visitor, seat: Seat) -> None:
        self._listener = listener
        self._visitor = visitor
        self._seat = seat
        self._live: LiveSession | None = None
        self._exchange: Exchange | None = None

    async def run(self) -> None:
        try:
            while (request := await self._next_request()) is not None:
                reply = await self._answer(request)
                if reply is not None:
                    await self._say(request, reply)
                if self._exchange is None or reply is not None:
                    await self._linger()
                    return
        finally:
            if self._exchange is not None:
                self._exchange.close()
            task = asyncio.current_task()
            if self._live is not None and task is not None:
                self._live.tasks.discard(task)

    async def _next_request(self) -> h11.Request | None:
        """The next request's head; None if the connection is over."""
        visitor, deadlines = self._visitor, self._listener._deadlines
        try:
            event = visitor.next_event()
            if event is h11.NEED_DATA and self._exchange is not None and not await self._idle(self._exchange):
                return None
            async with asyncio.timeout(deadlines.head):
                while event is h11.NEED_DATA:
                    event = visitor.next_event()
                    if event is h11.NEED_DATA:
                        await visitor.receive()
        except TimeoutError:
            self._refused("head-timeout")
            return None
        except VisitorAtFault:
            self._refused("bad-request")
            if visitor.http.our_state is h11.SEND_RESPONSE or visitor.http.our_state is h11.IDLE:
                await self._say(None, _Reply(400, pages.BAD_REQUEST))
            return None
        return event if isinstance(event, h11.Request) else None

    async def _linger(self) -> None:
        """Take what an upload still sends for a moment: closing on unread bytes would destroy the answer on its way."""
        if self._visitor.http.their_state is not h11.SEND_BODY:
            return
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._listener._deadlines.farewell):
                while await self._visitor.reader.read(CHUNK):
                    pass

    async def _idle(self, exchange: Exchange) -> bool:
        """Wait between requests. False if the device or the visitor hung up, nothing came, or the listener stops."""
        if self._listener._stopping:
            return False
        came = asyncio.create_task(self._visitor.receive())
        device = asyncio.create_task(exchange.device_closed())
        self._listener._waiting.add(came)
        try:
            done, _ = await asyncio.wait(
                (came, device), timeout=self._listener._deadlines.keep_alive, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._listener._waiting.discard(came)
            for task in (came, device):
                task.cancel()
            await asyncio.gather(came, device, return_exceptions=True)
        return came in done and not came.cancelled() and device not in done

    async def _answer(self, request: h11.Request) -> _Reply | None:
        """Check a request and pass it on. None if it was answered by the device; else the gateway's own answer."""
        headers = request.headers.raw_items()
        fault = http_rewrite.request_fault(request.method, request.target, headers)
        if fault is not None:
            self._refused(fault)
            return _Reply(400, pages.BAD_REQUEST)
        host = next(value for name, value in request.headers if name == b"host")
        session_id = self._listener._session_id(host)
        try:
            if session_id is None:
                raise SessionRefused("no such host")
            if request.target.startswith(OWN_PATHS):
                return await self._open(request, session_id)
            live = await self._admit(request, session_id)
        except SessionRefused:
            self._refused("no-session")
            return _Reply(404, pages.NOT_FOUND)
        except RegistryError:
            self._refused("store")
            return _Reply(503, pages.NOT_FOUND)
        origin = self._listener.origin(session_id).encode("ascii")
        if http_rewrite.is_foreign(request.method, headers, origin):
            self._refused("cross-site")
            return _Reply(403, pages.CROSS_SITE)
        return await self._pass(request, live, origin)

    async def _open(self, request: h11.Request, session_id: str) -> _Reply:
        """`/.portico/open/<ticket>`: the only path of ours. The 303 takes the ticket out of the address bar."""
        target = request.target.decode("ascii", "replace")
        if request.method != b"GET" or not target.startswith(OPEN_PATH):
            raise SessionRefused("no such page")
        cookie = await self._listener._sessions.open(session_id, target[len(OPEN_PATH) :], self._seat.host)
        value = COOKIE + b"=" + cookie.encode("ascii") + b"; Path=/; Secure; HttpOnly; SameSite=Lax"
        return _Reply(303, b"", ((b"Location", b"/"), (b"Set-Cookie", value)))

    async def _admit(self, request: h11.Request, session_id: str) -> LiveSession:
        cookie = http_rewrite.cookie_of(request.headers.raw_items())
        live = await self._listener._sessions.admit(session_id, cookie)
        if self._live is None:
            self._live = live
        elif self._live is not live:
            raise SessionRefused("one connection, one session")
        self._seat.release()
        return live

    async def _pass(self, request: h11.Request, live: LiveSession, origin: bytes) -> _Reply | None:
        task = asyncio.current_task()
        assert task is not None
        if task not in live.tasks and len(live.tasks) >= CONNECTIONS:
            self._refused("too-many-connections")
            return _Reply(503, pages.TOO_MANY)
        live.tasks.add(task)
        live.usage.requests += 1
        live.usage.addresses.add(self._seat.host)
        self._listener._sessions.touch(live)
        try:
            if self._exchange is None:
                self._exchange = await self._connect(live, origin)
            if not await self._exchange.run(request):
                self._exchange.close()
                self._exchange = None
            return None
        except StreamClosed:
            self._refused("unreachable")
            return _Reply(502, pages.not_answering(await self._listener._device_name(live.record.mac)))
        except LinkDown:
            self._refused("offline")
            return _Reply(503, pages.offline(await self._listener._device_name(live.record.mac)), ((b"Retry-After", b"10"),))
        except VisitorAtFault:
            self._refused("bad-request")
            return self._unless_started(_Reply(400, pages.BAD_REQUEST))
        except DeviceAtFault as error:
            if self._exchange is not None and self._exchange.may_be_repeated:
                return self._unless_started(None)
            self._refused("device")
            name = await self._listener._device_name(live.record.mac)
            if error.left is None:
                return self._unless_started(_Reply(502, pages.not_answering(name)))
            return self._unless_started(_Reply(502, pages.leaves_device(name, error.left.target, error.left.wants_tls)))

    async def _connect(self, live: LiveSession, origin: bytes) -> Exchange:
        """A stream to the device's page. The target is a service id, looked up at the device's end; nothing a visitor
        or the API said gets into it."""
        link = self._listener._links(live.record.mac)
        if link is None:
            raise LinkDown("offline")
        pipe = link.open(SERVICE)
        try:
            authority = await pipe.opened()
        except asyncio.CancelledError:
            pipe.reset()
            raise

        def moved(to_device: int, to_visitor: int) -> None:
            live.usage.bytes_to_device += to_device
            live.usage.bytes_to_visitor += to_visitor
            self._listener._sessions.touch(live)

        return Exchange(self._visitor, pipe, Origins(origin, authority.encode("ascii") or b"localhost"), moved)

    def _unless_started(self, reply: _Reply | None) -> _Reply | None:
        """After the head of the device's answer went out there is nothing left to say: the connection is cut."""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return reply
        exchange.close()
        return None if exchange.started else reply

    async def _say(self, request: h11.Request | None, reply: _Reply) -> None:
        headers = [
            *(pages.HEADERS),
            *reply.headers,
            (b"Content-Length", str(len(reply.body)).encode("ascii")),
            (b"Connection", b"close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):  # an answer already begun cannot be begun again
            await self._visitor.send(h11.Response(status_code=reply.status, headers=headers))
            if reply.body and (request is None or request.method != b"HEAD"):
                await self._visitor.send(h11.Data(data=reply.body))
            await self._visitor.send(h11.EndOfMessage())

    def _refused(self, reason: str) -> None:
        self._listener._observer.visitor_refused(reason)
