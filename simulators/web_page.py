"""The web page a simulated door phone serves of itself: what people see first through Remote Control.

Dialect 3 of akuvox-devices.md section 7: a page that lives in the browser, `/api/web/*`, a `token` cookie, a status that is
asked for every 3 s, a login that ends after 300 idle seconds and throttles bursts with 401, multipart uploads.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from importlib import resources
from typing import Any, Protocol

from registry.mac import MacAddress
from simulators.device_config import DeviceConfig
from simulators.snapshot import snapshot
from simulators.web_server import Request, Response, WebServer

SESSION_SECONDS = 300.0
"""An idle login ends after this (Settings.WEB_LOGIN_STATUS.SessionTimeOut)."""
MAX_SESSIONS = 16
MAX_FAILURES = 5
LOCKED_SECONDS = 30.0
"""After MAX_FAILURES wrong passwords in a row every login is refused for so long."""
MAX_UPLOAD = 512 * 1024 * 1024
MAX_NAME = 63

_STATIC = {
    "/static/style.css": ("style.css", "text/css; charset=utf-8"),
    "/static/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/static/login.js": ("login.js", "text/javascript; charset=utf-8"),
    "/static/logo.svg": ("logo.svg", "image/svg+xml"),
    "/static/door-phone.svg": ("door-phone.svg", "image/svg+xml"),
}


class DoorPhoneState(Protocol):
    """What the page shows of its device, and the one thing it does to it."""

    mac: MacAddress
    model: str
    config: DeviceConfig | None

    @property
    def registered(self) -> bool: ...

    @property
    def recent_calls(self) -> Iterable[str]: ...

    def is_open(self, relay: int) -> bool: ...

    def open_relay(self, number: int, *, method: str, by: str) -> bool: ...


class WebPage:
    """The page of one device. Start once, stop once."""

    def __init__(self, device: DoorPhoneState) -> None:
        self._device = device
        self._server = WebServer(self._answer)
        self._name = ""
        self._started = 0.0
        self._sessions: dict[str, float] = {}
        self._failures = 0
        self._locked_until = 0.0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 picks a free one. Returns what was bound."""
        self._started = self._now()
        return await self._server.start(host, port)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        await self._server.stop()

    @property
    def name(self) -> str:
        """The device's name: what someone set on the page, else its display name."""
        config = self._device.config
        account = config.account if config is not None else None
        return self._name or (account.display_name if account is not None else "") or "Door Phone"

    # -- routes ---------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        route = f"{'GET' if request.method == 'HEAD' else request.method} {request.path}"
        if request.path in _STATIC and route.startswith("GET "):
            name, content_type = _STATIC[request.path]
            return Response(200, _file(name), content_type, [("Cache-Control", "max-age=3600")])
        if route == "GET /login.html":
            return Response(200, _file("login.html"), chunked=True)
        if route == "POST /api/web/login":
            return await self._login(request)
        if route == "GET /api/system/info":  # how the dialects are told apart: this one answers with a redirect
            return _redirect(302, request, "/login.html")
        if not self._logged_in(request):
            wants_page = route in ("GET /", "GET /index.html", "POST /web/device-name")
            return _redirect(302, request, "/login.html") if wants_page else _told(401, -1, "Not logged in.")
        return await self._answer_session(route, request)

    async def _answer_session(self, route: str, request: Request) -> Response:
        match route:
            case "GET /" | "GET /index.html":
                return Response(200, _file("index.html"), headers=[("Cache-Control", "no-store")], chunked=True)
            case "GET /api/web/status":
                return _told(200, 0, "OK", self._status())
            case "GET /api/web/snapshot.png":
                return Response(200, snapshot(), "image/png", [("Cache-Control", "no-store")])
            case "POST /api/web/relay/trig":
                return await self._trigger(request)
            case "POST /web/device-name":
                return await self._rename(request)
            case "POST /api/web/upload":
                return await self._upload(request)
            case "POST /api/web/logout":
                self._sessions.pop(request.cookies.get("token", ""), None)
                expired = ("Set-Cookie", "token=; Path=/; Max-Age=0; HttpOnly")
                return _told(200, 0, "OK", headers=[expired])
        return _told(404, -1, "No such page.")

    # -- login ----------------------------------------------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        config = self._device.config
        now = self._now()
        if now < self._locked_until:
            return _told(401, -1, "Too many attempts. Wait a moment and try again.")
        said = _dict(_dict(await _json(request)).get("data"))
        user, password = str(said.get("user", "")), str(said.get("password", ""))
        right = (
            config is not None
            and config.web_password != ""
            and hmac.compare_digest(user.encode(errors="replace"), config.web_user.encode())
            and hmac.compare_digest(password.encode(errors="replace"), config.web_password.encode())
        )
        if not right:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._failures, self._locked_until = 0, now + LOCKED_SECONDS
            return _told(401, -1, "User name or password is wrong.")
        self._failures = 0
        token = secrets.token_hex(16)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[token] = now
        cookie = f"token={token}; Path=/; HttpOnly; Domain={request.host.rpartition(':')[0] or request.host}"
        return _told(200, 0, "OK", {"token": token}, [("Set-Cookie", cookie)])

    def _logged_in(self, request: Request) -> bool:
        token = request.cookies.get("token", "")
        seen = self._sessions.get(token)
        if seen is None:
            return False
        if self._now() > seen + SESSION_SECONDS:
            del self._sessions[token]
            return False
        self._sessions[token] = self._now()
        return True

    # -- what the page does ---------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        config = self._device.config
        account = config.account if config is not None else None
        relays = config.relays if config is not None else ()
        return {
            "name": self.name,
            "model": self._device.model,
            "mac": self._device.mac.colons,
            "uptime": round(self._now() - self._started, 1),
            "registered": self._device.registered,
            "account": account.username if account is not None else "",
            "display_name": account.display_name if account is not None else "",
            "server": f"{account.server}:{account.port}" if account is not None else "",
            "expires": f"{account.expires} s" if account is not None else "",
            "relays": [
                {"num": number, "name": relay.name, "hold": relay.hold_seconds, "open": self._device.is_open(number)}
                for number, relay in enumerate(relays, 1)
            ],
            "calls": list(self._device.recent_calls),
        }

    async def _trigger(self, request: Request) -> Response:
        number = _dict(_dict(await _json(request)).get("data")).get("num")
        if type(number) is not int or not self._device.open_relay(number, method="web", by="admin"):
            return _told(400, -1, "There is no such relay.")
        return _told(200, 0, "OK")

    async def _rename(self, request: Request) -> Response:
        try:
            name = (await request.form()).get("name", "").strip()
        except ValueError:
            name = ""
        if not name or len(name) > MAX_NAME or not name.isprintable():
            return _told(400, -1, f"A name has 1 to {MAX_NAME} printable characters.")
        self._name = name
        return _redirect(303, request, "/index.html#account")

    async def _upload(self, request: Request) -> Response:
        """Read the one file of a multipart form as a stream; nothing is kept but its size and hash."""
        boundary = request.headers.get("content-type", "").partition("boundary=")[2].strip('"').encode("latin-1")
        if not boundary:
            return _told(400, -1, "Not a multipart form.")
        received = _FilePart(boundary)
        async for piece in request.body:
            received.feed(piece)
            if received.size > MAX_UPLOAD:
                return _told(413, -1, "The file is too large.")
        if not received.complete:
            return _told(400, -1, "The form holds no complete file.")
        return _told(200, 0, "OK", {"size": received.size, "sha256": received.sha256.hexdigest()})

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _FilePart:
    """The first part of a multipart/form-data body (RFC 7578), fed piece by piece, kept only as size and hash."""

    def __init__(self, boundary: bytes) -> None:
        self._end = b"\r\n--" + boundary
        self._held = b""
        self._in_content = False
        self.complete = False
        self.size = 0
        self.sha256 = hashlib.sha256()

    def feed(self, piece: bytes) -> None:
        if self.complete:
            return
        self._held += piece
        if not self._in_content:
            _head, found, rest = self._held.partition(b"\r\n\r\n")
            if not found:
                self._held = self._held[-16 * 1024 :]
                return
            self._in_content, self._held = True, rest
        content, found, _ = self._held.partition(self._end)
        if found:
            self._count(content)
            self.complete = True
            return
        # The end mark may begin in what is here and go on in the next piece.
        keep = len(self._end) - 1
        self._count(self._held[:-keep])
        self._held = self._held[-keep:]

    def _count(self, content: bytes) -> None:
        self.size += len(content)
        self.sha256.update(content)


def _file(name: str) -> bytes:
    if name not in _FILES:
        _FILES[name] = resources.files("simulators.pages").joinpath(name).read_bytes()
    return _FILES[name]


_FILES: dict[str, bytes] = {}


def _redirect(status: int, request: Request, path: str) -> Response:
    """An absolute Location, as such devices send it: what a gateway in between must rewrite."""
    return Response(status, headers=[("Location", f"http://{request.host}{path}")])


def _told(
    status: int, retcode: int, message: str, data: dict[str, Any] | None = None, headers: Iterable[tuple[str, str]] = ()
) -> Response:
    """The devices' API envelope (akuvox-devices.md section 6)."""
    body = json.dumps({"retcode": retcode, "action": "", "message": message, "data": data or {}}).encode()
    return Response(status, body, "application/json", [("Cache-Control", "no-store"), *headers])


async def _json(request: Request) -> object:
    try:
        return await request.json()
    except (ValueError, RecursionError):
        return {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
