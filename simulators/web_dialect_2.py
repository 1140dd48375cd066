"""The web page of some newer devices (dialect 2 of akuvox-devices.md section 7): `/web/...` with a token instead of cookies.

Scripts ask with the token in the address or a header; the status comes as a stream of events that never ends.
"""

import asyncio
import json
from collections.abc import AsyncIterator

from simulators.web_login import DoorPhoneState, LoginRefused, WebLogin, name_of, status_of
from simulators.web_server import Request, Response, WebServer
from tunnel.net.local_service import LocalService

EVENT_SECONDS = 0.5
_LOGIN = b"""<!doctype html><title>Login</title><input id="user" value="admin"><input id="password" type="password">
<button id="submit">Login</button><p id="message"></p><script>
document.getElementById("submit").onclick = async () => {
  const said = { user: document.getElementById("user").value, password: document.getElementById("password").value };
  const answer = await fetch("../web/login", { method: "POST", body: JSON.stringify(said) });
  const told = await answer.json();
  if (!told.token) { document.getElementById("message").textContent = told.message; return; }
  sessionStorage.setItem("token", told.token);
  location.href = "/web/main.html?token=" + told.token;
};
</script>"""
_MAIN = b"""<!doctype html><title>Door Phone</title><h1 id="mac"></h1>
<p id="uptime"></p><button id="open">Open</button><p id="opened"></p>
<script>
const token = sessionStorage.getItem("token");
const events = new EventSource("/web/events?token=" + token);
events.onmessage = (event) => {
  const status = JSON.parse(event.data);
  document.getElementById("mac").textContent = status.mac;
  document.getElementById("uptime").textContent = status.uptime;
  document.getElementById("opened").textContent = status.relays.map((one) => one.open ? "open" : "shut").join(" ");
};
document.getElementById("open").onclick = () =>
  fetch("relay/1", { method: "PUT", headers: { "X-Token": token } });
</script>"""


class TokenWebPage:
    """The page of one device. Start once, stop once."""

    def __init__(self, device: DoorPhoneState) -> None:
        self._device = device
        self._login = WebLogin(device)
        self._server = WebServer(self._answer)
        self._started = 0.0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 picks a free one. Returns what was bound."""
        self._started = asyncio.get_running_loop().time()
        self._place = await self._server.start(host, port)
        return self._place

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        await self._server.stop()

    def services(self) -> dict[str, LocalService]:
        """What its channel offers of it."""
        return {"web": LocalService(*self._place)}

    async def _answer(self, request: Request) -> Response:
        match f"{request.method} {request.path}":
            case "GET /":
                return Response(302, headers=[("Location", "/web/login.html")])
            case "GET /web/login.html":
                return Response(200, _LOGIN)
            case "POST /web/login":
                return await self._enter(request)
            case "GET /api/system/info":
                return Response(403, b"Forbidden", "text/plain")
        token = request.query.get("token", "") or request.headers.get("x-token", "")
        if not self._login.holds(token, asyncio.get_running_loop().time()):
            return Response(302, headers=[("Location", "/web/login.html")])
        match f"{request.method} {request.path}":
            case "GET /web/main.html":
                return Response(200, _MAIN)
            case "GET /web/events":
                return Response(200, content_type="text/event-stream", stream=self._events())
            case "PUT /web/relay/1":
                opened = self._device.open_relay(1, method="web", by="admin")
                return Response(200 if opened else 404, b"{}", "application/json")
        return Response(404, b"Not Found", "text/plain")

    async def _enter(self, request: Request) -> Response:
        try:
            said = await request.json()
            token = self._login.enter(str(said["user"]), str(said["password"]), asyncio.get_running_loop().time())
        except LoginRefused as refused:
            return Response(401, json.dumps({"message": str(refused)}).encode(), "application/json")
        except (ValueError, RecursionError, KeyError, TypeError):
            return Response(400, b'{"message": "not understood"}', "application/json")
        return Response(200, json.dumps({"token": token}).encode(), "application/json")

    async def _events(self) -> AsyncIterator[bytes]:
        while True:
            uptime = asyncio.get_running_loop().time() - self._started
            yield b"data: " + json.dumps(status_of(self._device, name_of(self._device), uptime)).encode() + b"\n\n"
            await asyncio.sleep(EVENT_SECONDS)
