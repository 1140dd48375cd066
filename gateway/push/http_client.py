"""A small HTTP/1.1 client for push services: h11 over asyncio's streams, TLS verified, connections kept and used again.

Deadlines are the caller's (cancelling a request closes its connection). Only configured addresses are ever asked.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

MAX_ANSWER = 65_536
"""The largest body of an answer, octets; also the bound of its head."""
MAX_IDLE = 16
"""Connections kept open for the next request."""
IDLE_SECONDS = 30.0
"""A connection that was silent longer is not used again: many servers close it about then."""


class HttpError(Exception):
    """No usable answer. `began`: whether some of one came, so that there is a server and it has read the request."""

    def __init__(self, what: str, *, began: bool) -> None:
        super().__init__(what)
        self.began = began


class HttpAnswer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes


class Endpoint(NamedTuple):
    """One URL, taken apart."""

    tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def endpoint(url: str) -> Endpoint:
    """Take an http or https URL apart. Raises ValueError for any other, and for one with credentials in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not url.isascii():
        raise ValueError("not an http or https URL without credentials")
    tls = parts.scheme == "https"
    return Endpoint(
        tls, parts.hostname, parts.port or (443 if tls else 80), (parts.path or "/") + (f"?{parts.query}" * bool(parts.query))
    )


class _Kept(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection
    since: float


class HttpClient:
    """POSTs to one server. `tls` verifies its certificate."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._idle: list[_Kept] = []

    async def post(self, to: Endpoint, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Send a request and read its answer. Raises HttpError.

        A kept connection may have been closed by the server meanwhile. Where it gave no octet of an answer, the request is sent
        once more on a new one: a push that arrives twice wakes an app that is awake.
        """
        kept = self._take()
        if kept is not None:
            try:
                return await self._exchange(kept, to, headers, body)
            except HttpError as error:
                if error.began:
                    raise
        try:
            reader, writer = await asyncio.open_connection(
                to.host, to.port, ssl=self._tls if to.tls else None, server_hostname=to.host if to.tls else None
            )
        except OSError as error:  # also ssl.SSLError
            raise HttpError(type(error).__name__, began=False) from None
        return await self._exchange(_Kept(reader, writer, h11.Connection(h11.CLIENT, MAX_ANSWER), 0.0), to, headers, body)

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().writer.close()

    def _take(self) -> _Kept | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            kept = self._idle.pop()
            if kept.since + IDLE_SECONDS > now and not kept.reader.at_eof() and not kept.writer.is_closing():
                return kept
            kept.writer.close()
        return None

    async def _exchange(self, on: _Kept, to: Endpoint, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        whole = False
        heard: list[int] = []
        try:
            answer = await self._ask(on, to, headers, body, heard)
            whole = True
        except (OSError, h11.ProtocolError) as error:
            raise HttpError(type(error).__name__, began=bool(heard)) from None
        finally:
            # A deadline that cancels this leaves a connection in the middle of an answer: it is of no more use.
            if not whole or not self._keep(on):
                on.writer.close()
        return answer

    async def _ask(self, on: _Kept, to: Endpoint, headers: Mapping[str, str], body: bytes, heard: list[int]) -> HttpAnswer:
        said = [("host", to.authority), ("content-length", str(len(body))), *headers.items()]
        for part in (h11.Request(method="POST", target=to.path, headers=said), h11.Data(body), h11.EndOfMessage()):
            on.writer.write(on.protocol.send(part) or b"")
        await on.writer.drain()
        status, content = 0, b""
        while True:
            event = on.protocol.next_event()
            if event is h11.NEED_DATA:
                data = await on.reader.read(MAX_ANSWER)
                heard += [1] * bool(data)
                on.protocol.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += bytes(event.data)
                if len(content) > MAX_ANSWER:
                    raise h11.RemoteProtocolError("answer too long")
            elif isinstance(event, h11.EndOfMessage):
                return HttpAnswer(status, content)
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("closed")

    def _keep(self, on: _Kept) -> bool:
        if on.protocol.our_state is not h11.DONE or on.protocol.their_state is not h11.DONE or len(self._idle) >= MAX_IDLE:
            return False
        on.protocol.start_next_cycle()
        self._idle.append(on._replace(since=asyncio.get_running_loop().time()))
        return True
