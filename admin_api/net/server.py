"""`AdminServer`: the API on a TCP port, served by uvicorn in the gateway's own loop.

uvicorn brings the HTTP; this file takes away what a gateway does itself (signals, access log, lifespan) and adds what it
lacks: a deadline for the request head, a bound on connections, and problems in place of plain text for what it cannot parse.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from admin_api.events import Streams
from admin_api.limits import bare_problem
from admin_api.problems import Problem


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a connection (DESIGN.md section 6). Seconds, bytes, and a count."""

    head_seconds: float = 10.0
    keep_alive_seconds: int = 15
    head_bytes: int = 16 * 1024
    connections: int = 512


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with a deadline for each request head."""

    limits = ServerLimits()
    _head: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app_state = {**self.app_state, "abort": self._hang_up}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._idle and self._head is None:
            self._await_head()
        super().data_received(data)
        if not self._idle:
            self._head_came()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused; in the middle of a request there is nothing left to say, so hang up."""
        if self._idle:
            self.transport.write(bare_problem(Problem("malformed-request", "This is no HTTP/1.1 request that can be read.")))
            self.transport.close()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Cut the connection in the middle of a request; what the app still sends goes nowhere."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.abort()

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._head = self.loop.call_later(self.limits.head_seconds, self._head_is_late)

    def _head_came(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _head_is_late(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.write(bare_problem(Problem("request-timeout")))
            self.transport.close()


class _Server(Server):
    """uvicorn's server as a guest in a loop that is not its own."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the gateway."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class AdminServer:
    """Serves one app on one address. `start` once, `stop` once."""

    def __init__(self, app: ASGIApp, *, limits: ServerLimits | None = None) -> None:
        """`app` is an ASGI application. One with a `state.streams` (the API) has its event streams ended on `stop`."""
        self._app = app
        self._limits = limits or ServerLimits()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen on `host`:`port` (0: any free one) and return the bound address. Raises OSError if it is taken."""
        listening = _listen(host, port)
        bound: tuple[Any, ...] = listening.getsockname()
        connection = type("Connection", (_Connection,), {"limits": self._limits})
        config = Config(
            self._app,
            http=connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=self._limits.keep_alive_seconds,
            h11_max_incomplete_event_size=self._limits.head_bytes,
        )
        self._server = _Server(config)
        self._serving = asyncio.ensure_future(self._server.serve([listening]))
        ready = asyncio.ensure_future(self._server.ready.wait())
        await asyncio.wait({ready, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        if self._serving.done():
            ready.cancel()
            await self._serving
        return bound[0], bound[1]

    async def stop(self, grace: float) -> None:
        """Accept nothing more, end event streams, give running requests `grace` seconds, then cut them off."""
        if self._server is None or self._serving is None:
            return
        if isinstance(self._app, FastAPI):
            streams: Streams = self._app.state.streams
            streams.close()
        self._server.should_exit = True
        done, _ = await asyncio.wait({self._serving}, timeout=grace)
        if not done:
            self._server.force_exit = True
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            for task in list(self._server.server_state.tasks):
                task.cancel()
        await self._serving


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)
