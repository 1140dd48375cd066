"""ETags over exact bytes, and the conditional requests that compare them (RFC 9110 sections 8.8.3, 13.1.1 and 13.1.2)."""

import hashlib
import re
from collections.abc import Iterable

MAX_CONDITION = 4096
"""Bytes of If-None-Match that are read; a longer one is treated as matching nothing."""

_MEMBER = re.compile(rb'[ \t,]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|\Z)')


def strong_etag(body: bytes) -> bytes:
    """A strong entity tag: the SHA-256 of the bytes that are sent, quoted."""
    return b'"' + hashlib.sha256(body).hexdigest().encode() + b'"'


def entity_tags(values: Iterable[bytes], *, weak: bool = True) -> frozenset[bytes] | None:
    """The tags of a list of If-None-Match field values without their weakness, or None for something that is no such list.

    `W/` is dropped because If-None-Match compares weakly (RFC 9110 section 13.1.2). With `weak` False, for If-Match, which
    compares strongly, weak tags are left out. A comma inside a tag belongs to it.
    """
    text = b",".join(values)
    if len(text) > MAX_CONDITION:
        return None
    tags = set()
    place = 0
    while found := _MEMBER.match(text, place):
        if weak or not found[1].startswith(b"W/"):
            tags.add(found[1].removeprefix(b"W/"))
        place = found.end()
    return frozenset(tags) if not text[place:].strip(b" \t,") else None


def none_match_fails(values: Iterable[bytes], etag: bytes) -> bool:
    """Whether If-None-Match says the client has these bytes already, so that the answer is 304.

    No field, or a malformed one: False, the client gets the bytes; nobody is ever left with old ones by a bad header.
    """
    listed = tuple(values)
    if not listed:
        return False
    if len(listed) == 1 and (listed[0] == etag or listed[0].strip(b" \t") == b"*"):
        return True
    tags = entity_tags(listed)
    return tags is not None and etag.removeprefix(b"W/") in tags


def match_fails(values: Iterable[bytes], etag: bytes) -> bool:
    """Whether If-Match says the client wants none but other bytes, so that the answer is 412.

    No field: False. A malformed one names nothing that we have: True.
    """
    listed = tuple(values)
    if not listed or (len(listed) == 1 and listed[0].strip(b" \t") == b"*"):
        return False
    tags = entity_tags(listed, weak=False)
    return tags is None or etag not in tags
