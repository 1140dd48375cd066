"""Keys pressed, in SIP INFO: reading them, and writing them in the form that a door phone takes.

No RFC describes these bodies. `application/dtmf-relay` is `Signal=5` and `Duration=160` on lines of their own; `application/dtmf`
is the key alone. Some phones write the event numbers of RFC 4733 (10 and 11 for * and #, 12 to 15 for A to D) for the key.
A key that was sent as RFC 4733 in the media never comes here; who sees the media reports it (gateway/door_openings.py).
"""

import re
from typing import Final

RELAY: Final = b"application/dtmf-relay"
PLAIN: Final = b"application/dtmf"
KEYS: Final = "0123456789*#ABCD"
DURATION_MS: Final = 160
"""What is written where the sender named no duration."""
_LONGEST: Final = 256
_EVENTS: Final = {b"10": "*", b"11": "#", b"12": "A", b"13": "B", b"14": "C", b"15": "D"}
_LINE = re.compile(rb"(Signal|Duration)[ \t]*=[ \t]*([0-9*#A-D]{1,5})[ \t]*", re.IGNORECASE).fullmatch


class Pressed:
    """One key, and how long it was held (milliseconds, 1 to 5000)."""

    __slots__ = ("key", "milliseconds")

    def __init__(self, key: str, milliseconds: int = DURATION_MS) -> None:
        self.key = key
        self.milliseconds = milliseconds


def reports_keys(content_type: bytes) -> bool:
    """Whether a body of this type says that a key was pressed, in whatever form: those we read, and those we do not."""
    name = media_type(content_type)
    return b"dtmf" in name or b"telephone-event" in name


def media_type(content_type: bytes) -> bytes:
    """The type without its parameters, in lower case."""
    return content_type.split(b";", 1)[0].strip(b" \t").lower()


def pressed(content_type: bytes, body: bytes) -> Pressed | None:
    """The one key that an INFO body reports; None where it is of no form known here, or broken, or says two things at once."""
    name = media_type(content_type)
    if len(body) > _LONGEST:
        return None
    if name == PLAIN:
        key = _key(body.strip(b" \t\r\n"))
        return Pressed(key) if key else None
    return _relayed(body) if name == RELAY else None


def body_of(key: Pressed, form: bytes) -> bytes:
    """The body of type `form` (RELAY or PLAIN) for this key."""
    if form == PLAIN:
        return key.key.encode("ascii")
    return b"Signal=%b\r\nDuration=%d\r\n" % (key.key.encode("ascii"), key.milliseconds)


def _relayed(body: bytes) -> Pressed | None:
    found: dict[bytes, bytes] = {}
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        if not line.strip(b" \t"):
            continue
        match = _LINE(line)
        if match is None:
            return None
        name = match.group(1).lower()
        if name in found:
            return None
        found[name] = match.group(2)
    key = _key(found.get(b"signal", b""))
    if not key:
        return None
    duration = found.get(b"duration", b"")
    if not duration.isdigit():
        return None if duration else Pressed(key)
    return Pressed(key, min(max(int(duration), 1), 5000))


def _key(text: bytes) -> str:
    """The key that `text` names, "" for none."""
    event = _EVENTS.get(text)
    if event is not None:
        return event
    one = text.decode("ascii", "replace").upper()
    return one if len(one) == 1 and one in KEYS else ""
