"""`Exchange`: one visitor connection joined to one device connection: requests down, answers up, never a whole body held.

h11 on both sides keeps framing honest: what the device gets is written anew from what was parsed, so nothing can be smuggled.
Both directions of one request run at once, as a device may answer (413, 401) before it has read the upload.
"""

import asyncio
from collections.abc import Callable

import h11

from tunnel import http_rewrite
from tunnel.errors import Code, StreamClosed, TunnelError
from tunnel.html_links import HtmlLinks
from tunnel.http_rewrite import LeavesDevice, Origins
from tunnel.net.pipe import StreamPipe

CHUNK = 65_536
HEAD_BYTES = 32_768
"""Longest request or response head."""
UPLOAD_STALL = 30.0
"""Seconds a visitor's upload may stand still."""
DEVICE_STALL = 120.0
"""Seconds a device may take nothing of an upload: it may erase its flash meanwhile."""


class VisitorGone(TunnelError):
    """The browser went away in the middle; nobody is left to tell."""


class VisitorAtFault(TunnelError):
    """The visitor's bytes are no HTTP, or stalled."""


class DeviceAtFault(TunnelError):
    """The device hung up, stopped reading, sent no HTTP, or redirects away (`left`, and its `status`)."""

    def __init__(self, left: LeavesDevice | None = None, status: int = 0) -> None:
        super().__init__("the device's answer cannot be passed on")
        self.left = left
        self.status = status


class DeviceStalled(DeviceAtFault):
    """The device takes no more of an upload, and does not hang up either."""


class Visitor:
    """A visitor's connection: socket streams and h11's server side."""

    __slots__ = ("http", "reader", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)

    async def receive(self) -> None:
        """Feed h11 with what the visitor sends next, end of connection included."""
        try:
            self.http.receive_data(await self.reader.read(CHUNK))
        except (OSError, RuntimeError):  # RuntimeError: h11, bytes after the end
            raise VisitorGone("connection lost") from None

    def next_event(self) -> object:
        """h11's next event. Raises VisitorAtFault for what is no HTTP."""
        try:
            return self.http.next_event()
        except h11.RemoteProtocolError:
            raise VisitorAtFault("malformed request") from None

    async def send(self, event: h11.Event) -> int:
        """Send a part of the answer; waits while the visitor does not read. Returns the bytes written."""
        data = self.http.send(event)
        if data:
            try:
                self.writer.write(data)
                await self.writer.drain()
            except OSError:
                raise VisitorGone("connection lost") from None
        return len(data or b"")


class Exchange:
    """One device connection in the service of one visitor connection. `moved(to_device, to_visitor)` counts bytes.

    `service` is the device's service at its other end.
    """

    def __init__(
        self, visitor: Visitor, pipe: StreamPipe, service: str, origins: Origins, moved: Callable[[int, int], None]
    ) -> None:
        self.service = service
        self._visitor = visitor
        self._pipe = pipe
        self._origins = origins
        self._moved = moved
        self._device = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self._started = False
        self._heard = False
        self._served = 0
        self._links: HtmlLinks | None = None
        """The links of the page that is on its way."""
        self._head_only = False

    @property
    def started(self) -> bool:
        """Whether the answer's head went to the visitor: then an error can only cut the connection."""
        return self._started

    @property
    def may_be_repeated(self) -> bool:
        """Whether a kept connection turned out dead: the device closed it before it saw the request.

        A browser whose kept connection is closed without an answer repeats the request by itself where that is safe
        (RFC 9110 section 9.2.2).
        """
        return self._served > 0 and not self._heard

    def close(self) -> None:
        """The device connection is of no more use."""
        self._pipe.reset(Code.CANCELLED)

    async def device_closed(self) -> None:
        """Return when the device hangs up, or speaks out of turn, between requests. May be cancelled."""
        try:
            await self._pipe.read()
        except StreamClosed:
            return

    async def run(self, request: h11.Request) -> bool:
        """Pass one request and its answer. True if both connections are good for another one.

        Raises VisitorGone, VisitorAtFault, DeviceAtFault; then both connections are to be closed.
        """
        self._started = self._heard = False
        self._links, self._head_only = None, request.method == b"HEAD"
        await self._to_device(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=http_rewrite.to_device(request.headers.raw_items(), self._origins),
            )
        )
        upload = asyncio.create_task(self._upload(http_rewrite.is_websocket(request.headers.raw_items())))
        answer = asyncio.create_task(self._answer())
        try:
            await asyncio.wait((upload, answer), return_when=asyncio.FIRST_COMPLETED)
            if upload.done() and not answer.done():
                upload.result()  # raises what went wrong on the visitor's side
            switched = await answer
        finally:
            for task in (upload, answer):
                task.cancel()
            await asyncio.gather(upload, answer, return_exceptions=True)
        if switched:
            await self._splice()
            return False
        return self._next_cycle()

    # ---- towards the device ---------------------------------------------------------------------------------

    async def _to_device(self, event: h11.Event) -> None:
        try:
            data = self._device.send(event)
        except h11.LocalProtocolError:
            raise VisitorAtFault("a request that cannot be passed on") from None
        if data:
            try:
                async with asyncio.timeout(DEVICE_STALL):
                    await self._pipe.write(data)
            except TimeoutError:
                raise DeviceStalled from None
            except StreamClosed:
                raise DeviceAtFault from None
            self._moved(len(data), 0)

    async def _upload(self, may_switch: bool) -> None:
        """The request's body; then watch for the visitor's going away. Returns only when watching makes no sense."""
        while True:
            event = self._visitor.next_event()
            if event is h11.NEED_DATA:
                await self._body_bytes()
            elif isinstance(event, h11.Data):
                try:
                    await self._to_device(event)
                except DeviceStalled:
                    raise
                except DeviceAtFault:
                    await asyncio.Event().wait()  # the device refuses the body: its answer decides
            elif isinstance(event, h11.EndOfMessage):
                await self._to_device(h11.EndOfMessage())
                break
            else:
                raise VisitorAtFault("the request broke off")
        if may_switch:
            await asyncio.Event().wait()  # bytes that come now belong to the new protocol
        while not self._visitor.http.trailing_data[0]:
            await self._visitor.receive()
            if self._visitor.http.trailing_data[1]:
                raise VisitorGone("connection closed")
        await asyncio.Event().wait()  # a pipelined request waits for its turn

    async def _body_bytes(self) -> None:
        try:
            async with asyncio.timeout(UPLOAD_STALL):
                await self._visitor.receive()
        except TimeoutError:
            raise VisitorAtFault("the upload stands still") from None

    # ---- towards the visitor --------------------------------------------------------------------------------

    async def _answer(self) -> bool:
        """The device's answer. True if both ends switched protocols."""
        while True:
            event = await self._device_event()
            if isinstance(event, h11.InformationalResponse):
                if await self._informational(event):
                    return True
            elif isinstance(event, h11.Response):
                await self._head(event)
            elif isinstance(event, h11.Data):
                await self._body(event.data if self._links is None else self._links.feed(bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                if self._links is not None:
                    await self._body(self._links.finish())
                await self._visitor.send(h11.EndOfMessage())
                return False
            else:
                raise DeviceAtFault

    async def _body(self, data: bytes) -> None:
        if data:
            self._moved(0, await self._visitor.send(h11.Data(data=data)))

    async def _device_event(self) -> object:
        while True:
            try:
                event = self._device.next_event()
                if event is not h11.NEED_DATA:
                    return event
                data = await self._pipe.read()
                self._heard = self._heard or bool(data)
                self._device.receive_data(data)
            except (h11.RemoteProtocolError, StreamClosed):
                raise DeviceAtFault from None

    async def _informational(self, event: h11.InformationalResponse) -> bool:
        if event.status_code == 101:
            headers = http_rewrite.to_visitor(event.headers.raw_items(), self._origins)
            assert not isinstance(headers, LeavesDevice)
            kept = [(name, value) for name, value in headers if name.lower().startswith(b"sec-websocket-")]
            switch = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
            self._started = True
            await self._visitor.send(h11.InformationalResponse(status_code=101, headers=switch + kept, reason=event.reason))
            return True
        if event.status_code == 100 and self._visitor.http.they_are_waiting_for_100_continue:
            await self._visitor.send(h11.InformationalResponse(status_code=100, headers=[], reason=event.reason))
        return False

    async def _head(self, event: h11.Response) -> None:
        headers = http_rewrite.to_visitor(event.headers.raw_items(), self._origins)
        if isinstance(headers, LeavesDevice):
            raise DeviceAtFault(headers, event.status_code)
        if http_rewrite.holds_links(event.status_code, headers):
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
            self._links = None if self._head_only else HtmlLinks(self._origins)
        if self._device.their_state is h11.MUST_CLOSE or event.http_version < b"1.1" or _says_close(event):
            headers.append((b"Connection", b"close"))
        self._started = True
        try:
            size = await self._visitor.send(h11.Response(status_code=event.status_code, headers=headers, reason=event.reason))
        except h11.LocalProtocolError:
            raise DeviceAtFault from None
        self._moved(0, size)

    # ---- afterwards -----------------------------------------------------------------------------------------

    def _next_cycle(self) -> bool:
        both = (self._visitor.http, self._device)
        if any(http.our_state is not h11.DONE or http.their_state is not h11.DONE for http in both):
            return False
        for http in both:
            http.start_next_cycle()
        self._served += 1
        return True

    async def _splice(self) -> None:
        """After 101: bytes, until either side ends."""
        early = self._visitor.http.trailing_data[0]
        down = asyncio.create_task(self._visitor_to_device(early))
        up = asyncio.create_task(self._device_to_visitor(self._device.trailing_data[0]))
        try:
            await asyncio.wait((down, up), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (down, up):
                task.cancel()
            await asyncio.gather(down, up, return_exceptions=True)

    async def _visitor_to_device(self, data: bytes) -> None:
        if data:
            await self._pipe.write(data)
        while data := await self._visitor.reader.read(CHUNK):
            await self._pipe.write(data)
            self._moved(len(data), 0)

    async def _device_to_visitor(self, data: bytes) -> None:
        writer = self._visitor.writer
        while True:
            if data:
                writer.write(data)
                await writer.drain()
                self._moved(0, len(data))
            data = await self._pipe.read()
            if not data:
                return


def _says_close(event: h11.Response) -> bool:
    return any(
        name == b"connection" and b"close" in [token.strip().lower() for token in value.split(b",")]
        for name, value in event.headers
    )
