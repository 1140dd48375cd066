"""What a request may cost: ASGI middleware around the whole app. Body, deadline, and one observation per request.

The body limit holds before anything is read, from Content-Length, and while it is read, for chunked bodies; a body beyond it
is never collected. Request lines and headers are bounded by the server's parser (net/server.py).
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin_api.ports import AdminPorts
from admin_api.problems import MEDIA_TYPE, Problem, problem_response

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUG, _CLIENT_LEFT = 500, 499
"""What is observed where this middleware saw no answer: a bug (answered outside of it), or nobody left to answer."""
_LINGER_SECONDS = 2.0
"""How long a refused body is read and thrown away, so that the client reads the refusal instead of a reset."""
_UPLOAD = re.compile(r"/api/v1/firmware/[^/]{1,64}/content", re.ASCII)
"""Paths to which files are uploaded."""
_STREAMS = frozenset({"/api/v1/events"})
"""Paths whose answers have no end; each single write of theirs has the request's deadline instead."""


class Limits:
    """Outermost middleware of the API."""

    def __init__(self, app: ASGIApp, ports: AdminPorts) -> None:
        self._app = app
        self._ports = ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = self._ports.monotonic()
        answer = _Answer(send, self._ports.limits.request_seconds)
        limits = self._ports.limits
        upload = scope["method"] == "PUT" and _UPLOAD.fullmatch(scope["path"]) is not None
        size, seconds = (limits.firmware, limits.firmware_seconds) if upload else (limits.body, limits.request_seconds)
        try:
            await self._limited(scope, receive, answer, size, seconds)
        except Exception:
            answer.status = answer.status or _BUG
            raise
        finally:
            status = answer.status or _CLIENT_LEFT
            self._ports.observer(_route(scope), _method(scope), status, self._ports.monotonic() - began)

    async def _limited(self, scope: Scope, receive: Receive, answer: "_Answer", size: int, seconds: float) -> None:
        body = _Body(receive, size)
        refusal = _refusal(scope, size)
        if refusal is not None:
            await _refuse(scope, refusal, body, answer)
            return
        try:
            async with asyncio.timeout(seconds) as deadline:
                if scope["path"] in _STREAMS:
                    answer.on_start = lambda: deadline.reschedule(None)
                await self._app(scope, body.receive, answer.send)
        except TooLarge:
            await _refuse(scope, Problem("body-too-large", _size(size)), body, answer)
        except TimeoutError:
            if answer.started:
                hang_up(scope)
            else:
                await _refuse(scope, Problem("too-slow" if body.complete else "request-timeout"), body, answer)


class TooLarge(BaseException):
    """The body is beyond the limit. No Exception, so that nothing on its way out takes it for an error of the app."""


class _Body:
    """`receive` of a request, counted."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self.complete = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLarge
        self.complete = not message.get("more_body", False)
        return message

    async def drain(self, limit: int) -> None:
        """Read and forget up to `limit` bytes of what still comes, for at most _LINGER_SECONDS."""
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while limit > 0 and not self.complete:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        return
                    limit -= len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)
        except TimeoutError:
            return


class _Answer:
    """`send` of a request: remembers the status, and bounds each write by a deadline (a reader that stopped reading)."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self.status = 0
        self.started = False
        self.on_start: Callable[[], None] = _nothing

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.started = message["status"], True
            self.on_start()
        async with asyncio.timeout(self._seconds):
            await self._send(message)


def _nothing() -> None:
    return


def hang_up(scope: Scope) -> None:
    """Cut the connection of an answer that cannot be completed; net/server.py leaves the means in the scope's state."""
    abort = scope.get("state", {}).get("abort")
    if abort is not None:
        abort()


def _refusal(scope: Scope, limit: int) -> Problem | None:
    """What the headers alone say against the request."""
    headers: Mapping[bytes, list[bytes]] = _by_name(scope)
    lengths = headers.get(b"content-length", [])
    if lengths and headers.get(b"transfer-encoding"):
        return Problem("malformed-request", "Content-Length and Transfer-Encoding exclude each other (RFC 9112 section 6.3).")
    if any(not (length.isascii() and length.isdigit() and len(length) <= 18) for length in lengths) or len(set(lengths)) > 1:
        return Problem("malformed-request", "Content-Length is no number.")
    if lengths and int(lengths[0]) > limit:
        return Problem("body-too-large", _size(limit))
    return None


def _by_name(scope: Scope) -> Mapping[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, []).append(value)
    return found


async def _refuse(scope: Scope, problem: Problem, body: _Body, answer: _Answer) -> None:
    """Answer and close: what is left of the body would otherwise be taken for the next request, or be read for ever."""
    response = problem_response(problem, scope["path"])
    headers = [*response.raw_headers, (b"connection", b"close")]
    await answer.send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await answer.send({"type": "http.response.body", "body": response.body, "more_body": True})
    await body.drain(1024 * 1024)
    await answer.send({"type": "http.response.body", "body": b"", "more_body": False})


def _size(limit: int) -> str:
    return f"A body has at most {limit} bytes."


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else "unmatched"


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def bare_problem(problem: Problem) -> bytes:
    """A whole HTTP/1.1 answer for a request that could not even be parsed."""
    body = problem_response(problem, "").body
    fields = f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close"
    head = f"HTTP/1.1 {problem.kind.status} Refused\r\n{fields}\r\n\r\n"
    return head.encode("ascii") + bytes(body)
