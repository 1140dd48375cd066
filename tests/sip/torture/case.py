"""One torture message and what must come of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """`parser` is None when the message layer must accept, else the status it must name (0: drop in silence).

    `gateway` is what a registrar and proxy should answer in the end, where the RFC says more than "process it": the black-box
    tests read it. `why` says in our words what is odd about the message.
    """

    name: str
    section: str
    why: str
    raw: bytes
    parser: int | None = None
    gateway: int | None = None


def wire(text: str | bytes, body: bytes = b"") -> bytes:
    """A head written with plain line ends -> its bytes with CRLF, `@LENGTH@` filled in, the empty line and the body."""
    head = text.encode() if isinstance(text, str) else text
    head = head.strip(b"\n").replace(b"\n", b"\r\n").replace(b"@LENGTH@", b"%d" % len(body))
    return head + b"\r\n\r\n" + body


SDP = (
    b"v=0\r\no=door 29739 7272939 IN IP4 192.0.2.31\r\ns=-\r\nc=IN IP4 192.0.2.31\r\nt=0 0\r\n"
    b"m=audio 49217 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n"
)
