"""The Authorization header, read: a login by HTTP Digest (RFC 7616) or Basic (RFC 7617). What is malformed is no login."""

import binascii
import re
from dataclasses import dataclass, field

from registry.errors import MalformedMac
from registry.mac import MacAddress

MAX_VALUE = 4096
"""Octets of one header value; real ones have 200 to 400."""
_SCHEME = re.compile(rb"(digest|basic) +", re.IGNORECASE)
_PARAMETER = re.compile(rb'[ \t]*([A-Za-z0-9*_-]{1,32})[ \t]*=[ \t]*(?:"([^"\\]*)"|([^\s,"\\]+))[ \t]*(?:,|\Z)')
_COUNT = re.compile(rb"[0-9A-Fa-f]{8}")


@dataclass(frozen=True, slots=True)
class DigestLogin:
    """A response to a challenge of ours, or to somebody else's. `algorithm` is in upper case, `qop` and `response` in lower."""

    mac: MacAddress
    username: bytes
    realm: bytes
    nonce: bytes
    uri: bytes
    response: bytes = field(repr=False)
    algorithm: bytes
    qop: bytes
    nc: bytes
    cnonce: bytes

    @property
    def count(self) -> int:
        """The nonce count; 0 for none."""
        return int(self.nc, 16) if _COUNT.fullmatch(self.nc) else 0


@dataclass(frozen=True, slots=True)
class BasicLogin:
    """A user name and the password itself."""

    mac: MacAddress
    password: bytes = field(repr=False)


def read_login(value: bytes) -> DigestLogin | BasicLogin | None:
    """The login of one Authorization value. None for another scheme, what is malformed, and a user name that is no MAC."""
    scheme = _SCHEME.match(value) if len(value) <= MAX_VALUE else None
    if scheme is None:
        return None
    rest = value[scheme.end() :]
    return _digest(rest) if scheme[1].lower() == b"digest" else _basic(rest)


def _digest(text: bytes) -> DigestLogin | None:
    given: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None or found[1].lower() in given:
            return None
        given[found[1].lower()] = found[3] if found[2] is None else found[2]
        at = found.end()
    mac = _mac(given.get(b"username", b""))
    if mac is None:
        return None
    return DigestLogin(
        mac,
        given[b"username"],
        given.get(b"realm", b""),
        given.get(b"nonce", b""),
        given.get(b"uri", b""),
        given.get(b"response", b"").lower(),
        given.get(b"algorithm", b"MD5").upper(),  # RFC 7616 section 3.3
        given.get(b"qop", b"").lower(),
        given.get(b"nc", b""),
        given.get(b"cnonce", b""),
    )


def _basic(text: bytes) -> BasicLogin | None:
    try:
        name, colon, password = binascii.a2b_base64(text.strip(b" \t"), strict_mode=True).partition(b":")
    except binascii.Error:
        return None
    mac = _mac(name)
    return BasicLogin(mac, password) if mac is not None and colon else None


def _mac(name: bytes) -> MacAddress | None:
    try:
        return MacAddress.parse(name.decode("ascii"))
    except (UnicodeDecodeError, MalformedMac):
        return None
