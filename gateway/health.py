"""/metrics, /livez and /readyz: what operations asks of a node, on a listener of its own.

`/livez` answers as long as the loop turns. `/readyz` says whether the node should get work: its checks by name, 503 when
one fails or the node is draining. Neither shows a secret or asks anything that can block.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.metrics import EXPOSITION_TYPE, Metrics

Check = Callable[[], str | None]
"""A readiness check: None when all is well, else what is wrong in a few words."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class HealthApp:
    """The ASGI application behind the metrics listener."""

    def __init__(self, metrics: Metrics, checks: Mapping[str, Check]) -> None:
        self._metrics = metrics
        self._checks = checks
        self.draining = False

    def readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether the node wants work, and each check's word."""
        words = {name: check() or "ok" for name, check in self._checks.items()}
        if self.draining:
            words["draining"] = "the node is shutting down"
        return all(word == "ok" for word in words.values()), words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"only GET\n", "text/plain", scope)
        elif scope["path"] == "/metrics":
            await _answer(send, 200, self._metrics.exposition(), EXPOSITION_TYPE, scope)
        elif scope["path"] in ("/livez", "/healthz"):
            await _answer(send, 200, b'{"status":"ok"}\n', "application/json", scope)
        elif scope["path"] == "/readyz":
            ready, words = self.readiness()
            body = json.dumps({"status": "ok" if ready else "not ready", "checks": words}).encode() + b"\n"
            await _answer(send, 200 if ready else 503, body, "application/json", scope)
        else:
            await _answer(send, 404, b"try /metrics, /livez or /readyz\n", "text/plain", scope)


async def _answer(send: Send, status: int, body: bytes, content_type: str, scope: Scope) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
