"""The session descriptions of a simulated device (RFC 4566, RFC 3264): one audio stream, PCMU and telephone-event.

The RTP port is a device's own (akuvox-devices.md section 4: 11800 to 12000); nothing listens there, as no media flows in issue 2.
"""

RTP_PORT = 11800
TELEPHONE_EVENT = 101

_FORMATS = b"0 %d" % TELEPHONE_EVENT
_ATTRIBUTES = b"a=rtpmap:0 PCMU/8000\r\na=rtpmap:%d telephone-event/8000\r\na=fmtp:%d 0-15\r\na=sendrecv\r\n" % (
    TELEPHONE_EVENT,
    TELEPHONE_EVENT,
)


def describe(host: str, session: int) -> bytes:
    """An offer or an answer from `host`; `session` is the o= line's session id (the body never changes in a call)."""
    family = b"IP6" if ":" in host else b"IP4"
    address = host.encode("ascii")
    return (
        b"v=0\r\no=- %d 1 IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\n"
        % (session, family, address, family, address, RTP_PORT, _FORMATS)
    ) + _ATTRIBUTES


def accepts(body: bytes) -> bool:
    """Whether an offer or answer holds what this device can speak: an audio stream in use with payload type 0 (PCMU)."""
    for line in body.split(b"\n"):
        parts = line.rstrip(b"\r").split(b" ")
        if parts[0] == b"m=audio" and len(parts) > 3:
            return parts[1] != b"0" and b"0" in parts[3:]
    return False
