"""`Responder`: from a request to the bytes of its answer, a file or a refusal; firmware piece by piece."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

from autop.answer_plan import Plan, plan
from autop.http_messages import Request
from autop.identify import identify
from autop.net.answers import planned, refusal, unplanned
from autop.net.arrival import Arrival
from autop.net.configurations import File, Refused, SentAway
from autop.net.download import Downloads, pieces
from autop.net.http import Http
from autop.net.image import OpenImage, UpgradeEar
from autop.net.known_files import KnownFiles
from autop.net.limits import ListenerLimits
from autop.net.ports import FetchSink, FileSource
from autop.net.requests import presented, user_agent
from autop.observer import AutopObserver, Outcome, Reason
from registry.errors import RegistryError
from registry.mac import MacAddress

FIRMWARE_TYPE = b"application/octet-stream"


@dataclass(slots=True)
class Service:
    """What all connections of a listener share. `fetches` None: no history; `ear` None: no firmware; `known` None: every
    request is looked up anew; `served_known` is told of what `files` is not asked for."""

    files: FileSource
    observer: AutopObserver
    clock_wall: Callable[[], float]
    limits: ListenerLimits
    downloads: Downloads
    ear: UpgradeEar | None = None
    fetches: FetchSink | None = None
    known: KnownFiles | None = None
    served_known: Callable[[MacAddress, str], None] | None = None
    _date: tuple[int, bytes] = (-1, b"")

    def date(self) -> bytes:
        """The value of Date."""
        second = int(self.clock_wall())
        if second != self._date[0]:
            self._date = second, formatdate(second, usegmt=True).encode("ascii")
        return self._date[1]


class Wire(Protocol):
    """The connection that a responder writes to."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once it is lost."""
        ...

    async def drained(self) -> None:
        """Wait until the transport takes more."""
        ...

    def set_deadline(self, when: float) -> None: ...

    def is_proven(self) -> None:
        """The peer has got its own device's file."""
        ...


class Responder:
    """Answers the requests of one connection."""

    __slots__ = ("_arrival", "_http", "_peer", "_service", "_wire")

    def __init__(self, service: Service, http: Http, wire: Wire, peer: str, arrival: Arrival | None) -> None:
        self._service = service
        self._http = http
        self._wire = wire
        self._peer = peer
        self._arrival = arrival

    def answer_known(self, request: Request) -> bool:
        """Write the answer at once, if memory has it; else False."""
        service, transport = self._service, self._wire.transport
        file = service.known.get(request.target) if service.known is not None else None
        if file is None or transport is None:
            return False
        if service.served_known is not None:
            service.served_known(file.mac, self._peer)
        self._write(request, file, transport)
        return True

    async def answer(self, request: Request) -> bool:
        """Write the answer. False: it cannot be completed, the connection is to be cut."""
        loop, known = asyncio.get_running_loop(), self._service.known
        asked_at, changes = loop.time(), known.changes if known is not None else 0
        asked = identify(request.target)
        found = await self._service.files.find(asked, presented(asked, request, self._peer, self._wire.transport))
        if known is not None and isinstance(found, File):
            known.put(request.target, asked, found, changes)
        if isinstance(found, SentAway):
            if self._wire.transport is not None:
                self._wire.is_proven()
                self._send_away(request, found.seconds, self._wire.transport)
            return True
        if isinstance(found, Refused):
            # The same instant for every refusal: what the look-up cost must not show.
            limits = self._service.limits
            await asyncio.sleep(asked_at + (limits.late_seconds if found.is_late else limits.refusal_seconds) - loop.time())
        if isinstance(found, File | Refused):
            transport = self._wire.transport
            if transport is not None:
                self._write(request, found, transport)
            return True
        return await self._download(request, found)

    def _send_away(self, request: Request, seconds: int, transport: asyncio.Transport) -> None:
        self._service.observer.answered(Outcome.LIMITED, Reason.BUSY)
        response, body = refusal(503, self._service.date(), close=False, more=[(b"Retry-After", b"%d" % seconds)])
        transport.write(self._http.answer(response, b"" if request.method == b"HEAD" else body))

    def _write(self, request: Request, found: File | Refused, transport: asyncio.Transport) -> None:
        service = self._service
        if isinstance(found, Refused):
            asks = [(b"WWW-Authenticate", challenge) for challenge in found.challenges]
            response, body = refusal(401 if asks else 404, service.date(), close=False, more=asks)
            service.observer.answered(found.outcome, found.reason, self._peer)
            transport.write(self._http.answer(response, b"" if request.method == b"HEAD" else body))
            return
        wanted = plan(request.method, request.headers, found.etag, len(found.body))
        if not self._refused_by_plan(wanted, found.etag, transport):
            self._count(wanted)
            content = found.body[wanted.start : wanted.start + wanted.length] if wanted.with_body else b""
            transport.write(self._http.answer(planned(wanted, found.etag, found.content_type, service.date()), content))
        self._wire.is_proven()
        has_it = wanted.status == 304 or (wanted.length == len(found.body) and wanted.with_body)
        if (found.is_configuration or found.is_authority) and has_it and request.method != b"HEAD":
            if found.is_configuration:
                service.observer.fetched(found.mac, found.hash, self._peer, service.clock_wall())
            if found.live is not None and service.ear is not None:
                service.ear.configuration_fetched(found.mac, found.live, user_agent(request))
            if self._arrival is not None:
                self._arrival.answered(request, found, self._peer, transport, is_held=wanted.status == 304)

    def _refused_by_plan(self, wanted: Plan, etag: bytes, transport: asyncio.Transport) -> bool:
        if wanted.status not in (412, 416):
            return False
        self._service.observer.answered(Outcome.REFUSED, Reason.CONDITION)
        response, body = unplanned(wanted, etag, self._service.date())
        transport.write(self._http.answer(response, body if wanted.with_body else b""))
        return True

    def _count(self, wanted: Plan) -> None:
        self._service.observer.answered(Outcome.NOT_MODIFIED if wanted.status == 304 else Outcome.SERVED, Reason.NONE)

    async def _download(self, request: Request, image: OpenImage) -> bool:
        """Answer with firmware, piece by piece."""
        service, entered = self._service, False
        try:
            transport = self._wire.transport
            if transport is None:
                return False
            self._wire.is_proven()
            wanted = plan(request.method, request.headers, image.etag, image.size)
            if self._refused_by_plan(wanted, image.etag, transport):
                return True
            if wanted.with_body:
                entered = service.downloads.enter(image.mac)
                if not entered:
                    self._send_away(request, service.downloads.retry_after(image.mac), transport)
                    return True
                if not await image.begin():
                    self._write(request, Refused(Outcome.LIMITED, Reason.NO_SUCH_FILE), transport)
                    return True
            self._count(wanted)
            return await self._stream(image, wanted)
        except (OSError, RegistryError):
            service.observer.answered(Outcome.ERROR, Reason.UNAVAILABLE)
            return False
        finally:
            if entered:
                service.downloads.leave(image.mac)
            image.close()

    async def _stream(self, image: OpenImage, wanted: Plan) -> bool:
        limits, loop = self._service.limits, asyncio.get_running_loop()
        last = loop.time() + limits.download_seconds
        head = self._http.begin(planned(wanted, image.etag, FIRMWARE_TYPE, self._service.date()))
        transport = self._wire.transport
        if transport is None:
            return False
        transport.write(head)
        if wanted.with_body:
            async for content in pieces(image, wanted, limits.download_piece):
                if self._wire.transport is None:
                    return False
                self._wire.set_deadline(min(last, loop.time() + limits.request_seconds))
                transport.write(self._http.piece(content))
                self._service.downloads.sent += len(content)
                await self._wire.drained()
        transport.write(self._http.end())
        return True
