"""DTMF in SIP INFO, `application/dtmf-relay`, as door phones and monitors send it: one key per INFO (`Signal=#`, `Duration=160`).

There is no RFC of this body; the form is the one that Akuvox, Cisco and baresip share. Spaces round `=` are accepted.
"""

import re

CONTENT_TYPE = b"application/dtmf-relay"
DURATION_MS = 160
KEYS = "0123456789*#ABCD"

_SIGNAL = re.compile(rb"Signal[ \t]*=[ \t]*([0-9*#A-D])[ \t]*(?:\r?\n|\Z)", re.IGNORECASE)


def relay_body(key: str) -> bytes:
    """The body that says `key` was pressed. Raises ValueError unless it is one of KEYS."""
    if len(key) != 1 or key not in KEYS:
        raise ValueError(f"not a DTMF key: {key!r}")
    return f"Signal={key}\r\nDuration={DURATION_MS}\r\n".encode("ascii")


def pressed_key(content_type: bytes | None, body: bytes) -> str | None:
    """The key an INFO reports, or None if it is not a DTMF relay body."""
    if content_type is None or content_type.split(b";", 1)[0].strip(b" \t").lower() != CONTENT_TYPE:
        return None
    found = _SIGNAL.match(body)
    return found[1].decode("ascii").upper() if found else None
