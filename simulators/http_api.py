"""A device's local HTTP API, `POST /api {target, action, data}` -> `{retcode, action, message, data}` (akuvox-devices.md, 6).

`AuthMode` as the setting has it: 0 nobody is asked, 2 the factory's whitelist (empty: 403 for all), 4 digest.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from simulators.web_server import Request, Response
from sip.credentials import parse_credentials
from sip.digest import MD5, Verdict, Verifier
from sip.errors import MalformedMessage

REALM = b"HTTP API"
FACTORY_MODE = "2"
_ENABLE, _MODE, _USER, _PASSWORD = (
    f"Config.DoorSetting.APIFCGI.{item}" for item in ("Enable", "AuthMode", "UserName", "Password")
)


class ApiDevice(Protocol):
    """What the API does to its device."""

    def held(self) -> Mapping[str, str]:
        """The whole configuration, by full key."""
        ...

    async def change(self, values: Mapping[str, str]) -> None:
        """Set these keys."""
        ...

    def open_relay(self, number: int, *, method: str, by: str) -> bool: ...

    def about(self) -> Mapping[str, str]:
        """Model, MAC and versions, as `system/info` tells them."""
        ...

    @property
    def registered(self) -> bool: ...

    def go_off(self, *, to_factory: bool) -> None:
        """Go off and come back."""
        ...


class HttpApi:
    """See the module. `forgets`: keys that are taken and do not stick; `drops_more`: of keys set together the first stays."""

    def __init__(self, device: ApiDevice, entropy: Callable[[int], bytes]) -> None:
        self._device = device
        self._verifier = Verifier(realm=REALM, secret=entropy(32), entropy=entropy, algorithms=(MD5,))
        self._turn = asyncio.Lock()
        self.forgets: set[str] = set()
        self.drops_more = False
        self.at_once = 0
        """The most requests that were under way together."""
        self._under_way = 0

    async def answer(self, request: Request) -> Response:
        """One request. 403 and 401 before anything is done."""
        refused = self._refusal(request)
        if refused is not None:
            return refused
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            said = await request.json()
            target, action, data = (said.get(name) for name in ("target", "action", "data"))
            async with self._turn:
                return await self._do(f"{target}/{action}", data if isinstance(data, dict) else {})
        except (ValueError, AttributeError, RecursionError):
            return _told(-1, "", "malformed")
        finally:
            self._under_way -= 1

    def _refusal(self, request: Request) -> Response | None:
        held = self._device.held()
        mode = held.get(_MODE, FACTORY_MODE) if held.get(_ENABLE) == "1" else FACTORY_MODE
        if mode == FACTORY_MODE:
            return Response(403, b"Forbidden", "text/plain")
        if mode == "0" or self._proven(request, held.get(_USER, ""), held.get(_PASSWORD, "")):
            return None
        now = asyncio.get_running_loop().time()
        challenges = [("WWW-Authenticate", value.decode("latin-1")) for value in self._verifier.challenge(now)]
        return Response(401, b"", "text/plain", challenges)

    def _proven(self, request: Request, user: str, password: str) -> bool:
        try:
            credentials = parse_credentials(request.headers.get("authorization", "").encode("latin-1"))
        except MalformedMessage:
            return False
        if credentials is None or not password:
            return False
        verdict = self._verifier.verify(
            credentials,
            method=request.method.encode(),
            uri=request.path.encode(),
            password=password.encode() if credentials.username == user.encode() else None,
            now=asyncio.get_running_loop().time(),
        )
        return verdict is Verdict.ACCEPTED

    async def _do(self, what: str, data: Mapping[str, Any]) -> Response:
        match what:
            case "system/info":
                return _told(0, what, "OK", {"Status": dict(self._device.about())})
            case "system/status":
                return _told(0, what, "OK", {"Account1": {"Status": "2" if self._device.registered else "0"}})
            case "system/reboot" | "config/reset_factory":
                self._device.go_off(to_factory=what == "config/reset_factory")
                return _told(0, what, "OK")
            case "relay/trig":
                number = data.get("num")
                if type(number) is not int or not self._device.open_relay(number, method="web", by="api"):
                    return _told(-1, what, "no such relay")
                return _told(0, what, "OK")
            case "config/get":
                return _told(0, what, "OK", {key: _shown(key, value) for key, value in self._device.held().items()})
            case "config/set":
                kept = {key: value for key, value in data.items() if isinstance(value, str) and key not in self.forgets}
                if self.drops_more:
                    kept = dict(list(kept.items())[:1])
                await self._device.change(kept)
                return _told(0, what, "OK")
        return _told(-1, what, "unknown action")


def _shown(key: str, value: str) -> str:
    """Exports show passwords scrambled."""
    return "*" * 60 if key.endswith(("Password", "Pwd")) and value else value


def _told(retcode: int, action: str, message: str, data: Mapping[str, Any] | None = None) -> Response:
    body = {"retcode": retcode, "action": action, "message": message, "data": data or {}}
    return Response(200, json.dumps(body).encode(), "application/json")
