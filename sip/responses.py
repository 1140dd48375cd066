"""Making a response to a request (RFC 3261 8.2.6), and the default reason phrases."""

from collections.abc import Sequence
from typing import Final

from sip.errors import MalformedMessage
from sip.headers import wire_name
from sip.message import Request, Response

REASONS: Final[dict[int, bytes]] = {
    100: b"Trying",
    180: b"Ringing",
    181: b"Call Is Being Forwarded",
    182: b"Queued",
    183: b"Session Progress",
    199: b"Early Dialog Terminated",
    200: b"OK",
    202: b"Accepted",
    204: b"No Notification",
    300: b"Multiple Choices",
    301: b"Moved Permanently",
    302: b"Moved Temporarily",
    305: b"Use Proxy",
    380: b"Alternative Service",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    410: b"Gone",
    412: b"Conditional Request Failed",
    413: b"Request Entity Too Large",
    414: b"Request-URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Unsupported URI Scheme",
    420: b"Bad Extension",
    421: b"Extension Required",
    422: b"Session Interval Too Small",
    423: b"Interval Too Brief",
    429: b"Provide Referrer Identity",
    430: b"Flow Failed",
    433: b"Anonymity Disallowed",
    439: b"First Hop Lacks Outbound Support",
    440: b"Max-Breadth Exceeded",
    480: b"Temporarily Unavailable",
    481: b"Call/Transaction Does Not Exist",
    482: b"Loop Detected",
    483: b"Too Many Hops",
    484: b"Address Incomplete",
    485: b"Ambiguous",
    486: b"Busy Here",
    487: b"Request Terminated",
    488: b"Not Acceptable Here",
    489: b"Bad Event",
    491: b"Request Pending",
    493: b"Undecipherable",
    494: b"Security Agreement Required",
    500: b"Server Internal Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Server Time-out",
    505: b"Version Not Supported",
    513: b"Message Too Large",
    555: b"Push Notification Service Not Supported",
    580: b"Precondition Failure",
    600: b"Busy Everywhere",
    603: b"Decline",
    604: b"Does Not Exist Anywhere",
    606: b"Not Acceptable",
}

_COPIED: Final = frozenset((b"via", b"from", b"to", b"call-id", b"cseq"))
_COPIED_IN_TRYING: Final = _COPIED | {b"timestamp"}


def make_response(
    request: Request,
    status: int,
    reason: bytes | None = None,
    *,
    to_tag: bytes = b"",
    extra: Sequence[tuple[bytes, bytes]] = (),
) -> Response:
    """The response that a server builds: every Via in order, From, To, Call-ID and CSeq as received (RFC 3261 8.2.6.2).

    `to_tag` is added to a To that has no tag (8.2.6.2: any response but 100 must carry one). `extra` are (canonical name, value)
    lines put behind. Timestamp goes back in a 100 (8.2.6.1). Works on the `partial` of a `MalformedMessage` too: what is not
    there is not copied.
    """
    copied = _COPIED if status != 100 else _COPIED_IN_TRYING
    names: list[bytes] = []
    lines: list[bytes] = []
    held = request.lines
    for at, name in enumerate(request.names):
        if name in copied:
            line = held[at]
            if name == b"to" and to_tag and not _has_tag(request):
                line += b";tag=" + to_tag
            names.append(name)
            lines.append(line)
    for name, value in extra:
        names.append(name)
        lines.append(wire_name(name) + b": " + value)
    return Response(status, reason if reason is not None else REASONS.get(status, b"Unknown"), names, lines)


def _has_tag(request: Request) -> bool:
    """Whether To has a tag; a To too broken to tell (a 400 to a malformed request) is left as it came."""
    try:
        return request.to_tag != b""
    except MalformedMessage:
        return True
