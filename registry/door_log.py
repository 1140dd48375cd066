"""How door log entries come to be: the methods they may name, and an entry for each thing that is logged. Pure.

One opening is one entry, whoever tells of it first: an opening that was commanded has the command's id as its `event_id`, whether
the command's result is written or the device's own report. `opened` entries are made only of what the device itself said.
"""

from typing import NamedTuple

from registry.logs import CallRecord, DoorEvent, time_key
from registry.records import AccessMethod, Device

OTHER = "other"
"""The method of an opening for which the device has a word of its own; the word stands in `detail`."""
CALL = "call"
"""The method of an entry that says: somebody called and was not let in."""
COMMAND = "command"
"""The method of an opening that an operator ordered."""
METHODS = frozenset((*[method.value for method in AccessMethod], "exit-button", "web", COMMAND))
"""What opens doors: the access methods, the button inside, the device's own web page, an operator."""
_CLOCKS_DIFFER = 10.0
"""Seconds by which a device's own time must be off the gateway's to be written down."""


class Opening(NamedTuple):
    """What the gateway knows of an opening: how (one of METHODS), by which account or operator, in which call ("" for none)."""

    method: str
    by: str
    call_id: str


def commanded_entry(device: Device, relay: int, command: str, opening: Opening, *, wall: float, serial: int) -> DoorEvent:
    """The entry of a commanded opening that the device has confirmed. `command` is the id of the command in hex."""
    return DoorEvent(
        id=time_key(wall, serial),
        site=device.site,
        mac=device.mac,
        event_id=command_event(command),
        at=wall,
        relay=relay,
        method=str(opening.method),
        opened=True,
        by=opening.by,
        call_id=opening.call_id,
    )


def command_event(command: str) -> str:
    """The `event_id` of the opening that this command caused."""
    return f"command:{command}"


def unopened_entry(device: Device, call: CallRecord, *, serial: int) -> DoorEvent:
    """The entry of a call from this door in which it was not opened. `detail` is how the call ended."""
    ended = call.started + call.ring_seconds + call.talk_seconds
    return DoorEvent(
        id=time_key(ended, serial),
        site=device.site,
        mac=device.mac,
        event_id=f"call:{call.id}",
        at=ended,
        relay=0,
        method=CALL,
        opened=False,
        by=call.answered_by,
        call_id=call.call_id,
        detail=f"called {call.dialled}: {call.result.value}",
    )


def known_method(word: str) -> tuple[str, str]:
    """The method to store for a device's word, and what `detail` says of it."""
    if word in METHODS:
        return word, ""
    return OTHER, f"method {word}" if word else ""


def clock_note(wall: float, device_time: float) -> str:
    """What `detail` says where the device's time of the event is not about the gateway's time of the report."""
    off = wall - device_time
    return "" if abs(off) <= _CLOCKS_DIFFER else f"by the device's clock {abs(off):.0f} s {'earlier' if off > 0 else 'later'}"
