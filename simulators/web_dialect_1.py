"""The web page of older devices (dialect 1 of akuvox-devices.md section 7): pages made on the device, plain forms, no scripts.

`/fcgi/do?id=...`, the cookies UserName, Password and SessionId, absolute links and redirects, a camera as MJPEG, uploads by a
plain form. With `secure` the page is HTTPS alone, and plain HTTP answers 308.
"""

import asyncio
import base64
import html
from collections.abc import AsyncIterator, Sequence

from simulators.file_part import FilePart
from simulators.self_signed import self_signed_context
from simulators.snapshot import snapshot
from simulators.web_login import DoorPhoneState, LoginRefused, WebLogin, name_of, status_of
from simulators.web_server import Header, Request, Response, WebServer
from tunnel.net.local_service import LocalService

SERVER = "lighttpd/1.4.30"
FRAME_SECONDS = 0.2
_BOUNDARY = "--myboundary"
_PAGE = """<html><head><title>{title}</title><link rel="stylesheet" href="/static/none.css"></head><body>
<p><a id="status" href="{origin}/fcgi/do?id=2">Status</a> <a id="relay" href="do?id=3">Relay</a>
<a id="upgrade" href="/fcgi/do?id=4">Upgrade</a> <a id="logout" href="{origin}/fcgi/do?id=9">Logout</a></p>
{body}</body></html>"""
_LOGIN = """<html><head><title>Login</title></head><body><form method="post" action="{origin}/fcgi/do?id=1">
<input id="user" name="UserName" value="admin"><input id="password" name="Password" type="password">
<input id="submit" type="submit" value="Login"></form><p id="message">{message}</p></body></html>"""


class OldWebPage:
    """The page of one device. Start once, stop once."""

    def __init__(self, device: DoorPhoneState, *, secure: bool = False) -> None:
        self._device = device
        self._login = WebLogin(device)
        self._secure = secure
        self._plain = WebServer(self._moved if secure else self._answer, name=SERVER)
        self._tls = WebServer(self._answer, tls=self_signed_context(device.model), name=SERVER) if secure else None
        self._tls_address: tuple[str, int] | None = None
        self._started = 0.0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 picks a free one. Returns where the plain page is."""
        self._started = asyncio.get_running_loop().time()
        if self._tls is not None:
            self._tls_address = await self._tls.start(host, 0)
        self._place = await self._plain.start(host, port)
        return self._place

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        await self._plain.stop()
        if self._tls is not None:
            await self._tls.stop()

    def services(self) -> dict[str, LocalService]:
        """What its channel offers of it."""
        found = {"web": LocalService(*self._place)}
        if self._tls_address is not None:
            found["web-tls"] = LocalService(*self._tls_address, tls=True)
        return found

    async def _moved(self, request: Request) -> Response:
        assert self._tls_address is not None
        query = "".join(f"?{name}={value}" for name, value in list(request.query.items())[:1])
        return Response(
            308, headers=[("Location", f"https://{self._tls_address[0]}:{self._tls_address[1]}{request.path}{query}")]
        )

    async def _answer(self, request: Request) -> Response:
        if request.path != "/fcgi/do":
            return self._to(request, 1) if request.path == "/" else Response(404, b"404 - Not Found")
        page = request.query.get("id", "1")
        if page == "1":
            return await self._enter(request) if request.method == "POST" else self._login_page(request)
        session = request.cookies.get("SessionId", "")
        if not self._login.holds(session, asyncio.get_running_loop().time()):
            return self._to(request, 1)
        if page == "9":
            self._login.leave(session)
            return self._to(request, 1, [("Set-Cookie", f"{name}=; Path=/; Max-Age=0") for name in _COOKIES])
        if page == "5":
            return Response(200, content_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}", stream=_frames())
        if request.method == "POST":
            return await (self._trigger(request) if page == "3" else self._upload(request))
        return self._shown(request, {"2": self._status, "3": self._relays, "4": self._upgrade}.get(page, self._status)())

    async def _enter(self, request: Request) -> Response:
        try:
            said = await request.form()
            token = self._login.enter(said.get("UserName", ""), said.get("Password", ""), asyncio.get_running_loop().time())
        except (ValueError, LoginRefused) as refused:
            return self._login_page(request, str(refused), 401)
        values = (said["UserName"], base64.b64encode(b"not the password").decode().rstrip("="), token)
        cookies = [(("Set-Cookie"), f"{name}={value}; Path=/") for name, value in zip(_COOKIES, values, strict=True)]
        return self._to(request, 2, cookies)

    def _login_page(self, request: Request, message: str = "", status: int = 200) -> Response:
        text = _LOGIN.format(origin=self._origin(request), message=html.escape(message))
        return Response(status, text.encode(), "text/html")

    def _shown(self, request: Request, body: str) -> Response:
        text = _PAGE.format(title=html.escape(name_of(self._device)), origin=self._origin(request), body=body)
        return Response(200, text.encode(), "text/html", chunked=True)

    def _status(self) -> str:
        status = status_of(self._device, name_of(self._device), asyncio.get_running_loop().time() - self._started)
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>" for name, value in status.items()
        )
        return f'<table id="rows">{rows}</table><img id="camera" src="do?id=5">'

    def _relays(self) -> str:
        relays = status_of(self._device, "", 0.0)["relays"]
        buttons = "".join(f'<button name="relay" value="{one["num"]}">{html.escape(one["name"])}</button>' for one in relays)
        states = ", ".join("open" if one["open"] else "shut" for one in relays)
        return f'<form method="post" action="do?id=3">{buttons}</form><p id="relays">{states}</p>'

    def _upgrade(self) -> str:
        return (
            '<form method="post" action="/fcgi/do?id=4" enctype="multipart/form-data">'
            '<input id="file" type="file" name="image"><input id="send" type="submit" value="Upgrade"></form>'
        )

    async def _trigger(self, request: Request) -> Response:
        try:
            number = (await request.form()).get("relay", "")
        except ValueError:
            number = ""
        if number in ("1", "2", "3", "4"):
            self._device.open_relay(int(number), method="web", by="admin")
        return self._to(request, 3)

    async def _upload(self, request: Request) -> Response:
        boundary = request.headers.get("content-type", "").partition("boundary=")[2].strip('"').encode("latin-1")
        received = FilePart(boundary or b"none")
        async for piece in request.body:
            received.feed(piece)
        told = f"{received.size} bytes, {received.sha256.hexdigest()}" if received.complete else "no file"
        return self._shown(request, f'<p id="received">{told}</p>')

    def _to(self, request: Request, page: int, headers: Sequence[Header] = ()) -> Response:
        return Response(302, headers=[("Location", f"{self._origin(request)}/fcgi/do?id={page}"), *headers])

    def _origin(self, request: Request) -> str:
        return f"{'https' if self._secure else 'http'}://{request.host}"


_COOKIES = ("UserName", "Password", "SessionId")


async def _frames() -> AsyncIterator[bytes]:
    """Pictures of the camera, for as long as somebody looks."""
    picture = snapshot()
    head = f"{_BOUNDARY}\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
    while True:
        yield head + picture + b"\r\n"
        await asyncio.sleep(FRAME_SECONDS)
