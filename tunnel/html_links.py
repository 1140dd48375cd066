"""Absolute links in a device's page that name the device itself, made links of the session: nothing else of a body is touched.

Devices build links from the Host they are asked by, so some pages hold `http://192.168.1.20/...`, which a browser cannot reach.
Only what the browser follows or loads is changed (href, src, action, ...), never a value that a form sends back to the device,
and never scripts: what a device stores must not become the name of a session.
"""

import re

from tunnel.http_rewrite import Origins

MAX_TAG = 8_192
"""Bytes held back to see a whole tag; a longer one passes as it comes."""
LOOK_BACK = 80
"""Bytes before a name in which the attribute that holds it begins."""
_BLANK = rb"\s{0,8}"
_FOLLOWED = rb"(?:href|src|action|formaction|poster|background|data-src)" + _BLANK + b"=" + _BLANK + rb"[\"']?" + _BLANK
_REFRESH = (
    b"content" + _BLANK + b"=" + _BLANK + rb"[\"']?[0-9.]{1,8}" + _BLANK + b"[;,]" + _BLANK + b"url" + _BLANK + b"=" + _BLANK
)
_BEFORE = re.compile(rb"[\s\"'](?:" + _FOLLOWED + b"|" + _REFRESH + rb")(https?:)?\Z", re.IGNORECASE)


class HtmlLinks:
    """The links of one page, fed piece by piece. What cannot end inside a tag leaves at once: a page shows as it comes."""

    __slots__ = ("_held", "_here", "_names", "_other")

    def __init__(self, origins: Origins) -> None:
        host, _, port = origins.device.rpartition(b":")
        if not port.isdigit():
            host = origins.device
        ports = {b"80", b"443", *([port] if port.isdigit() else [])}
        authority = re.escape(host) + rb"(?::(?:" + b"|".join(sorted(ports)) + rb"))?"
        self._here = re.compile(b"//" + authority + rb"(?=([/\"'?#\s>]))", re.IGNORECASE)
        self._other = b"http:" if origins.tls else b"https:"
        self._names = (origins.session, origins.other_scheme)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the page, in: as the device wrote them, out: what may go on."""
        text = self._held + data
        opened = text.rfind(b"<")
        if opened < 0 or b">" in text[opened:] or len(text) - opened > MAX_TAG:
            opened = len(text)
        self._held = text[opened:]
        return self._changed(text[:opened])

    def finish(self) -> bytes:
        """What was held back at the end of the page."""
        text, self._held = self._held, b""
        return self._changed(text)

    def _changed(self, text: bytes) -> bytes:
        """Looks for the device's name first, and only there at what stands before it: most pages do not hold it."""
        pieces, at = [], 0
        for found in self._here.finditer(text):
            before = _BEFORE.search(text[max(at, found.start() - LOOK_BACK) : found.start()])
            if before is None:
                continue
            scheme, following = before.group(1) or b"", found.group(1)
            link = self._names[0]
            if scheme.lower() == self._other:
                link = self._names[1] + (b"" if following == b"/" else b"/")
            pieces += [text[at : found.start() - len(scheme)], link]
            at = found.end()
        return b"".join([*pieces, text[at:]]) if pieces else text
