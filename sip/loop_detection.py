"""Loop detection (RFC 3261 16.3 step 4 and 16.6 step 8, as RFC 5393 4.2 corrects it).

Our branches end in a hash of what decides where the request goes. A request that carries a Via of ours with the hash it has now
has gone in a circle; with another hash it is a spiral, which is legal.
"""

from zlib import crc32

from sip.grammar import COMMA
from sip.header_values import parse_via
from sip.message import Request
from sip.own_address import OwnAddress

_MARK = b"."


def looping_branch(unique: bytes, request: Request) -> bytes:
    """A branch for forwarding `request`: `unique` and the hash."""
    return unique + _MARK + loop_hash(request)


def loop_hash(request: Request) -> bytes:
    """The Request-URI, tags, Call-ID, CSeq number, Routes and Proxy-Require, as 8 hexadecimal digits.

    A collision only breaks the call of the peer that made it, so a checksum does.
    """
    parts = [request.uri, request.from_tag, request.to_tag, request.call_id, b"%d" % request.cseq[0]]
    if request.has(b"route"):
        parts += request.all(b"route")
    if request.has(b"proxy-require"):
        parts += request.all(b"proxy-require")
    return b"%08x" % crc32(b"\0".join(parts))


def is_looping(request: Request, own: OwnAddress) -> bool:
    """Whether the request was here before, unchanged in what routes it. Raises MalformedMessage for a broken Via."""
    top, first = request.top_via, request.find(b"via")
    alone = request.names.count(b"via") == 1 and COMMA not in request.lines[first]
    if alone and not own.is_sent_by(top.host, top.port):
        return False  # nearly always: straight from a phone
    mark = b""
    for value in request.all(b"via"):
        via = parse_via(value)
        if own.is_sent_by(via.host, via.port):
            mark = mark or loop_hash(request)
            if via.branch.rpartition(_MARK)[2] == mark:
                return True
    return False
