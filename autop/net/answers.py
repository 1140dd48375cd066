"""The answers of an autop listener as h11 events: few, and each always the same bytes but for the date."""

import h11

from autop.net.configurations import File

PRIVATE = (b"Cache-Control", b"private, no-store")

_TEXTS = {
    400: b"bad request\n",
    404: b"not found\n",
    405: b"method not allowed\n",
    413: b"no content accepted\n",
    431: b"request head too large\n",
    505: b"HTTP version not supported\n",
}

Headers = list[tuple[bytes, bytes]]


def refusal(status: int, date: bytes, *, close: bool) -> tuple[h11.Response, bytes]:
    """An answer without a file. 404 is the one for everything that is not a proven device's own file."""
    body = _TEXTS[status]
    headers: Headers = [
        (b"Date", date),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", str(len(body)).encode()),
        PRIVATE,
    ]
    if status == 405:
        headers.append((b"Allow", b"GET, HEAD"))
    if close:
        headers.append((b"Connection", b"close"))
    return h11.Response(status_code=status, headers=headers), body


def served(file: File, date: bytes) -> tuple[h11.Response, bytes]:
    """A device's own file."""
    headers: Headers = [
        (b"Date", date),
        (b"Content-Type", file.content_type),
        (b"Content-Length", str(len(file.body)).encode()),
        (b"ETag", file.etag),
        PRIVATE,
    ]
    return h11.Response(status_code=200, headers=headers), file.body


def not_modified(file: File, date: bytes) -> tuple[h11.Response, bytes]:
    """The client has these bytes (RFC 9110 section 15.4.5)."""
    headers: Headers = [(b"Date", date), (b"ETag", file.etag), PRIVATE]
    return h11.Response(status_code=304, headers=headers), b""
