"""Credentials and challenges of the Digest scheme, read (RFC 7616 3.4, RFC 3261 22.4).

A device writes its parameters in the same order each time, and there are few kinds of devices. So an order is remembered as a
pattern once it came with a right password (`remember_order`), and one call then reads all parameters written that way. What no
pattern matches is read parameter by parameter. Strangers teach nothing: to compile a pattern costs as much as twenty requests.
"""

import re
from collections.abc import Callable
from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import BACKSLASH, LWS, TOKEN, TOKEN_CLASS, unquote
from sip.message import Request

MD5: Final = b"MD5"

MAX_CREDENTIALS: Final = 4096
"""Octets of one Authorization value; real ones have 200 to 400."""
MAX_ORDERS: Final = 16
"""Orders remembered; later ones are read the slower way."""

_orders: Final[list[tuple[tuple[bytes, ...], Callable[[bytes], "re.Match[bytes] | None"]]]] = []
_NAMES: Final[dict[bytes, bytes]] = {
    name: name for name in b"username realm nonce uri response algorithm qop nc cnonce opaque stale domain".split(b" ")
}
_PARAMETER = re.compile(rb'[ \t]*([A-Za-z0-9.!%*_+`\'~-]+)[ \t]*=[ \t]*(?:("(?:[^"\\]|\\.)*+")|([^\s,"]++))[ \t]*(?:,|\Z)')


class Credentials:
    """An Authorization or Proxy-Authorization value of the Digest scheme. Absent parameters are b"".

    `algorithm` is in upper case (it is a token, so its case does not matter) and MD5 where absent (RFC 7616 3.3).
    `in_known_order`: an order that `remember_order` was told read them.
    """

    __slots__ = ("algorithm", "cnonce", "in_known_order", "nc", "nonce", "qop", "realm", "response", "uri", "username")

    def __init__(self, params: dict[bytes, bytes], *, in_known_order: bool = False) -> None:
        self.in_known_order = in_known_order
        self.username = params.get(b"username", b"")
        self.realm = params.get(b"realm", b"")
        self.nonce = params.get(b"nonce", b"")
        self.uri = params.get(b"uri", b"")
        self.response = params.get(b"response", b"")
        self.algorithm = params.get(b"algorithm", MD5).upper()
        self.qop = params.get(b"qop", b"").lower()
        self.nc = params.get(b"nc", b"")
        self.cnonce = params.get(b"cnonce", b"")

    def __repr__(self) -> str:
        return f"<Credentials {self.algorithm!r}>"


def parameters(value: bytes, reason: bytes) -> dict[bytes, bytes]:
    """`Digest name=value, ...` -> lower-case names and unquoted values; empty for another scheme (RFC 4475 3.3.7)."""
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() != b"digest":
        return {}
    if len(rest) > MAX_CREDENTIALS:
        raise MalformedMessage(400, reason)
    return _plain_parameters(rest) or _exact_parameters(rest, reason)


def remember_order(value: bytes) -> None:
    """Read parameters that are written as in this value with one call from now on. It came with a right password."""
    rest = value[7:]
    if len(_orders) >= MAX_ORDERS or value[:7] != b"Digest " or not _plain_parameters(rest):
        return
    names: list[bytes] = []
    pattern: list[bytes] = []
    for part in rest.split(b","):
        name, _, text = part.lstrip(b" ").partition(b"=")
        names.append(name)
        blank = b" " if part[:1] == b" " else b""
        pattern.append(blank + name + (b'="([^"\\\\]*+)"' if text[:1] == b'"' else b"=(%b++)" % TOKEN_CLASS))
    _orders.append((tuple(names), re.compile(b",".join(pattern)).fullmatch))


def _ordered_parameters(rest: bytes) -> dict[bytes, bytes]:
    """The parameters in a remembered order, which is then looked for first; empty where none matches."""
    for at, (names, match) in enumerate(_orders):
        found = match(rest)
        if found is not None:
            if at:
                _orders.insert(0, _orders.pop(at))
            return dict(zip(names, found.groups(), strict=True))
    return {}


def _plain_parameters(rest: bytes) -> dict[bytes, bytes]:
    """The parameters where a comma is always a separator and every name is a usual one; empty to say: use `_exact_parameters`.

    A quoted value must stand whole between two commas, which with the count of all quotes proves that no quote hides a comma.
    """
    params: dict[bytes, bytes] = {}
    parts = rest.split(b",")
    quotes = 0
    for part in parts:
        if part[:1] == b" ":
            part = part[1:]
        at = part.find(b"=")
        name = _NAMES.get(part[: max(at, 0)])
        if name is None:
            return {}
        value = part[at + 1 :]
        if value[:1] == b'"':
            if len(value) < 2 or value[-1:] != b'"':
                return {}
            quotes += 2
            value = value[1:-1]
        elif value == b"" or value.strip(TOKEN):
            return {}
        params[name] = value
    return params if len(params) == len(parts) and rest.count(b'"') == quotes and BACKSLASH not in rest else {}


def _exact_parameters(rest: bytes, reason: bytes) -> dict[bytes, bytes]:
    """The parameters by the grammar: quotes protect commas, names may be any token."""
    params: dict[bytes, bytes] = {}
    at = 0
    count = 0
    while at < len(rest):
        found = _PARAMETER.match(rest, at)
        if found is None:
            if rest[at:].strip(LWS + b",") == b"":
                break
            raise MalformedMessage(400, reason)
        name, quoted, plain = found.groups()
        params[name.lower()] = unquote(quoted) if quoted is not None else plain
        count += 1
        at = found.end()
    if count != len(params) or count == 0:
        raise MalformedMessage(400, reason)
    return params


def parse_credentials(value: bytes) -> Credentials | None:
    """The credentials of one header value; None for a scheme other than Digest. Raises `MalformedMessage` 400."""
    if value[:7] == b"Digest " and len(value) <= MAX_CREDENTIALS:
        ordered = _ordered_parameters(value[7:])
        if ordered:
            return Credentials(ordered, in_known_order=True)
    params = parameters(value, b"Malformed Authorization")
    return Credentials(params) if params else None


def find_credentials(request: Request, header: bytes, realm: bytes) -> Credentials | None:
    """The Digest credentials for our realm among all that a request carries in `header` (RFC 3261 22.3), or None.

    `header` is b"authorization" or b"proxy-authorization". Raises `MalformedMessage` 400 when one of them is malformed.
    """
    if not request.has(header):
        return None
    for value in request.all(header):
        credentials = parse_credentials(value)
        if credentials is not None and credentials.realm == realm:
            return credentials
    return None
