"""Push parameters (RFC 8599): what an app's Contact says of how to wake it, and what becomes of it when the app registers.

They stand in the Contact URI: `<sip:app@host;pn-provider=fcm;pn-param=project;pn-prid=token>`. They outlive the binding, for the
app sleeps; they end when the app takes that contact back, registers it without them, or the push service calls them dead.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sip.directory import PushParameters
from sip.errors import MalformedMessage
from sip.uri import unescape

MAX_APPS: Final = 10
"""Apps of one account that can be woken; the oldest makes room for a new one."""
MAX_PROVIDER: Final = 32
MAX_PRID: Final = 2048
MAX_PARAM: Final = 256
REFRESH_BEFORE: Final = 120
"""+sip.pnsreg: seconds before the end of its registration at which an app that can wake up by itself is to refresh it."""

_PREFIX: Final = b"pn-"
_MALFORMED: Final = b"Malformed Push Parameters"


class Asked(NamedTuple):
    """What a Contact URI asks for. `provider` "" with `present` is the question which providers there are (4.1.3)."""

    present: bool
    provider: str
    prid: str
    param: str


class PushChange(NamedTuple):
    """What one Contact of a REGISTER does to its account's push parameters.

    The app with this `instance` (or, without one, this `prid`) has `parameters` from now on, or none. `everything`: all apps
    of the account have none.
    """

    instance: str
    prid: str
    parameters: PushParameters | None
    everything: bool = False

    def __repr__(self) -> str:
        return f"PushChange(kept={self.parameters is not None})"


def asked(uri: bytes) -> Asked:
    """The push parameters in a Contact URI. Raises MalformedMessage 400 for what is too long, not printable or given twice."""
    provider, prid, param = "", "", ""
    present = False
    seen: set[bytes] = set()
    for part in uri.rpartition(b"@")[2].partition(b"?")[0].split(b";")[1:]:
        name, _, value = part.partition(b"=")
        name = name.lower()
        if not name.startswith(_PREFIX):
            continue
        if name in seen:
            raise MalformedMessage(400, _MALFORMED)
        seen.add(name)
        if name == b"pn-provider":
            present = True
            provider = _opaque(value, MAX_PROVIDER).lower()
        elif name == b"pn-prid":
            prid = _opaque(value, MAX_PRID)
        elif name == b"pn-param":
            param = _opaque(value, MAX_PARAM)
    return Asked(present, provider, prid, param)


def _opaque(value: bytes, most: int) -> str:
    """Printable ASCII without blanks, escapes resolved."""
    text = unescape(value)
    if len(text) > most or any(code <= 32 or code >= 127 for code in text):
        raise MalformedMessage(400, _MALFORMED)
    return text.decode("ascii")


def prid_of(uri: bytes) -> str:
    """The PRID in the URI of a binding; "" where there is none: a binding from before a restart has lost it."""
    try:
        return asked(uri).prid
    except MalformedMessage:
        return ""


def without_push(uri: bytes) -> bytes:
    """The URI without its push parameters; it is equivalent (RFC 3261 19.1.4: a parameter may be absent in one)."""
    if b";pn-" not in uri.lower():
        return uri
    before, at, rest = uri.rpartition(b"@")
    rest, question, headers = rest.partition(b"?")
    parts = rest.split(b";")
    kept = [part for part in parts[1:] if not part.lower().startswith(_PREFIX)]
    return before + at + b";".join(parts[:1] + kept) + question + headers


def applied(present: Sequence[PushParameters], change: PushChange) -> tuple[PushParameters, ...]:
    """The account's push parameters after a change, oldest first; one per instance, one per PRID, at most MAX_APPS."""
    if change.everything:
        return ()
    new = change.parameters
    if new is not None and new in present:
        return tuple(present)
    kept = [one for one in present if not _is_of(one, change)]
    if new is not None:
        kept.append(new)
    return tuple(kept[-MAX_APPS:])


def _is_of(one: PushParameters, change: PushChange) -> bool:
    """Whether these are the parameters of the app that the change is about."""
    if change.instance and one.instance == change.instance:
        return True
    return bool(change.prid) and one.prid == change.prid
