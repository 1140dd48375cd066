"""CSeq of a leg whose challenge the proxy answered itself.

Theory. A trunk may challenge our INVITE (401, 407). The caller has no password for it, so the proxy answers. The repeated
INVITE must carry a CSeq that is higher by one (RFC 3261 22.2), which the caller does not know of: from then on the leg to the
trunk counts `offset` higher than the caller does.

    caller --- n ---> proxy --- n + offset ---> trunk         requests of the caller: INVITE, ACK of a 2xx, BYE, PRACK, ...
    caller <-- n ---- proxy <-- n + offset ---- trunk         their responses
    caller <-- m ---- proxy <-- m ------------- trunk         requests of the trunk: its own numbers, never changed

The ACK of a failure and the CANCEL are made hop by hop from the request that was sent, and so are right without this.
RAck (RFC 3262 7.2) repeats the CSeq of an INVITE inside a PRACK, and counts as it does.

The offset lives in the dialog token (`outbound.py`): each try of the INVITE carries a token of its own in our Record-Route, so
the end that answers returns the offset of the try it answered, and nothing is kept in memory. The route set of a dialog is
fixed, and so is its offset: inside a dialog only a BYE is repeated with credentials, for nothing comes after it.
"""

from typing import Final

from sip.grammar import LWS, decimal
from sip.header_values import CSEQ_LIMIT
from sip.message import Request, Response

MAX_OFFSET: Final = 3
"""Challenges answered for one INVITE: the first, a nonce gone stale, and one to spare."""


def to_leg(request: Request, offset: int) -> bool:
    """Count a request of the caller up, in place. False, and nothing changed: a number leaves the range of RFC 3261 8.1.1.5.

    Raises `MalformedMessage` for a request that has no CSeq (never after the parser).
    """
    if offset == 0:
        return True
    number, method = request.cseq
    rack = _shifted_rack(request.get(b"rack"), offset)
    if not 0 <= number + offset <= CSEQ_LIMIT or rack is None:
        return False
    request.replace(b"cseq", b"%d %b" % (number + offset, method))
    if rack:
        request.replace(b"rack", rack)
    return True


def from_leg(response: Response, offset: int) -> bool:
    """Count a response of the trunk down, in place. False, and nothing changed: its number was never ours; drop it."""
    if offset == 0:
        return True
    number, method = response.cseq
    if number < offset:
        return False
    response.replace(b"cseq", b"%d %b" % (number - offset, method))
    return True


def _shifted_rack(value: bytes | None, offset: int) -> bytes | None:
    """`response-num CSeq-num Method` with the second counted up; b"" where there is none; None out of range.

    A RAck that cannot be read is passed on as it is: the end it is for will refuse it.
    """
    if value is None:
        return b""
    parts = value.replace(b"\t", b" ").strip(LWS).split()
    number = decimal(parts[1], CSEQ_LIMIT) if len(parts) == 3 else -1
    if number < 0:
        return value
    return b"%b %d %b" % (parts[0], number + offset, parts[2]) if number + offset <= CSEQ_LIMIT else None
