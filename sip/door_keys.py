"""Keys on their way to a door phone, inside a dialog with it: which pass, in which form, and who is told.

A relay that DTMF may not trigger (its access methods say so) stays shut whatever is pressed: the key that would complete its
code gets 403 and does not reach the door. The digits of a call are remembered as passed, so a code cannot be pressed in parts;
and since a door may have refused one of them, a code counts as pressed where its keys stand in the digits in order, with others
between. So where the codes of two relays nest, the forbidden one wins.

What is known here is this call's INFOs. Keys in the media (RFC 4733) are not ours to stop: the device's own configuration leaves
such a relay's code out (autop/render.py).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from sip.directory import UNKNOWN, DoorDirectory, DoorFacts, DoorQuestion
from sip.dtmf import body_of, media_type, pressed, reports_keys
from sip.events import KeyPressed, Output
from sip.message import Request
from sip.outbound import Hop

PASS: Final = 0
CALLS: Final = 20_000
"""Dialogs whose digits are remembered; the one that was quiet longest is forgotten first."""
DIGITS: Final = 64


class DoorKeys:
    """Looks at every INFO inside a dialog. `doors` None: there are no doors, all pass."""

    def __init__(self, doors: DoorDirectory | None, emit: Callable[[Output], None], *, limit: int = CALLS) -> None:
        self._doors = doors
        self._emit = emit
        self._limit = limit
        self._passed: OrderedDict[tuple[bytes, str], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._passed)

    def check(self, request: Request, hop: Hop) -> int | DoorQuestion:
        """PASS, the status to refuse it with (403 forbidden, 415 no readable key), or what must be known first.

        An INFO that passes has been given the form its door phone takes.
        """
        kind = request.get(b"content-type") or b""
        if self._doors is None or not (kind or request.body):
            return PASS
        door = self._doors.door(hop.user)
        if door is UNKNOWN:
            return DoorQuestion(hop.user)
        if not isinstance(door, DoorFacts):
            return PASS
        if request.count(b"content-type") != 1 or media_type(kind).startswith(b"multipart/"):
            return 415  # a key could stand where we do not look and the door does
        if not reports_keys(kind):
            return PASS
        key = pressed(kind, request.body)
        if key is None:
            return 415
        digits = self._passed.get((request.call_id, hop.sender), "") + key.key
        for code, may in door.codes:
            if not may and completes(code, digits):
                return 403
        request.replace(b"content-type", door.info_form)
        request.body = body_of(key, door.info_form)
        return PASS

    def passed(self, request: Request, hop: Hop) -> None:
        """The INFO that `check` let pass is on its way to the door."""
        kind = request.get(b"content-type") or b""
        if self._doors is None or not reports_keys(kind) or not isinstance(self._doors.door(hop.user), DoorFacts):
            return
        key = pressed(kind, request.body)
        if key is None:
            return
        call = (request.call_id, hop.sender)
        self._passed[call] = (self._passed.get(call, "") + key.key)[-DIGITS:]
        self._passed.move_to_end(call)
        if len(self._passed) > self._limit:
            self._passed.popitem(last=False)
        self._emit(KeyPressed(request.call_id.decode("utf-8", "replace"), hop.sender, hop.user, key.key))

    def over(self, call_id: bytes, one: str, other: str) -> None:
        """The call is over."""
        self._passed.pop((call_id, one), None)
        self._passed.pop((call_id, other), None)


def completes(code: str, digits: str) -> bool:
    """Whether the last of `digits` is the last key of `code`, and the others come before it in order."""
    if not code or not digits or digits[-1] != code[-1]:
        return False
    at = 0
    for digit in digits[:-1]:
        if at < len(code) - 1 and digit == code[at]:
            at += 1
    return at == len(code) - 1
