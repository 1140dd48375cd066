"""What Remote Control changes in the HTTP that passes between a visitor's browser and a device: as little as works.

Pure functions on header lists (names in the sender's own spelling). Path, query, bodies and `Authorization` pass byte for
byte, as Digest logins and firmware depend on them.
"""

import re
from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]

COOKIE = b"__Host-portico"
"""The gateway's own cookie: the browser guarantees Secure, Path=/ and no Domain for its prefix."""

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade "
    b"proxy-authorization proxy-authenticate http2-settings".split()
)
FORWARDING = frozenset((b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"))
BROWSER_STATE = frozenset(
    (b"strict-transport-security", b"alt-svc", b"public-key-pins", b"clear-site-data", b"expect-ct", b"nel", b"report-to")
)
"""What a device must not tell the browser about an origin that is ours."""
MAX_EXPIRED = 50
TO_HTTP, TO_HTTPS = b"/.portico/http", b"/.portico/https"
"""Paths of ours: what follows them is a path of the device's page over that scheme."""
SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS"))
REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE", b"TRACK"))
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*):")
_AUTHORITY = re.compile(rb"[/\\]{2}([^/\\?#]*)(.*)", re.DOTALL)
_REFRESH = re.compile(rb"([ \t]*[0-9.]*[ \t]*[;,][ \t]*url[ \t]*=[ \t]*[\"']?)([^\"']*)([\"']?.*)", re.IGNORECASE | re.DOTALL)
_BLANKS = bytes(range(33))
_TOKEN = re.compile(rb"[^\s;,]+")


@dataclass(frozen=True, slots=True)
class Origins:
    """The two names of one page: what the browser calls it and what the device calls itself."""

    session: bytes
    """Origin of the session, for example b"https://<id>.remote.localhost:9443"."""
    device: bytes
    """Authority of the device's page, for example b"192.168.1.20" or b"127.0.0.1:8080"."""
    tls: bool = False
    """Whether the device's page is the one it serves over TLS."""
    shared_host: bool = False
    """Whether sessions differ by their port only: browsers then show every cookie of the host to each of them."""

    @property
    def other_scheme(self) -> bytes:
        """What a link to the device's page over its other scheme begins with: the session moves there when it is followed."""
        return self.session + (TO_HTTP if self.tls else TO_HTTPS)

    @property
    def device_origin(self) -> bytes:
        return (b"https://" if self.tls else b"http://") + self.device

    @property
    def session_authority(self) -> bytes:
        return self.session.partition(b"//")[2]


@dataclass(frozen=True, slots=True)
class LeavesDevice:
    """A redirect that does not stay on the device's page: `target` as the device wrote it.

    `own`: it goes to the same device's page over its other scheme (http to https, or back), which is this URL of the session.
    """

    target: bytes
    own: bytes | None = None


# ---- requests -----------------------------------------------------------------------------------------------


def request_fault(method: bytes, target: bytes, headers: Headers) -> str | None:
    """Why a request must not be passed on at all, in a word for the counter; None if it may.

    Both lengths in one message is how requests are smuggled (RFC 9112 section 6.1): refused, never repaired.
    """
    names = [name.lower() for name, _ in headers]
    if method.upper() in REFUSED_METHODS:
        return "method"
    if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
        return "target"
    if b"transfer-encoding" in names and b"content-length" in names:
        return "two-lengths"
    if any(name.lower() == b"transfer-encoding" and value.strip(b" \t").lower() != b"chunked" for name, value in headers):
        return "transfer-coding"
    if names.count(b"host") != 1:
        return "host"
    return None


def is_websocket(headers: Headers) -> bool:
    """Whether the request asks to become a WebSocket (RFC 6455 section 4.1)."""
    return any(name.lower() == b"upgrade" and value.strip().lower() == b"websocket" for name, value in headers)


def is_foreign(method: bytes, headers: Headers, session: bytes) -> bool:
    """Whether another site's page made the browser send this.

    SameSite=Lax keeps the cookie from other sites, but sessions of other devices are the same site, and a device's page may be
    hostile. So: what changes something, and every WebSocket, must name this origin; the rest may come from elsewhere
    only as a navigation of the whole window.
    """
    values = {name.lower(): value for name, value in headers}
    origin, site = values.get(b"origin"), values.get(b"sec-fetch-site")
    if is_websocket(headers):
        return origin != session
    if site in (b"same-site", b"cross-site"):
        navigates = values.get(b"sec-fetch-mode") == b"navigate" and values.get(b"sec-fetch-dest") == b"document"
        return method not in SAFE_METHODS or not navigates
    if method in SAFE_METHODS or origin is None or site == b"same-origin":
        return False
    return origin != session


def is_navigation(headers: Headers) -> bool:
    """Whether a window of the browser goes there, as far as the browser says: no script, no frame, no prefetch.

    One-time links are spent by nothing else.
    """
    values = {name.lower(): value for name, value in headers}
    if b"sec-purpose" in values or b"purpose" in values or b"x-moz" in values:
        return False
    return values.get(b"sec-fetch-mode", b"navigate") == b"navigate" and values.get(b"sec-fetch-dest", b"document") == b"document"


def cookie_of(headers: Headers) -> str | None:
    """The gateway's cookie; None if it is absent, not ASCII or there twice."""
    found = [
        pair.strip(b" \t")[len(COOKIE) + 1 :]
        for name, value in headers
        if name.lower() == b"cookie"
        for pair in value.split(b";")
        if pair.strip(b" \t").startswith(COOKIE + b"=")
    ]
    return found[0].decode("ascii") if len(found) == 1 and found[0].isascii() else None


def wants_page(headers: Headers) -> bool:
    """Whether the browser asks for a page, and not for something that a page needs: links in pages are looked at."""
    return any(name.lower() == b"accept" and b"text/html" in value.lower() for name, value in headers)


def to_device(headers: Headers, origins: Origins) -> Headers:
    """A visitor's request headers as the device shall see them. Pages are asked for in plain: compression hides their links."""
    dropped = _named_in_connection(headers)
    if wants_page(headers):
        dropped |= {b"accept-encoding"}
    kept: Headers = [(b"Host", origins.device)]
    for name, value in headers:
        lower = name.lower()
        if lower == b"host" or lower in HOP_BY_HOP or lower in dropped or _is_forwarding(lower):
            continue
        if lower == b"cookie":
            value = _without_own_cookie(value)
            if not value:
                continue
        elif lower == b"origin" and value == origins.session:
            value = origins.device_origin
        elif lower == b"referer" and (value + b"/").startswith(origins.session + b"/"):
            value = origins.device_origin + value[len(origins.session) :]
        kept.append((name, value))
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):
        kept.append((b"Transfer-Encoding", b"chunked"))  # the only coding a request may have here; framed anew by h11
    if is_websocket(headers):
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return kept


def _named_in_connection(headers: Headers) -> set[bytes]:
    return {
        token.strip(b" \t").lower() for name, value in headers if name.lower() == b"connection" for token in value.split(b",")
    } - {b"content-length", b"host", b"cookie", b"set-cookie", b"content-type"}


def _is_forwarding(lower: bytes) -> bool:
    return lower in FORWARDING or lower.startswith(b"x-forwarded-")


def _without_own_cookie(value: bytes) -> bytes:
    pairs = [pair.strip(b" \t") for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if pair and not pair.lower().startswith(COOKIE.lower()))


# ---- responses ----------------------------------------------------------------------------------------------


def to_visitor(headers: Headers, origins: Origins) -> Headers | LeavesDevice:
    """A device's response headers as the browser shall see them, or that its redirect leaves the page."""
    dropped = _named_in_connection(headers)
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    kept: Headers = []
    for name, value in headers:
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in dropped or lower in BROWSER_STATE or lower == b"referrer-policy":
            continue
        if lower == b"content-length" and chunked:
            continue
        if lower == b"location":
            target = location(value, origins)
            if isinstance(target, LeavesDevice):
                return target
            value = target
        else:
            rewritten = _response_value(lower, value, origins)
            if rewritten is None:
                continue
            value = rewritten
        kept.append((name, value))
    kept.append((b"Content-Security-Policy", b"frame-ancestors 'self'"))
    kept.append((b"Referrer-Policy", b"same-origin"))
    return kept


def holds_links(status: int, headers: Headers) -> bool:
    """Whether a device's answer is a whole page whose links can be read."""
    values = {name.lower(): value.strip(b" \t").lower() for name, value in headers}
    media = values.get(b"content-type", b"").partition(b";")[0].strip(b" \t")
    plain = values.get(b"content-encoding", b"identity") == b"identity"
    return status not in (204, 206, 304) and media in (b"text/html", b"application/xhtml+xml") and plain


def _response_value(lower: bytes, value: bytes, origins: Origins) -> bytes | None:
    if lower == b"set-cookie":
        return set_cookie(value, one_path=origins.shared_host)
    if lower in (b"content-security-policy", b"content-security-policy-report-only"):
        return _policy(value, origins)
    if lower == b"access-control-allow-origin":
        return origins.session if value == origins.device_origin else value
    if lower == b"content-location":
        target = location(value, origins)
        return None if isinstance(target, LeavesDevice) else target
    if lower == b"refresh":
        return _refresh(value, origins)
    return value


def set_cookie(value: bytes, *, one_path: bool = False) -> bytes | None:
    """A device's Set-Cookie without Domain; None for one that reaches for a `__Host-` name, also by the nameless trick.

    `one_path`: for the whole host whatever path it says, so that the next session at this host sees, and ends, it (`expired`).
    """
    first, *attributes = value.split(b";")
    name, equals, content = first.partition(b"=")
    bare = (name if equals else b"").strip(b" \t").lower()
    text = (content if equals else first).strip(b" \t").lower()
    if bare.startswith(b"__host-") or (not bare and text.startswith(b"__host-")):
        return None
    dropped = (b"domain", b"path") if one_path else (b"domain",)
    kept = [part for part in attributes if part.partition(b"=")[0].strip(b" \t").lower() not in dropped]
    return b";".join([first, *kept, b" Path=/"] if one_path else [first, *kept])


def expired(headers: Headers) -> Headers:
    """Set-Cookie lines that end every cookie which this request shows, but our own."""
    pairs = [pair.strip(b" \t") for name, value in headers if name.lower() == b"cookie" for pair in value.split(b";")]
    names = {pair.partition(b"=")[0] for pair in pairs if pair} - {COOKIE}
    return [(b"Set-Cookie", name + b"=; Path=/; Max-Age=0") for name in sorted(names)[:MAX_EXPIRED]]


def location(value: bytes, origins: Origins) -> bytes | LeavesDevice:
    """A URL the browser will follow: the device's own becomes the session's, relative stays, the rest leaves the device.

    Read as browsers do (WHATWG URL): control characters and blanks around it and tabs in it are ignored, backslashes are slashes.
    """
    url = value.strip(_BLANKS).translate(None, b"\t\r\n")
    scheme_match = _SCHEME.match(url)
    own_scheme, other_scheme = (b"https", b"http") if origins.tls else (b"http", b"https")
    scheme = scheme_match.group(1).lower() if scheme_match else own_scheme
    rest = url[scheme_match.end() :] if scheme_match else url
    authority_match = _AUTHORITY.fullmatch(rest)
    if authority_match is None:
        return LeavesDevice(url) if scheme_match else url
    authority, path = authority_match.groups()
    here = origins.session + (path if path.startswith((b"/", b"?", b"#")) else b"/" + path)
    if scheme == own_scheme and _same_authority(authority, origins.device, b":443" if origins.tls else b":80"):
        return here
    if scheme == other_scheme and _host(authority) == _host(origins.device):
        return LeavesDevice(url, here)
    return LeavesDevice(url)


def _same_authority(left: bytes, right: bytes, usual: bytes) -> bool:
    return left.lower().removesuffix(usual) == right.lower().removesuffix(usual)


def _host(authority: bytes) -> bytes:
    host, colon, port = authority.lower().rpartition(b":")
    return host if colon and port.isdigit() and port.isascii() else authority.lower()


def _refresh(value: bytes, origins: Origins) -> bytes | None:
    """`Refresh: 0; url=...` rewritten like Location; dropped if it leaves the device, and to its other scheme like a link."""
    match = _REFRESH.fullmatch(value)
    if match is None:
        return value
    target = location(match.group(2), origins)
    if isinstance(target, LeavesDevice):
        if target.own is None:
            return None
        target = origins.other_scheme + target.own[len(origins.session) :]
    return match.group(1) + target + match.group(3)


def _policy(value: bytes, origins: Origins) -> bytes:
    """A CSP in which the device's own authority is the session's. Nothing else changes, so nothing is loosened."""
    secure = b"wss://" + origins.session_authority
    names = {
        origins.device_origin: origins.session,
        (b"wss://" if origins.tls else b"ws://") + origins.device: secure,
        origins.device: origins.session_authority,
    }
    return _TOKEN.sub(lambda token: names.get(token.group(), token.group()), value)
