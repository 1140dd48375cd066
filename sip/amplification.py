"""What may be sent over UDP to an address that nobody has proven to be the sender's (S13).

Whoever forges a source makes us send to his victim. So an answer given without state is to be at most 1.5 times as large as what
was asked, and what it can spare is left out until it fits: an Allow, then challenges, SHA-256 before SHA-512-256. MD5, which
every device knows, stays, and so does the order (RFC 8760). A REGISTER or INVITE as devices write it (415 octets and more) gets
all three challenges, one of 300 octets gets MD5. What still does not fit answers requests shorter than any device's: it is for
sources that have authenticated, others pay `DEAR` for it.
"""

from typing import Final

from sip.message import Response

DEAR: Final = 10.0
"""Credits of a stranger (source_limits.py) that an answer costs which does not fit."""

_SPARED: Final = (b"", b"algorithm=SHA-256,", b"algorithm=SHA-512-256,")
_CHALLENGES: Final = (b"www-authenticate", b"proxy-authenticate")


def allowed(octets: int) -> int:
    """How large the answer to so many octets may be: 1.5 times. STUN's is larger (20 bring 32, 44 over IPv6), but not counting
    the IP and UDP headers, which both ways are on the wire."""
    return octets + octets // 2


def fitted(response: Response, most: int) -> bytes:
    """The response on the wire, without what it can spare if it were longer than `most` octets. It may still be longer."""
    data = response.to_bytes()
    excess = len(data) - most
    if excess <= 0:
        return data
    for mark in _SPARED:
        excess -= _leave_out(response, mark)
        if excess <= 0:
            break
    return response.to_bytes()


def _leave_out(response: Response, mark: bytes) -> int:
    """Take out the Allow (no mark), or the challenge with this mark unless it is the only one. How many octets that spares."""
    names, lines = response.names, response.lines
    challenges = [at for at, name in enumerate(names) if name in _CHALLENGES]
    for at, name in enumerate(names):
        if (name == b"allow" and not mark) or (mark and at in challenges and mark in lines[at] and len(challenges) > 1):
            octets = len(lines[at]) + len(b"\r\n")
            del names[at]
            del lines[at]
            return octets
    return 0
