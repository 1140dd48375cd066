"""A device's small HTTP server: one request after the other per connection, bodies streamed, deadlines, keep-alive.

`EasyHttpServer` is what such devices call themselves. Only the device's own loopback and its channel reach it.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11

IDLE_SECONDS = 60.0
HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
"""Between two pieces of a body."""
MAX_FORM = 64 * 1024
_CHUNK = 64 * 1024

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as pages see it. The body is read by whoever wants it; what is left of it is skipped."""

    method: str
    path: str
    headers: dict[str, str]
    body: AsyncIterator[bytes] = field(repr=False)
    query: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """What the client calls this device, for absolute links."""
        return self.headers.get("host", "")

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name; none if the header is not one."""
        try:
            return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("cookie", "")).items()}
        except CookieError:
            return {}

    async def form(self) -> dict[str, str]:
        """A urlencoded body as a dict. Raises ValueError above MAX_FORM bytes or for bytes that are no text."""
        return dict(parse_qsl((await self._small_body()).decode(), keep_blank_values=True, max_num_fields=50))

    async def json(self) -> Any:
        """A JSON body. Raises ValueError for anything else, or above MAX_FORM bytes."""
        return json.loads(await self._small_body())

    async def _small_body(self) -> bytes:
        kept = bytearray()
        async for piece in self.body:
            kept += piece
            if len(kept) > MAX_FORM:
                raise ValueError("a form of more than 64 KiB")
        return bytes(kept)


@dataclass(frozen=True, slots=True)
class Response:
    """What a page answers. `chunked` sends it without a length, as devices do for what they make up on the way; `stream` follows
    the body for as long as the client stays."""

    status: int
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: Sequence[Header] = ()
    chunked: bool = False
    stream: AsyncIterator[bytes] | None = None


Answering = Callable[[Request], Awaitable[Response]]


class WebServer:
    """Serves `answer(request)` on a loopback port, over TLS if there is a context. `name` is what it calls itself."""

    def __init__(self, answer: Answering, *, tls: ssl.SSLContext | None = None, name: str = "EasyHttpServer") -> None:
        self._answer = answer
        self._tls = tls
        self._name = name
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 picks a free one. Returns what was bound."""
        self._server = await asyncio.start_server(self._connected, host, port, ssl=self._tls)
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(_Wire(reader, writer, self._name))
        except (OSError, TimeoutError, h11.ProtocolError):
            pass  # the client went away, was too slow, or spoke no HTTP: nobody is left to tell
        except asyncio.CancelledError:
            pass  # by `stop`; the streams' own callback would report a cancelled task as an error
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await writer.wait_closed()

    async def _serve(self, wire: "_Wire") -> None:
        while (request := await wire.request()) is not None:
            response = await self._answer(request)
            async for _ in request.body:
                pass
            await wire.respond(response, head_only=request.method == "HEAD")
            if not wire.again():
                return


class _Wire:
    """h11 over a pair of streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self._reader = reader
        self._writer = writer
        self._name = name
        self._http = h11.Connection(h11.SERVER)

    async def request(self) -> Request | None:
        """The next request; None when the client is done."""
        async with asyncio.timeout(IDLE_SECONDS):
            event = await self._next()
        if not isinstance(event, h11.Request):
            return None
        headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}; {text}" if key in headers else text
        target = urlsplit(event.target.decode("latin-1"))
        return Request(event.method.decode("latin-1"), target.path, headers, self._body(), dict(parse_qsl(target.query)))

    async def _body(self) -> AsyncIterator[bytes]:
        if self._http.they_are_waiting_for_100_continue:
            self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        while True:
            async with asyncio.timeout(BODY_SECONDS):
                event = await self._next()
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_CHUNK))
        return event

    async def respond(self, response: Response, *, head_only: bool) -> None:
        headers: list[Header] = [("Server", self._name), ("Content-Type", response.content_type), *response.headers]
        unending = response.chunked or response.stream is not None
        headers.append(("Transfer-Encoding", "chunked") if unending else ("Content-Length", str(len(response.body))))
        out = self._http.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if not head_only and response.body:
            out += self._http.send(h11.Data(data=response.body)) or b""
        if response.stream is not None and not head_only:
            async for piece in response.stream:
                self._writer.write(out + (self._http.send(h11.Data(data=piece)) or b""))
                out = b""
                async with asyncio.timeout(BODY_SECONDS):
                    await self._writer.drain()
        self._writer.write(out + (self._http.send(h11.EndOfMessage()) or b""))
        async with asyncio.timeout(BODY_SECONDS):
            await self._writer.drain()

    def again(self) -> bool:
        """Whether the connection stays for another request."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True
