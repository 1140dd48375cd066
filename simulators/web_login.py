"""What the web pages of all dialects know of their device, and who is logged in to one of them."""

import hmac
import secrets
from collections.abc import Iterable
from typing import Any, Protocol

from registry.mac import MacAddress
from simulators.device_config import DeviceConfig

SESSION_SECONDS = 300.0
"""An idle login ends after this (Settings.WEB_LOGIN_STATUS.SessionTimeOut)."""
MAX_SESSIONS = 16
MAX_FAILURES = 5
LOCKED_SECONDS = 30.0
"""After MAX_FAILURES wrong passwords in a row every login is refused for so long."""


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


class LoginRefused(Exception):
    """A wrong name or password, or too many of them; the text is for the page."""


class WebLogin:
    """The logins of one device's page, by token. `now` is monotonic seconds."""

    def __init__(self, device: DoorPhoneState) -> None:
        self._device = device
        self._sessions: dict[str, float] = {}
        self._failures = 0
        self._locked_until = 0.0

    def enter(self, user: str, password: str, now: float) -> str:
        """The token of a new login. Raises LoginRefused."""
        config = self._device.config
        if now < self._locked_until:
            raise LoginRefused("Too many attempts. Wait a moment and try again.")
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
            raise LoginRefused("User name or password is wrong.")
        self._failures = 0
        token = secrets.token_hex(16)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[token] = now
        return token

    def holds(self, token: str, now: float) -> bool:
        """Whether this login goes on; asking keeps it alive."""
        seen = self._sessions.get(token)
        if seen is None:
            return False
        if now > seen + SESSION_SECONDS:
            del self._sessions[token]
            return False
        self._sessions[token] = now
        return True

    def leave(self, token: str) -> None:
        """Log out."""
        self._sessions.pop(token, None)


def name_of(device: DoorPhoneState) -> str:
    """What a page calls the device that nobody has named on it."""
    account = device.config.account if device.config is not None else None
    return (account.display_name if account is not None else "") or "Door Phone"


def status_of(device: DoorPhoneState, name: str, uptime: float) -> dict[str, Any]:
    """What the pages show of the device."""
    config = device.config
    account = config.account if config is not None else None
    relays = config.relays if config is not None else ()
    return {
        "name": name,
        "model": device.model,
        "mac": device.mac.colons,
        "uptime": round(uptime, 1),
        "registered": device.registered,
        "account": account.username if account is not None else "",
        "display_name": account.display_name if account is not None else "",
        "server": f"{account.server}:{account.port}" if account is not None else "",
        "expires": f"{account.expires} s" if account is not None else "",
        "relays": [
            {"num": number, "name": relay.name, "hold": relay.hold_seconds, "open": device.is_open(number)}
            for number, relay in enumerate(relays, 1)
        ],
        "calls": list(device.recent_calls),
    }
