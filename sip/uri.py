"""SIP and SIPS URIs (RFC 3261 19.1), with tel: recognised (RFC 3966).

`user_and_host` is the fast path that routing uses: it validates the parts it returns and looks at nothing else. `SipUri` is the
whole thing, for the few places that compare or build one.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from sip.errors import MalformedMessage
from sip.grammar import ALPHANUM, COLON, HOST, IPV6, PERCENT, QUESTION, SCHEME, SEMICOLON, URI, USERINFO, decimal

MAX_PORT: Final = 65535

# What nearly every Request-URI, From and To holds, read with one call; the exact rules below read the rest, and this the same.
_USUAL_URI = re.compile(
    rb"sip:(?:([A-Za-z0-9_.!~*'()&=+$,/#-]++)@)?([A-Za-z0-9._-]++)(?::([0-9]{1,5}))?(?:;[A-Za-z0-9_.!~*'();/:&=+$,%\[\]#-]*+)?"
).fullmatch
# The Request-URI of a REGISTER is the same for a whole fleet, and a dialog's URIs come again with each of its messages.
_known: Final[dict[bytes, tuple[bytes, bytes, int | None]]] = {}
_KNOWN_URIS: Final = 4096
_KNOWN_OCTETS: Final = 128
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_HEX = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_VISUAL_SEPARATORS = b"-.()"
_DIALLED = b"0123456789abcdefABCDEF*#+"
_UNRESERVED = ALPHANUM + b"-_.!~*'()"

# RFC 3261 19.1.4: these four (and transport, by its examples) never match a URI that lacks them; others may be absent in one.
_STRICT_PARAMETERS = (b"user", b"ttl", b"method", b"maddr", b"transport")


def scheme_of(uri: bytes) -> bytes:
    """The scheme in lower case; b"" when what stands there is none."""
    scheme, colon, _ = uri.partition(b":")
    if colon == b"" or scheme == b"" or scheme.translate(None, SCHEME) or not scheme[:1].isalpha():
        return b""
    return scheme.lower()


def split_host_port(text: bytes, reason: bytes) -> tuple[bytes, int | None]:
    """`hostport` -> (host in lower case, brackets kept; port or None). Raises `MalformedMessage` 400 with `reason`."""
    if text[:1] == b"[":
        host, bracket, rest = text.partition(b"]")
        if bracket == b"" or len(host) < 3 or host[1:].translate(None, IPV6) or (rest and rest[:1] != b":"):
            raise MalformedMessage(400, reason)
        host += bracket
        port_text = rest[1:]
        colon = rest
    else:
        host, colon, port_text = text.partition(b":")
        if host == b"" or host.translate(None, HOST):
            raise MalformedMessage(400, reason)
    if colon == b"":
        return host.lower(), None
    port = decimal(port_text, MAX_PORT)
    if port < 0:
        raise MalformedMessage(400, reason)
    return host.lower(), port


def unescape(text: bytes) -> bytes:
    """Resolve %HH. The result may hold any byte, NUL included (RFC 4475 3.1.1.4): look it up, never print it raw."""
    if PERCENT not in text:
        return text
    return _ESCAPE.sub(lambda found: bytes((int(found.group(1), 16),)), text)


def user_and_host(uri: bytes, reason: bytes = b"Malformed URI") -> tuple[bytes, bytes, int | None]:
    """(user with escapes resolved, host in lower case, port or None) of a sip, sips or tel URI.

    The user is b"" where the URI has none; a tel URI gives its number without visual separators, and host b"". Raises
    `MalformedMessage`: 416 for another scheme, 400 for a URI that breaks the grammar up to and including its port.
    """
    known = _known.get(uri)
    if known is not None:
        return known
    found = _USUAL_URI(uri)
    if found is not None:
        texts: tuple[bytes, ...] = found.groups(b"")
        user, host, port_text = texts[0], texts[1], texts[2]
        port = decimal(port_text, MAX_PORT) if port_text else None
        if port is None or port >= 0:
            read = (user, host.lower(), port)
            if len(uri) <= _KNOWN_OCTETS:
                if len(_known) >= _KNOWN_URIS:
                    _known.clear()
                _known[uri] = read
            return read
    return _exact_user_and_host(uri, reason)


def _exact_user_and_host(uri: bytes, reason: bytes) -> tuple[bytes, bytes, int | None]:
    if uri[:4] == b"sip:":
        rest = uri[4:]
    else:
        scheme = scheme_of(uri)
        if scheme == b"tel":
            return _telephone_number(uri[4:], reason), b"", None
        if scheme not in (b"sip", b"sips"):
            raise MalformedMessage(416 if scheme else 400, b"Unsupported URI Scheme" if scheme else reason)
        rest = uri[len(scheme) + 1 :]
    if rest.translate(None, URI):
        raise MalformedMessage(400, reason)
    userinfo, at, rest = rest.rpartition(b"@")
    if at:
        # ";" and "?" are legal in a user (RFC 4475 3.1.1.9), so only what follows the "@" is split at them.
        if userinfo == b"" or userinfo.translate(None, USERINFO) or (PERCENT in userinfo and _HEX.search(userinfo)):
            raise MalformedMessage(400, reason)
        if COLON in userinfo:
            userinfo = userinfo.partition(b":")[0]
        if PERCENT in userinfo:
            userinfo = unescape(userinfo)
    if SEMICOLON in rest:
        rest = rest.partition(b";")[0]
    if QUESTION in rest:
        rest = rest.partition(b"?")[0]
    host, port = split_host_port(rest, reason)
    return userinfo, host, port


def _telephone_number(text: bytes, reason: bytes) -> bytes:
    """`telephone-subscriber` of RFC 3966: "+" digits or local digits, visual separators dropped."""
    number = text.partition(b";")[0].translate(None, _VISUAL_SEPARATORS)
    if number == b"" or number.translate(None, _DIALLED) or number.rfind(b"+") > 0:
        raise MalformedMessage(400, reason)
    return number


@dataclass(frozen=True, slots=True)
class SipUri:
    """A sip or sips URI with escapes resolved. `params` and `headers` have lower-case names; a flag's value is ""."""

    scheme: str
    user: str
    host: str
    port: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    password: str = field(default="", repr=False)

    def to_bytes(self) -> bytes:
        """The URI on the wire, escaped where the grammar asks for it."""
        text = self.scheme.encode() + b":"
        if self.user:
            text += escape(self.user, b"&=+$,;?/")
            if self.password:
                text += b":" + escape(self.password, b"&=+$,")
            text += b"@"
        text += self.host.encode("ascii")
        if self.port is not None:
            text += b":%d" % self.port
        for name, value in self.params.items():
            text += b";" + escape(name, b"[]/:&+$") + (b"=" + escape(value, b"[]/:&+$") if value else b"")
        pairs = [escape(name, b"[]/?:+$") + b"=" + escape(value, b"[]/?:+$") for name, value in self.headers.items()]
        return text + (b"?" + b"&".join(pairs) if pairs else b"")


def escape(text: str, also: bytes) -> bytes:
    """%HH for every byte that is neither unreserved nor in `also`."""
    allowed = _UNRESERVED + also
    return b"".join(bytes((code,)) if code in allowed else b"%%%02X" % code for code in text.encode("utf-8", "surrogateescape"))


def parse_uri(uri: bytes, reason: bytes = b"Malformed URI") -> SipUri:
    """Parse a sip or sips URI whole. Raises `MalformedMessage` like `user_and_host`, also 416 for tel."""
    scheme = scheme_of(uri)
    if scheme not in (b"sip", b"sips"):
        raise MalformedMessage(416 if scheme else 400, b"Unsupported URI Scheme" if scheme else reason)
    user, host, port = user_and_host(uri, reason)
    userinfo, _, rest = uri[len(scheme) + 1 :].rpartition(b"@")
    rest, _, header_text = rest.partition(b"?")
    return SipUri(
        scheme=_text(scheme),
        user=_text(user),
        host=_text(host),
        port=port,
        params={_text(name): _text(unescape(value)) for name, value in _pairs(rest.split(b";")[1:], reason)},
        headers={_text(name): _text(unescape(value)) for name, value in _pairs(header_text.split(b"&"), reason)},
        password=_text(unescape(userinfo.partition(b":")[2])),
    )


def equivalent(left: bytes, right: bytes) -> bool:
    """Whether two URIs mean the same under RFC 3261 19.1.4. Other schemes are compared byte by byte.

    Raises `MalformedMessage` when one is a broken sip URI.
    """
    if left == right:
        return True
    if scheme_of(left) not in (b"sip", b"sips") or scheme_of(left) != scheme_of(right):
        return False
    one, other = _comparable(left), _comparable(right)
    if one[0] != other[0] or one[2] != other[2]:
        return False
    mine, theirs = one[1], other[1]
    if any(mine.get(name) != theirs.get(name) for name in _STRICT_PARAMETERS):
        return False
    return all(theirs.get(name, value) == value for name, value in mine.items())


def _comparable(uri: bytes) -> tuple[tuple[bytes, bytes, int | None], dict[bytes, bytes], dict[bytes, bytes]]:
    """((userinfo, host, port), parameters, headers) with the case and the escapes that do not matter taken out."""
    reason = b"Malformed URI"
    _, host, port = user_and_host(uri, reason)
    userinfo, _, rest = uri.partition(b":")[2].rpartition(b"@")
    rest, _, header_text = rest.partition(b"?")
    params = {name: _normal(value).lower() for name, value in _pairs(rest.split(b";")[1:], reason)}
    headers = {name: _normal(value) for name, value in _pairs(header_text.split(b"&"), reason)}
    return (_normal(userinfo), host, port), params, headers


def _normal(text: bytes) -> bytes:
    """Escapes of unreserved characters resolved, the others in upper case: "%61" is "a", but "%3b" is not ";"."""

    def one(found: "re.Match[bytes]") -> bytes:
        plain = bytes((int(found.group(1), 16),))
        return plain if plain in _UNRESERVED else found.group().upper()

    return _ESCAPE.sub(one, text) if PERCENT in text else text


def _pairs(parts: list[bytes], reason: bytes) -> list[tuple[bytes, bytes]]:
    """name[=value] parts with names in lower case; a name given twice or a missing name is malformed."""
    if parts == [b""]:
        return []
    pairs = [(name.lower(), value) for name, _, value in [part.partition(b"=") for part in parts]]
    names = {name for name, _ in pairs}
    if len(names) != len(pairs) or b"" in names:
        raise MalformedMessage(400, reason)
    return pairs


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
