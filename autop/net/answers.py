"""The answers of an autop listener: few, and each always the same bytes but for the date."""

from autop.answer_plan import Plan
from autop.http_messages import Headers, Response

PRIVATE = (b"Cache-Control", b"private, no-store")

_TEXTS = {
    400: b"bad request\n",
    401: b"not found\n",
    404: b"not found\n",
    405: b"method not allowed\n",
    412: b"precondition failed\n",
    413: b"no content accepted\n",
    416: b"range not satisfiable\n",
    431: b"request head too large\n",
    503: b"try again later\n",
    505: b"HTTP version not supported\n",
}


def refusal(status: int, date: bytes, *, close: bool, more: Headers | None = None) -> tuple[Response, bytes]:
    """An answer without a file. 404 (401 where the target holds no token) is the one for everything that is not a proven device's
    own file. `more`: its own headers."""
    body = _TEXTS[status]
    headers: Headers = [
        (b"Date", date),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", str(len(body)).encode()),
        PRIVATE,
        *(more or ()),
    ]
    if status == 405:
        headers.append((b"Allow", b"GET, HEAD"))
    if close:
        headers.append((b"Connection", b"close"))
    return Response(status, headers), body


def planned(wanted: Plan, etag: bytes, content_type: bytes, date: bytes) -> Response:
    """The head of an answer with a file, or a part of it (200, 206), or of one that says the client has it (304)."""
    headers: Headers = [(b"Date", date), (b"ETag", etag), PRIVATE]
    if wanted.status != 304:
        headers += [(b"Content-Type", content_type), (b"Content-Length", b"%d" % wanted.length), (b"Accept-Ranges", b"bytes")]
    if wanted.content_range:
        headers.append((b"Content-Range", wanted.content_range))
    return Response(wanted.status, headers)


def unplanned(wanted: Plan, etag: bytes, date: bytes) -> tuple[Response, bytes]:
    """412 or 416: a proven device's own conditions say no."""
    more: Headers = [(b"ETag", etag)]
    if wanted.content_range:
        more.append((b"Content-Range", wanted.content_range))
    return refusal(wanted.status, date, close=False, more=more)
