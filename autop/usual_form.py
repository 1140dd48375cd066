"""Requests and answers in their usual form, read and written in one go: what nearly every device sends.

Everything else is left to h11, which judges. What is read here, h11 would read as the same, and what is written here is what it
would write: `tests/autop/test_usual_form.py` holds both to it.
"""

import re

from autop.http_messages import Request, Response

MAX_HEAD = 2048
"""The longest head that is usual."""

# Possessive quantifiers (++, *+): a head that does not fit costs no second look.
_HEAD = re.compile(
    rb"(GET|HEAD) ([!-~]++) HTTP/1\.1\r\n((?:[-!#$%&'*+.^_`|~0-9A-Za-z]++: [!-~]++(?: ++[!-~]++)*+\r\n)++)\r\n", re.ASCII
)
_UNUSUAL = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer", b"proxy-connection"))


def read_usual(octets: bytearray) -> tuple[Request, int, bool] | None:
    """The request at the begin of `octets`, how long its head is, and whether it is the connection's last; None: not usual."""
    found = _HEAD.match(octets, 0, MAX_HEAD)
    if found is None:
        return None
    headers, hosts, last = [], 0, False
    for line in found[3][:-2].split(b"\r\n"):
        name, _, value = line.partition(b": ")
        name = name.lower()
        if name == b"host":
            hosts += 1
        elif name == b"connection":
            if value == b"close":
                last = True
            elif value.lower() != b"keep-alive":
                return None
        elif name in _UNUSUAL:
            return None
        headers.append((name, value))
    if hosts != 1:
        return None
    return Request(found[1], found[2], headers), found.end(), last


def write_usual(response: Response, last: bool) -> bytes:
    """The head of an answer that says its length, or has no content (304)."""
    lines = [b"HTTP/1.1 %d \r\n" % response.status]
    lines += [b"%s: %s\r\n" % header for header in response.headers]
    lines.append(b"Connection: close\r\n\r\n" if last else b"\r\n")
    return b"".join(lines)
