"""The ways by which a command goes to a device, best first: its channel or its site's connector, then SIP NOTIFY.

What comes back is what the device said. Over SIP that is only that it took the NOTIFY.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from autop.catalogue import model
from autop.errors import UnknownModel
from registry.command_states import FETCHES, Event, may_go
from registry.commands import MAX_LOG, Command, CommandName, CommandWay
from registry.door_log import COMMAND
from registry.mac import MacAddress
from registry.records import Device
from tunnel.errors import LinkDown
from tunnel.messages import Result

QUICK = frozenset((CommandName.OPEN_RELAY, CommandName.LOCKDOWN))
QUICK_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""Seconds a device has for its answer to one CALL, by what it is asked."""
CONNECTOR_CALLS = frozenset((CommandName.REBOOT, CommandName.RESET, CommandName.OPEN_RELAY))
"""What the local API of real devices has a call for (akuvox-devices.md section 6)."""
NOTICES: Mapping[CommandName, str] = {
    CommandName.REBOOT: "check-sync;reboot=true",
    **dict.fromkeys(FETCHES, "check-sync"),
}
"""Event headers. `reboot=true` is a custom of SIP phones; no source says which of these devices keep it."""
INTERRUPTED = "interrupted"
MAYBE = "it may or may not have been done"
_LONGEST_WORD = 64
_NEVER_SENT = frozenset((480, 503))
_UNANSWERED = frozenset((408, 430))


class Said(NamedTuple):
    """What became of one attempt: the event, the device's word, and a log where one was asked for."""

    event: Event
    word: str = ""
    log: bytes = b""


class Reached(Protocol):
    """A way to call a device: its channel, or a connector beside it."""

    @property
    def way(self) -> str:
        """A CommandWay: "channel" or "connector"."""
        ...

    async def call(self, name: str, body: Mapping[str, Any], deadline: float, call_id: bytes = b"") -> Result:
        """As `DeviceLink.call`: raises LinkDown and TimeoutError, and then the device may or may not have done it."""
        ...


class Way(Protocol):
    """One attempt to send one command."""

    kind: CommandWay

    async def send(self, command: Command, device: Device, seconds: float) -> Said | None:
        """Send it, to be done within `seconds`; None where no answer came. Raises nothing."""
        ...


Reach = Callable[[MacAddress], Reached | None]
Notify = Callable[[str, str], Awaitable[int]]
"""`SipService.notify`."""


class CommandWays:
    """`registered(account)`: whether the SIP account has a binding at this node."""

    def __init__(self, reach: Reach, notify: Notify, registered: Callable[[str], bool]) -> None:
        self._reach = reach
        self._notify = notify
        self._registered = registered

    def best(self, command: Command, device: Device) -> Way | None:
        """The way this command may go now, None if there is none."""
        reached = self._reach(device.mac)
        if reached is not None:
            kind = CommandWay(reached.way)
            knows = kind is CommandWay.CHANNEL or command.name in CONNECTOR_CALLS
            if knows and may_go(command, kind):
                return _Calls(reached, kind)
        event = NOTICES.get(command.name)
        if event and knows_check_sync(device) and self._registered(device.account) and may_go(command, CommandWay.SIP):
            return _Notices(self._notify, event)
        return None


def knows_check_sync(device: Device) -> bool:
    """Whether the catalogue says that the device's model obeys NOTIFY check-sync."""
    try:
        return model(device.model).check_sync
    except UnknownModel:
        return False


class _Calls:
    def __init__(self, reached: Reached, kind: CommandWay) -> None:
        self._reached = reached
        self.kind = kind

    async def send(self, command: Command, device: Device, seconds: float) -> Said | None:
        try:
            if command.name is CommandName.COLLECT_LOG:
                return await self._log(command, seconds)
            return _said(command, await self._call(command, _body(command), seconds, command.call_id))
        except (LinkDown, TimeoutError):
            return None

    async def _call(self, command: Command, body: Mapping[str, Any], seconds: float, call_id: bytes) -> Result:
        name = CommandName.PROVISION if command.name in FETCHES else command.name
        most = QUICK_SECONDS if command.name in QUICK else ANSWER_SECONDS
        return await self._reached.call(name.value, body, min(seconds, most), call_id)

    async def _log(self, command: Command, seconds: float) -> Said:
        """Piece by piece, each a CALL of its own: a RESULT holds at most 4,096 bytes of text."""
        text = b""
        while True:
            call_id = hashlib.sha256(command.call_id + b"%d" % len(text)).digest()[:16] if text else command.call_id
            result = await self._call(command, {"offset": len(text)}, seconds, call_id)
            piece, more = result.body.get("text"), result.body.get("more")
            if not result.ok:
                return Said(Event.REFUSED, _word(result))
            if not isinstance(piece, bytes) or not isinstance(more, bool) or (more and not piece):
                return Said(Event.REFUSED, "a malformed answer")
            text += piece
            if not more or len(text) >= MAX_LOG:
                text = text[:MAX_LOG]
                return Said(Event.DONE, f"{len(text)} bytes{', and there was more' if more else ''}", text)


class _Notices:
    kind = CommandWay.SIP

    def __init__(self, notify: Notify, event: str) -> None:
        self._notify = notify
        self._event = event

    async def send(self, command: Command, device: Device, seconds: float) -> Said | None:
        status = await self._notify(device.account, self._event)
        if status in _NEVER_SENT:
            return Said(Event.NOT_SENT)
        if status in _UNANSWERED:
            return None
        if status < 300:
            return Said(Event.ACCEPTED, f"the device answered {status}")
        return Said(Event.REFUSED, f"the device answered {status}")


def _body(command: Command) -> dict[str, Any]:
    if command.name is CommandName.OPEN_RELAY:
        body = {"relay": command.relay, "method": COMMAND, "by": command.created_by[:128], "call_id": "", "command": command.id}
        return dict(body)
    return {"on": command.on} if command.name is CommandName.LOCKDOWN else {}


def _said(command: Command, result: Result) -> Said:
    """What the device said. Of an opening, `ok` alone is none: it must say `opened`."""
    if result.ok and (command.name is not CommandName.OPEN_RELAY or result.body.get("opened") is True):
        return Said(Event.DONE, "opened" if command.name is CommandName.OPEN_RELAY else "done")
    word = _word(result)
    return Said(Event.REFUSED, f"{word}: {MAYBE}" if word == INTERRUPTED else word)


def _word(result: Result) -> str:
    word = result.body.get("error", "")
    return word[:_LONGEST_WORD] if isinstance(word, str) and word.isascii() and word.isprintable() else ""
