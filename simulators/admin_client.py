"""What a management plane says to the admin API, for the demo, the fleet and their tests: small, and plain about refusals."""

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of one answer's body; a page of 500 records stays far below."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the API: its status, its JSON (None if empty) and the entity tag to send back with If-Match."""

    status: int
    body: Any
    etag: str | None = None


class AdminProblem(Exception):
    """The API refused (RFC 9457), or could not be reached (`status` 0). The text names what, where and the way out."""

    def __init__(self, request: str, status: int, body: Mapping[str, Any]) -> None:
        self.request = request
        self.status = status
        self.code = str(body.get("code", ""))
        lines = [f"{request}: {status or 'no answer'}", str(body.get("title", "")), str(body.get("detail", ""))]
        lines += [f"{e.get('path', '?')}: {e.get('message', '?')}" for e in body.get("errors", ()) if isinstance(e, Mapping)]
        super().__init__(" - ".join(line for line in lines if line))


class AdminClient:
    """Calls the admin API at `host`:`port` with the bearer token in `token_file`.

    Calls run in a thread each (urllib blocks) and end after `deadline` seconds. Raises AdminProblem, and OSError if the
    token file cannot be read.
    """

    def __init__(self, host: str, port: int, token_file: Path, *, deadline: float = 10.0) -> None:
        shown = f"[{host}]" if ":" in host else host
        self._base = f"http://{shown}:{port}/api/v1"
        self._token = token_file.read_text("ascii").strip()
        self._deadline = deadline
        # The admin API is on this machine: a proxy of the environment must not see the token.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def get(self, path: str, **query: str) -> Any:
        """The JSON at `path` (below /api/v1), with `query` properly quoted."""
        return (await self.call("GET", _with_query(path, query))).body

    async def items(self, path: str, **query: str) -> AsyncIterator[Any]:
        """Every item of a list, page after page."""
        cursor: str | None = None
        while True:
            page = await self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            for item in page["items"]:
                yield item
            cursor = page.get("next")
            if not cursor:
                return

    async def call(self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """One request; 2xx is an Answer, everything else an AdminProblem."""
        async with asyncio.timeout(self._deadline):
            return await asyncio.to_thread(self._call, method, path, body, dict(headers or {}))

    def _call(self, method: str, path: str, body: object, headers: dict[str, str]) -> Answer:
        headers |= {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self._base + path, data=data, headers=headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._deadline) as answer:
                return Answer(answer.status, _json(answer.read(MAX_ANSWER)), answer.headers.get("ETag"))
        except urllib.error.HTTPError as refused:
            with refused:
                raise AdminProblem(f"{method} {path}", refused.code, _problem(refused.read(MAX_ANSWER))) from None
        except (urllib.error.URLError, OSError) as failed:
            raise AdminProblem(f"{method} {path}", 0, {"detail": f"{self._base} cannot be reached: {failed}"}) from failed


def _with_query(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


def _json(body: bytes) -> Any:
    return json.loads(body) if body else None


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {"detail": body[:200].decode("utf-8", "replace")}
    return found if isinstance(found, Mapping) else {"detail": str(found)[:200]}
