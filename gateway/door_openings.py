"""Who is about to open which door: codes that were pressed in calls, and openings that were commanded. Pure: `now` comes in.

A device that reports an opening often knows neither who caused it nor in which call. Here is what the gateway has seen: the keys
that passed it on their way to a door (SIP INFO; RFC 4733 where the media relay reports them), and the commands it sent. `claim`
matches a report to one of these; what the gateway has seen counts more than what the device says.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from registry.door_log import Opening
from registry.mac import MacAddress
from registry.records import AccessMethod, Device

CALLS = 10_000
"""Calls whose keys are remembered, and as many codes and commands; the oldest are forgotten first."""
DIGITS = 16
"""Twice the keys of the longest code (installer's manual: 1 to 8)."""
SOON = 60.0
"""Seconds within which a report that names no call belongs to a code pressed at that door."""
LATE = 3600.0
"""Seconds within which a report that names its call does: the device's channel may have been down."""


class _Code(NamedTuple):
    """A relay's code was pressed whole."""

    mac: MacAddress
    relay: int
    call_id: str
    account: str
    at: float


class DoorOpenings:
    """`device_of(account)`: the door device of a SIP account as far as memory knows, else None."""

    def __init__(self, device_of: Callable[[str], Device | None]) -> None:
        self._device_of = device_of
        self._digits: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._codes: deque[_Code] = deque()
        self._commands: OrderedDict[tuple[MacAddress, str], Opening] = OrderedDict()

    def digit(self, call_id: str, account: str, door: str, digit: str, now: float) -> None:
        """`account` pressed a key in a call with `door` (both account names). By INFO, or as the media relay heard it."""
        device = self._device_of(door)
        if device is None:
            return
        pressed = (self._digits.get((call_id, account), "") + digit)[-DIGITS:]
        self._digits[(call_id, account)] = pressed
        self._digits.move_to_end((call_id, account))
        if len(self._digits) > CALLS:
            self._digits.popitem(last=False)
        relay = relay_of(device, pressed)
        if relay is not None:
            self._digits[(call_id, account)] = ""
            self._codes.append(_Code(device.mac, relay, call_id, account, now))
            self._forget(now)

    def commanded(self, mac: MacAddress, command: str, opening: Opening) -> None:
        """A command to open was sent; `command` is its id in hex."""
        self._commands[(mac, command)] = opening
        if len(self._commands) > CALLS:
            self._commands.popitem(last=False)

    def command(self, mac: MacAddress, command: str) -> Opening | None:
        """The command of this id, if this node has sent it to this device."""
        return self._commands.get((mac, command))

    def claim(self, mac: MacAddress, relay: int, call_id: str, now: float) -> Opening | None:
        """The code that this device's report of a DTMF opening is about. Each code is claimed once; the newest that fits."""
        for place in range(len(self._codes) - 1, -1, -1):
            code = self._codes[place]
            if code.mac != mac or code.relay != relay or (call_id and code.call_id != call_id):
                continue
            if now - code.at > (LATE if call_id else SOON):
                continue
            del self._codes[place]
            return Opening(AccessMethod.DTMF, code.account, code.call_id)
        return None

    def _forget(self, now: float) -> None:
        while len(self._codes) > CALLS or now - self._codes[0].at > LATE:
            self._codes.popleft()


def relay_of(device: Device, pressed: str) -> int | None:
    """The relay (from 1) whose code these keys end with, the longest code first; only where DTMF may trigger it.

    A phone that sends each key both by INFO and by RFC 4733 presses each twice.
    """
    fitting = [
        (len(relay.dtmf_code), -number)
        for number, relay in enumerate(device.relays, 1)
        if relay.dtmf_code
        and AccessMethod.DTMF in relay.access_methods
        and pressed.endswith((relay.dtmf_code, "".join(key * 2 for key in relay.dtmf_code)))
    ]
    return -max(fitting)[1] if fitting else None
