"""The media of one branch: where its offer and its answers are between the caller, the engine and the device.

OFFERING: the request waits for the engine, nothing was sent to the device. OPEN: the request has left, what comes back passes.
ANSWERING: a response waits for the engine, and what came after it waits behind it, so that the order stays. OVER: the branch has
failed or was given up.
"""

from typing import Final, NamedTuple

from sip.media_engine import MediaKey
from sip.message import Message, Request, Response

OFFERING: Final = "offering"
OPEN: Final = "open"
ANSWERING: Final = "answering"
OVER: Final = "over"

# (state, what happened) -> (next state, what is done). What is not here changes nothing.
TABLE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (OFFERING, "ready"): (OPEN, "send"),
    (OFFERING, "failed"): (OVER, "refuse"),
    (OFFERING, "ended"): (OVER, "forget"),
    (OPEN, "asked"): (ANSWERING, ""),
    (OPEN, "ended"): (OVER, "forget"),
    (ANSWERING, "ready"): (OPEN, "pass"),
    (ANSWERING, "failed"): (OPEN, "pass"),
    (ANSWERING, "ended"): (OVER, "forget"),
}

MOST_HELD: Final = 16
"""Responses of one branch that wait for the engine; what comes on top is dropped, and comes again if it matters."""
MOST_KNOWN: Final = 8
"""Answers of one branch that are remembered for their repeats: one for each tag that a device forks into."""


class Answered(NamedTuple):
    """What the engine made of the SDP in a response. `final`: it was told that this fork has answered."""

    tag: bytes
    final: bool
    raw: bytes
    sdp: bytes


class MediaLeg:
    """`key` is the offer's; its `branch` is b"" inside a dialog. `offered`: the request carried the offer, responses carry the
    answer. `is_answer`: the request (a PRACK) carries the answer itself. `offers` are the keys of offers in responses."""

    __slots__ = ("branch_id", "held", "is_answer", "key", "known", "method", "number", "offered", "offers", "request", "state")

    def __init__(self, key: MediaKey, method: bytes, branch_id: bytes) -> None:
        self.key = key
        self.method = method
        self.branch_id = branch_id
        self.state = OPEN
        self.offered = False
        self.is_answer = False
        self.number = 0
        """Of the request to the engine that is waited for."""
        self.request: Request | None = None
        self.held: list[tuple[Response, bool]] = []
        """Responses in their order, and whether the engine is to be asked about each."""
        self.known: list[Answered] = []
        self.offers: list[MediaKey] = []

    @property
    def is_fork(self) -> bool:
        """Whether this is a branch of a new call, which has ports of its own."""
        return self.key.branch != b""

    @property
    def was_asked(self) -> bool:
        """Whether the engine knows of it."""
        return self.offered or bool(self.offers)

    def step(self, event: str) -> str:
        """One row of the table: what is to be done, "" for nothing."""
        row = TABLE.get((self.state, event))
        if row is None:
            return ""
        self.state = row[0]
        return row[1]

    def known_for(self, tag: bytes, final: bool, raw: bytes) -> bytes:
        """What the engine made of this very SDP before, or b"". After the final answer, early repeats of it are known too."""
        for one in self.known:
            if one.tag == tag and one.raw == raw and (one.final or not final):
                return one.sdp
        return b""

    def learn(self, answered: Answered) -> None:
        """Remember what the engine said."""
        if len(self.known) >= MOST_KNOWN:
            del self.known[0]
        self.known.append(answered)

    def early(self, tag: bytes) -> Answered | None:
        """The newest answer with this tag, where the engine was not told yet that it is final."""
        for one in reversed(self.known):
            if one.tag == tag:
                return None if one.final else one
        return None


def sdp_of(message: Message) -> bytes:
    """The SDP that a message carries, b"" where it carries none (or hides it in a multipart body, which is left alone)."""
    if not message.body:
        return b""
    kind = (message.get(b"content-type") or b"").partition(b";")[0]
    return message.body if kind.strip().lower() == b"application/sdp" else b""
