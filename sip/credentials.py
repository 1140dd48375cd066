"""Credentials and challenges of the Digest scheme, read (RFC 7616 3.4, RFC 3261 22.4)."""

import re
from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import BACKSLASH, LWS, TOKEN, unquote
from sip.message import Request

MD5: Final = b"MD5"

MAX_CREDENTIALS: Final = 4096
"""Octets of one Authorization value; real ones have 200 to 400."""
_NAMES: Final[dict[bytes, bytes]] = {
    name: name for name in b"username realm nonce uri response algorithm qop nc cnonce opaque stale domain".split(b" ")
}
_PARAMETER = re.compile(rb'[ \t]*([A-Za-z0-9.!%*_+`\'~-]+)[ \t]*=[ \t]*(?:("(?:[^"\\]|\\.)*+")|([^\s,"]++))[ \t]*(?:,|\Z)')


class Credentials:
    """An Authorization or Proxy-Authorization value of the Digest scheme. Absent parameters are b"".

    `algorithm` is in upper case (it is a token, so its case does not matter) and MD5 where absent (RFC 7616 3.3).
    """

    __slots__ = ("algorithm", "cnonce", "nc", "nonce", "qop", "realm", "response", "uri", "username")

    def __init__(self, params: dict[bytes, bytes]) -> None:
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
