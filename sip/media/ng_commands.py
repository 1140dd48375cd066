"""Media requests as commands of rtpengine's ng protocol, and its answers read. One command or answer is a bencoded dictionary."""

from collections.abc import Mapping

from sip.errors import MalformedSdp
from sip.media.bencode import NotBencode, Value, decode
from sip.media.places import is_ipv6, target
from sip.media_engine import MediaDelete, MediaOffer, MediaRequest
from sip.sdp import DTLS, PLAIN, parse_sdp

PING: Mapping[bytes, Value] = {b"command": b"ping"}
MAX_ANSWER = 65_535
NO_PORTS = b"Ran out of ports"
UNKNOWN_CALL = b"Unknown call-id"
"""Reasons that rtpengine gives with an error (10.5)."""


def command(request: MediaRequest) -> dict[bytes, Value]:
    """The dictionary for a request. The SDP goes as it is; what rtpengine shall make of it stands beside it."""
    key = request.key
    said: dict[bytes, Value] = {b"call-id": key.call_id, b"from-tag": key.from_tag}
    if key.branch:
        said[b"via-branch"] = key.branch
    if key.to_tag:
        said[b"to-tag"] = key.to_tag
    if isinstance(request, MediaDelete):
        said[b"command"] = b"delete"
        return said
    said[b"command"] = b"offer" if isinstance(request, MediaOffer) else b"answer"
    said[b"sdp"] = request.sdp
    said[b"replace"] = [b"origin"]
    if request.source:
        said[b"received-from"] = [_family(request.source), request.source.encode("ascii", "replace")]
    said[b"flags"] = _flags(request.sdp, request.source)
    if isinstance(request, MediaOffer):
        said[b"address-family"] = _family(request.toward)
        if request.transport:
            said[b"transport-protocol"] = request.transport
            # A browser wants ICE, DTLS and RTCP on the port of RTP (RFC 8827, RFC 8834 4.5); a phone knows none of them.
            is_plain = request.transport in PLAIN
            said[b"ICE"] = b"remove" if is_plain else b"force"
            said[b"rtcp-mux"] = [b"demux" if is_plain else b"offer"]
            said[b"SDES"] = [b"off"]
    return said


def result(data: bytes) -> tuple[bytes, bytes] | None:
    """What an answer says: (b"ok", the SDP or b""), (b"pong", b""), (b"load limit", b""), (b"error", its reason). None: it is
    not one."""
    if len(data) > MAX_ANSWER:
        return None
    try:
        answer = decode(data)
    except NotBencode:
        return None
    if not isinstance(answer, Mapping):
        return None
    word = answer.get(b"result")
    detail = answer.get(b"sdp" if word == b"ok" else b"error-reason", b"")
    return (word, detail) if isinstance(word, bytes) and isinstance(detail, bytes) else None


def _family(host: str) -> bytes:
    return b"IP6" if is_ipv6(host) else b"IP4"


def _flags(sdp: bytes, source: str) -> list[Value]:
    """How rtpengine is to treat the sender of an SDP.

    Only the right source may send, as with the relay of our own; and where the SDP names an address at which its sender cannot be
    reached, the signalling's is the better guess. Not so with a browser: ICE moves it from one address to another as it likes,
    also once the call has begun (seen: all that it sent from then on was dropped), and DTLS-SRTP says what is from it.
    """
    try:
        media = parse_sdp(sdp).media
    except MalformedSdp:
        media = []  # rtpengine says what is wrong with it
    used = [one for one in media if one.port]
    if used and all(one.transport in DTLS for one in used):
        return []
    flags: list[Value] = [b"strict-source"]
    if any(not one.is_held and target(one.host, one.port, source) is None for one in used):
        flags.append(b"SIP-source-address")
    return flags
