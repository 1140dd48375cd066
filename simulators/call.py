"""One call at one device: what `calls.py` keeps of it."""

from collections import deque

from simulators.dialog import Dialog
from simulators.line import Exchange
from sip.message import Response
from sip.server_transaction import ServerTransaction
from sip.timers import NEVER


class Unacknowledged:
    """A 2xx of ours that was not acknowledged yet: repeated until it is (RFC 3261 13.3.1.4)."""

    __slots__ = ("cseq", "give_up_at", "interval", "repeat_at", "response", "transaction")

    def __init__(self, transaction: ServerTransaction, response: Response, t1: float, lifetime: float, now: float) -> None:
        self.transaction = transaction
        self.response = response
        self.cseq = transaction.request.cseq[0]
        self.interval = t1
        self.repeat_at = now + t1
        self.give_up_at = now + lifetime


class Call:
    """`state` is one of `call_states`; `peer` the other side's user name, or what was dialled."""

    __slots__ = (
        "by",
        "dialog",
        "exchange",
        "id",
        "invite_cseq",
        "keys",
        "offered",
        "peer",
        "provisional",
        "reason",
        "rung",
        "session",
        "state",
        "status",
        "tag",
        "unacknowledged",
        "until",
    )

    def __init__(self, call_id: str, state: str, peer: str, session: int) -> None:
        self.id = call_id
        self.state = state
        self.peer = peer
        self.session = session
        """The session id of our SDP."""
        self.tag = b""
        self.dialog: Dialog | None = None
        self.exchange: Exchange | None = None
        """Our INVITE, at the caller."""
        self.offered: ServerTransaction | None = None
        """The INVITE we are to answer, at the called side."""
        self.invite_cseq = 0
        self.unacknowledged: Unacknowledged | None = None
        self.until = NEVER
        """When this device stops dialling, ringing or waiting for the end of a cancelled INVITE."""
        self.provisional = 0
        """The status of the last provisional response."""
        self.rung = False
        self.keys: deque[str] = deque()
        """Keys to send; the first is on its way."""
        self.by = ""
        self.status = 0
        self.reason = ""

    def deadline(self) -> float:
        """When this call wants attention next, NEVER if it does not."""
        waiting = self.unacknowledged
        return self.until if waiting is None else min(self.until, waiting.repeat_at, waiting.give_up_at)
