"""The web page a simulated door phone serves of itself: what people see first through Remote Control.

Dialect 3 of akuvox-devices.md section 7: a page that lives in the browser, `/api/web/*`, a `token` cookie, a status that is
asked for every 3 s, a login that ends after 300 idle seconds and throttles bursts with 401, multipart uploads.
"""

import asyncio
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

from simulators.file_part import FilePart
from simulators.snapshot import snapshot
from simulators.web_login import DoorPhoneState, LoginRefused, WebLogin, name_of, status_of
from simulators.web_server import Request, Response, WebServer
from tunnel.net.local_service import LocalService

MAX_UPLOAD = 512 * 1024 * 1024
MAX_NAME = 63

_STATIC = {
    "/static/style.css": ("style.css", "text/css; charset=utf-8"),
    "/static/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/static/login.js": ("login.js", "text/javascript; charset=utf-8"),
    "/static/logo.svg": ("logo.svg", "image/svg+xml"),
    "/static/door-phone.svg": ("door-phone.svg", "image/svg+xml"),
}


class WebPage:
    """The page of one device. Start once, stop once."""

    def __init__(self, device: DoorPhoneState) -> None:
        self._device = device
        self._server = WebServer(self._answer)
        self._name = ""
        self._started = 0.0
        self._login = WebLogin(device)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 picks a free one. Returns what was bound."""
        self._started = self._now()
        self._place = await self._server.start(host, port)
        return self._place

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        await self._server.stop()

    def services(self) -> dict[str, LocalService]:
        """What its channel offers of it."""
        return {"web": LocalService(*self._place)}

    @property
    def name(self) -> str:
        """The device's name: what someone set on the page, else its display name."""
        return self._name or name_of(self._device)

    # -- routes ---------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        route = f"{'GET' if request.method == 'HEAD' else request.method} {request.path}"
        if request.path in _STATIC and route.startswith("GET "):
            name, content_type = _STATIC[request.path]
            return Response(200, _file(name), content_type, [("Cache-Control", "max-age=3600")])
        if route == "GET /login.html":
            return Response(200, _file("login.html"), chunked=True)
        if route == "POST /api/web/login":
            return await self._enter(request)
        if route == "GET /api/system/info":  # how the dialects are told apart: this one answers with a redirect
            return _redirect(302, request, "/login.html")
        if not self._login.holds(request.cookies.get("token", ""), self._now()):
            wants_page = route in ("GET /", "GET /index.html", "POST /web/device-name")
            return _redirect(302, request, "/login.html") if wants_page else _told(401, -1, "Not logged in.")
        return await self._answer_session(route, request)

    async def _answer_session(self, route: str, request: Request) -> Response:
        match route:
            case "GET /" | "GET /index.html":
                return Response(200, _file("index.html"), headers=[("Cache-Control", "no-store")], chunked=True)
            case "GET /api/web/status":
                return _told(200, 0, "OK", status_of(self._device, self.name, self._now() - self._started))
            case "GET /api/web/snapshot.png":
                return Response(200, snapshot(), "image/png", [("Cache-Control", "no-store")])
            case "POST /api/web/relay/trig":
                return await self._trigger(request)
            case "POST /web/device-name":
                return await self._rename(request)
            case "POST /api/web/upload":
                return await self._upload(request)
            case "POST /api/web/logout":
                self._login.leave(request.cookies.get("token", ""))
                expired = ("Set-Cookie", "token=; Path=/; Max-Age=0; HttpOnly")
                return _told(200, 0, "OK", headers=[expired])
        return _told(404, -1, "No such page.")

    # -- login ----------------------------------------------------------------------------------------------------

    async def _enter(self, request: Request) -> Response:
        said = _dict(_dict(await _json(request)).get("data"))
        try:
            token = self._login.enter(str(said.get("user", "")), str(said.get("password", "")), self._now())
        except LoginRefused as refused:
            return _told(401, -1, str(refused))
        cookie = f"token={token}; Path=/; HttpOnly; Domain={request.host.rpartition(':')[0] or request.host}"
        return _told(200, 0, "OK", {"token": token}, [("Set-Cookie", cookie)])

    # -- what the page does ---------------------------------------------------------------------------------------

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
        received = FilePart(boundary)
        async for piece in request.body:
            received.feed(piece)
            if received.size > MAX_UPLOAD:
                return _told(413, -1, "The file is too large.")
        if not received.complete:
            return _told(400, -1, "The form holds no complete file.")
        return _told(200, 0, "OK", {"size": received.size, "sha256": received.sha256.hexdigest()})

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


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
