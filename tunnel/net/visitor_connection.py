"""`VisitorConnection`: one connection of a browser: each request is checked before a device sees it, then passed on."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import h11

from registry.errors import RegistryError
from registry.mac import MacAddress
from tunnel import http_rewrite, pages
from tunnel.errors import Code, LinkDown, SessionRefused, StreamClosed
from tunnel.http_rewrite import COOKIE, TO_HTTP, TO_HTTPS, LeavesDevice, Origins
from tunnel.net.exchange import CHUNK, DeviceAtFault, Exchange, Visitor, VisitorAtFault
from tunnel.net.pins import CertificateChanged, Pins
from tunnel.net.pipe import StreamPipe
from tunnel.net.ports import Reached, Seat, VisitorObserver
from tunnel.net.sessions import CONNECTIONS, LiveSession, LiveSessions
from tunnel.session import MAX_PAGES, OPEN_PATH, WEB, WEB_TLS, page_of
from tunnel.session_origins import SessionOrigins

OWN_PATHS = b"/.portico/"
"""Paths of a session's origin that are the gateway's own and never reach a device."""
CLOSE_PATH = b"/.portico/close"
MAX_ADDRESSES = 32
"""Addresses of visitors that a session's audit names."""


@dataclass(frozen=True, slots=True)
class VisitorDeadlines:
    """Seconds: for a request's head once it began, between requests on one connection, for the farewell of a connection."""

    head: float = 10.0
    keep_alive: float = 60.0
    farewell: float = 5.0


@dataclass(slots=True)
class VisitorSite:
    """What all connections of visitors share."""

    sessions: LiveSessions
    origins: SessionOrigins
    links: Callable[[MacAddress], Reached | None]
    pins: Pins
    observer: VisitorObserver
    deadlines: VisitorDeadlines
    device_name: Callable[[MacAddress], Awaitable[str]]
    stopping: bool = False
    waiting: set["asyncio.Task[None]"] = field(default_factory=set)
    """Reads of connections that stand between two requests."""

    def stop(self) -> None:
        """Serve what runs, begin nothing more."""
        self.stopping = True
        for reading in list(self.waiting):
            reading.cancel()

    async def open(self, live: LiveSession, service: str) -> StreamPipe:
        """A stream to a service of the session's device. The target is an id, looked up at the device's end; nothing a visitor or
        the API said gets into it. Raises LinkDown, StreamClosed."""
        link = self.links(live.record.mac)
        if link is None:
            raise LinkDown("offline")
        pipe = link.open(service)
        try:
            await pipe.opened()
        except asyncio.CancelledError:
            pipe.reset()
            raise
        return pipe

    def moved(self, live: LiveSession, to_device: int, to_visitor: int) -> None:
        """Count bytes of a session; it is in use."""
        live.usage.bytes_to_device += to_device
        live.usage.bytes_to_visitor += to_visitor
        self.sessions.touch(live)

    def takes(self, live: LiveSession, host: str) -> bool:
        """Count the running task among the session's connections, made from `host`; False if there are too many."""
        task = asyncio.current_task()
        assert task is not None
        if task not in live.tasks and len(live.tasks) >= CONNECTIONS:
            return False
        live.tasks.add(task)
        live.usage.requests += 1
        if len(live.usage.addresses) < MAX_ADDRESSES:
            live.usage.addresses.add(host)
        self.sessions.touch(live)
        return True


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer of the gateway's own; the connection closes after it."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class VisitorConnection:
    """Request after request, all of one session, over one device connection."""

    def __init__(self, site: VisitorSite, visitor: Visitor, seat: Seat) -> None:
        self._site = site
        self._visitor = visitor
        self._seat = seat
        self._port = int(visitor.writer.get_extra_info("sockname")[1])
        self._live: LiveSession | None = None
        self._exchange: Exchange | None = None

    async def run(self) -> None:
        """Serve until either side has enough. Raises VisitorGone."""
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
        visitor = self._visitor
        try:
            event = visitor.next_event()
            if event is h11.NEED_DATA and self._exchange is not None and not await self._idle(self._exchange):
                return None
            async with asyncio.timeout(self._site.deadlines.head):
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
            async with asyncio.timeout(self._site.deadlines.farewell):
                while await self._visitor.reader.read(CHUNK):
                    pass

    async def _idle(self, exchange: Exchange) -> bool:
        """Wait between requests. False if the device or the visitor hung up, nothing came, or the listener stops."""
        if self._site.stopping:
            return False
        came = asyncio.create_task(self._visitor.receive())
        device = asyncio.create_task(exchange.device_closed())
        self._site.waiting.add(came)
        try:
            done, _ = await asyncio.wait(
                (came, device), timeout=self._site.deadlines.keep_alive, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._site.waiting.discard(came)
            for task in (came, device):
                task.cancel()
            await asyncio.gather(came, device, return_exceptions=True)
        return came in done and not came.cancelled() and device not in done

    # ---- who asks, and for what -----------------------------------------------------------------------------

    async def _answer(self, request: h11.Request) -> _Reply | None:
        """Check a request and pass it on. None if it was answered by the device; else the gateway's own answer."""
        headers = request.headers.raw_items()
        fault = http_rewrite.request_fault(request.method, request.target, headers)
        if fault is not None:
            self._refused(fault)
            return _Reply(400, pages.BAD_REQUEST)
        try:
            session_id, port = await self._named(next(value for name, value in request.headers if name == b"host"))
            if request.target.startswith(OPEN_PATH.encode()):
                return await self._open(request, session_id, port)
            live = await self._admit(request, session_id, port)
            origin = self._site.origins.of(live.record).encode("ascii")
            if http_rewrite.is_foreign(request.method, headers, origin):
                self._refused("cross-site")
                return _Reply(403, pages.CROSS_SITE)
            if request.target.startswith(OWN_PATHS):
                return await self._own(request, live, origin)
        except SessionRefused:
            self._refused("no-session")
            return _Reply(404, pages.NOT_FOUND)
        except RegistryError:
            self._refused("store")
            return _Reply(503, pages.NOT_FOUND)
        return await self._pass(request, live, origin)

    async def _named(self, host: bytes) -> tuple[str, int]:
        """The session that a request is for, and the port if it is that by which it is known. Raises SessionRefused."""
        label, port = self._site.origins.label(host), 0
        if label is None and self._site.origins.by_port(host, self._port):
            label, port = await self._site.sessions.at_port(self._port), self._port
        if label is None:
            raise SessionRefused("no such host")
        return label, port

    async def _open(self, request: h11.Request, session_id: str, port: int) -> _Reply:
        """`/.portico/open/<ticket>`. The 303 takes the ticket out of the address bar.

        Where sessions share a host, what the browser holds of an earlier one must not get to this one's device.
        """
        target = request.target.decode("ascii", "replace")
        if request.method != b"GET" or not http_rewrite.is_navigation(request.headers.raw_items()):
            raise SessionRefused("no such page")
        cookie = await self._site.sessions.open(session_id, target[len(OPEN_PATH) :], self._seat.host, port=port)
        value = COOKIE + b"=" + cookie.encode("ascii") + b"; Path=/; Secure; HttpOnly; SameSite=Lax"
        headers = [(b"Location", b"/"), (b"Set-Cookie", value)]
        if port:
            headers += [*http_rewrite.expired(request.headers.raw_items()), (b"Clear-Site-Data", b'"cache", "storage"')]
        return _Reply(303, b"", tuple(headers))

    async def _admit(self, request: h11.Request, session_id: str, port: int) -> LiveSession:
        cookie = http_rewrite.cookie_of(request.headers.raw_items())
        live = await self._site.sessions.admit(session_id, cookie, port=port)
        if self._live is None:
            self._live = live
        elif self._live is not live:
            raise SessionRefused("one connection, one session")
        self._seat.release()
        return live

    async def _own(self, request: h11.Request, live: LiveSession, origin: bytes) -> _Reply:
        """The session's own page, moves to the device's other scheme, and the end by the visitor."""
        if request.method == b"GET" and request.target == OWN_PATHS:
            return _Reply(200, pages.session(await self._site.device_name(live.record.mac)))
        for prefix, target in ((TO_HTTP, WEB), (TO_HTTPS, WEB_TLS)):
            if request.method in http_rewrite.SAFE_METHODS and request.target.startswith(prefix + b"/"):
                live.target = target
                return _Reply(302, b"", ((b"Location", origin + request.target[len(prefix) :]),))
        if request.method == b"POST" and request.target == CLOSE_PATH:
            task = asyncio.current_task()
            assert task is not None
            live.tasks.discard(task)
            await self._site.sessions.end(live, "logout")
            over = COOKIE + b"=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
            return _Reply(200, pages.CLOSED, ((b"Set-Cookie", over), (b"Clear-Site-Data", b'"cache", "storage"')))
        raise SessionRefused("no such page")

    # ---- to the device --------------------------------------------------------------------------------------

    async def _pass(self, request: h11.Request, live: LiveSession, origin: bytes) -> _Reply | None:
        if not self._site.takes(live, self._seat.host):
            self._refused("too-many-connections")
            return _Reply(503, pages.TOO_MANY)
        self._note(request, live)
        if self._exchange is not None and self._exchange.service != live.target:
            self._exchange.close()  # the device moved to its other scheme meanwhile
            self._exchange = None
        try:
            if self._exchange is None:
                self._exchange = await self._connect(live, origin)
            if not await self._exchange.run(request):
                self._exchange.close()
                self._exchange = None
            return None
        except StreamClosed as error:
            self._refused("unreachable")
            name = await self._site.device_name(live.record.mac)
            if live.target == WEB_TLS and error.code == Code.SERVICE_REFUSED:
                live.target = WEB
                return _Reply(502, pages.no_tls(name))
            return _Reply(502, pages.not_answering(name))
        except LinkDown:
            self._refused("offline")
            page = pages.offline(await self._site.device_name(live.record.mac))
            return _Reply(503, page, ((b"Retry-After", b"10"),))
        except CertificateChanged:
            self._refused("certificate")
            return _Reply(502, pages.other_certificate(await self._site.device_name(live.record.mac)))
        except RegistryError:
            self._refused("store")
            return _Reply(503, pages.NOT_FOUND)
        except VisitorAtFault:
            self._refused("bad-request")
            return self._unless_started(_Reply(400, pages.BAD_REQUEST))
        except DeviceAtFault as error:
            return await self._device_failed(live, error)

    async def _device_failed(self, live: LiveSession, error: DeviceAtFault) -> _Reply | None:
        if error.left is not None and error.left.own is not None:
            return self._unless_started(self._move(live, error.left.own, error.status))
        if self._exchange is not None and self._exchange.may_be_repeated:
            return self._unless_started(None)
        self._refused("device")
        name = await self._site.device_name(live.record.mac)
        if isinstance(error.left, LeavesDevice):
            return self._unless_started(_Reply(502, pages.leaves_device(name, error.left.target)))
        return self._unless_started(_Reply(502, pages.not_answering(name)))

    def _move(self, live: LiveSession, location: bytes, status: int) -> _Reply:
        """The device redirects to its other scheme: that moves the session's target, and the browser asks the same origin again.

        Never permanently: a browser that remembered `308 to itself` would go in circles.
        """
        live.target = WEB if live.target == WEB_TLS else WEB_TLS
        return _Reply(307 if status in (307, 308) else 302, b"", ((b"Location", location),))

    def _note(self, request: h11.Request, live: LiveSession) -> None:
        """Pages that were opened and what changed something go into the audit; images, scripts and polls do not."""
        kept = live.usage.pages
        changes = request.method not in http_rewrite.SAFE_METHODS
        if len(kept) < MAX_PAGES and (changes or http_rewrite.wants_page(request.headers.raw_items())):
            kept[page_of(request.method, request.target)] = None

    async def _connect(self, live: LiveSession, origin: bytes) -> Exchange:
        """A connection to the device's page. A device that serves HTTPS alone is met there.

        Raises LinkDown, StreamClosed, CertificateChanged, StoreUnavailable.
        """
        try:
            pipe = await self._site.open(live, live.target)
        except StreamClosed as error:
            if live.target != WEB or error.code not in (Code.SERVICE_REFUSED, Code.TARGET_UNREACHABLE):
                raise
            try:
                pipe = await self._site.open(live, WEB_TLS)
            except StreamClosed:
                raise error from None
            live.target = WEB_TLS
        tls = live.target == WEB_TLS
        if tls:
            try:
                if not pipe.spki:
                    raise StreamClosed(Code.PROTOCOL)  # an agent that does not say whom it met cannot be held to it
                await self._site.pins.check(live.record, pipe.spki)
            except BaseException:
                pipe.reset()
                raise
        device = pipe.authority.encode("ascii") or b"localhost"
        origins = Origins(origin, device, tls, shared_host=live.record.port != 0)

        def moved(to_device: int, to_visitor: int) -> None:
            self._site.moved(live, to_device, to_visitor)

        return Exchange(self._visitor, pipe, live.target, origins, moved)

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
        self._site.observer.visitor_refused(reason)
