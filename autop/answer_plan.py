"""Which part of a file a GET or HEAD gets: the conditional and range rules of RFC 9110 (sections 13.2.2 and 14.2) as a function.

The order is the RFC's: If-Match (412), If-None-Match (304), then Range under If-Range. A range is given only of bytes that the
client proved to continue: If-Range compares strongly, and anything else than our present strong tag (a weak tag, a date, an old
tag) gets the whole file, so a firmware is never spliced from two versions. Files have no modification date, so the two
conditions on dates are not ours to judge, and no date in If-Range can match.

A Range that is no single valid byte range (several ranges, another unit, a malformed one) is ignored, as section 14.2 allows:
the whole file follows. 416 is only for one well-formed range that lies behind the end.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from autop.fingerprint import match_fails, none_match_fails

MAX_DIGITS = 18
"""Digits of a position that are read; a longer number is a malformed range."""

_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*(\d{0,%d})-(\d{0,%d})[ \t]*" % (MAX_DIGITS, MAX_DIGITS), re.IGNORECASE)

Fields = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer: its status, the part `start` to `start + length` of the file that its content is, and Content-Range if any.

    `length` is 0 where there is no content to speak of (304, 412, 416). `with_body` is False for HEAD: all headers, no content.
    """

    status: int
    start: int
    length: int
    with_body: bool
    content_range: bytes = b""


def plan(method: bytes, headers: Fields, etag: bytes, size: int) -> Plan:
    """The plan for a GET or HEAD of a file of `size` bytes whose strong tag is `etag`. `headers` have lower-case names."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in (b"if-match", b"if-none-match", b"if-range", b"range"):
            found.setdefault(name, []).append(value)
    with_body = method != b"HEAD"
    if match_fails(found.get(b"if-match", ()), etag):
        return Plan(412, 0, 0, with_body)
    if none_match_fails(found.get(b"if-none-match", ()), etag):
        return Plan(304, 0, 0, with_body=False)
    whole = Plan(200, 0, size, with_body)
    ranges, conditions = found.get(b"range", []), found.get(b"if-range", [])
    if method != b"GET" or len(ranges) != 1 or len(conditions) > 1:
        return whole  # section 14.2: Range has a meaning for GET only
    if conditions and conditions[0].strip(b" \t") != etag:
        return whole
    return _ranged(ranges[0], size) or whole


def _ranged(text: bytes, size: int) -> Plan | None:
    """206 or 416 for one byte range of a file of `size` bytes; None for what is to be ignored."""
    matched = _RANGE.fullmatch(text.strip(b" \t"))
    if matched is None:
        return None
    first, last = matched[1], matched[2]
    if first:
        start = int(first)
        stop = int(last) + 1 if last else size
        if stop <= start and last:
            return None  # section 14.1.1: an int-range whose last position is before its first is invalid
    elif last:
        start = size - min(int(last), size)
        stop = size
    else:
        return None
    if start >= size:
        return Plan(416, 0, 0, with_body=True, content_range=b"bytes */%d" % size)
    stop = min(stop, size)
    return Plan(206, start, stop - start, with_body=True, content_range=b"bytes %d-%d/%d" % (start, stop - 1, size))
