"""What the proxy asks of a media engine and what it is told: values, and the protocol that every engine's shell implements.

The core puts a `MediaOffer`, `MediaAnswer` or `MediaDelete` among its outputs and holds the message that the SDP came in until
`MediaReady` or `MediaFailed` with the same `number` comes back. Engines answer the requests of one call in the order they came.

Which tag is whose: `from_tag` is the tag of the side that made the *offer*, `to_tag` that of the other (b"" while the offer is
the INVITE's). So for an offer in a 2xx, `from_tag` is the To tag of that response. `branch` is the branch of our Via on the
forwarded INVITE: it tells forks apart until each has a tag; inside a dialog it is b"".
"""

from typing import NamedTuple, Protocol


class MediaKey(NamedTuple):
    """Whose media: a dialog, or one fork of it that has no tag yet. See above."""

    call_id: bytes
    from_tag: bytes
    to_tag: bytes = b""
    branch: bytes = b""


class MediaOffer(NamedTuple):
    """An SDP offer on its way. `source` is the IP address the offerer's signalling comes from, `toward` the one it is sent to.

    `transport` is the m= line protocol that the receiver wants ("UDP/TLS/RTP/SAVPF" for a browser), b"" for the offer's own.
    """

    key: MediaKey
    number: int
    sdp: bytes
    source: str
    toward: str
    transport: bytes = b""


class MediaAnswer(NamedTuple):
    """The SDP answer to it. `source` is the IP address of the answerer's signalling. `final`: it came in a 2xx (or its ACK), so
    this fork has answered and the call's other forks are dropped; else it is early media."""

    key: MediaKey
    number: int
    sdp: bytes
    source: str
    final: bool


class MediaDelete(NamedTuple):
    """The end: of one fork if the key has a branch, of one dialog if it has a to-tag, of the whole call if neither.

    Nobody is told how it went, and what is unknown is no error, so it is sent at every end of a call or branch.
    """

    key: MediaKey


class MediaReady(NamedTuple):
    """The SDP to send on, with the engine's addresses in it."""

    number: int
    key: MediaKey
    sdp: bytes


class MediaFailed(NamedTuple):
    """No media for this offer or answer. `status` is what fits the INVITE: 488 if the SDP is at fault, 503 if we are.

    `reason` is one of `REASONS`.
    """

    number: int
    key: MediaKey
    reason: str
    status: int


REASONS = (
    "garbage",
    "unsupported",
    "ports used up",
    "sessions used up",
    "unknown call",
    "engine down",
    "engine busy",
    "engine refused",
)


class MediaEnded(NamedTuple):
    """The engine gave a call up by itself: nothing was heard from it for too long."""

    call_id: bytes
    from_tag: bytes
    to_tag: bytes


class Digit(NamedTuple):
    """Somebody pressed a key (RFC 4733): `from_tag` is the tag of who pressed it, `to_tag` of the other side; each is b"" while
    that side has not answered. `digit` is one of 0-9 * # A-D."""

    call_id: bytes
    from_tag: bytes
    to_tag: bytes
    digit: str
    milliseconds: int


MediaRequest = MediaOffer | MediaAnswer | MediaDelete
MediaOutcome = MediaReady | MediaFailed | MediaEnded | Digit


class MediaEngine(Protocol):
    """An engine's shell. Outcomes go to the callable it was made with, in the loop, possibly before `request` returns."""

    async def start(self) -> None:
        """Begin. Raises OSError when an address of ours cannot be used."""

    def request(self, request: MediaRequest) -> None:
        """Carry out what the proxy wants. Never raises and never blocks."""

    async def stop(self) -> None:
        """Close everything. Calls lose their media."""
