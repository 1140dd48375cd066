"""The response context (RFC 3261 16.7): the branches of one forwarded request, and which answer the caller gets.

It decides; the proxy does. It holds no transaction layer and sends nothing.
"""

from typing import Final

from registry.trunk import SiteLandlines
from sip.call_policy import RingStage
from sip.call_record import Call
from sip.client_transaction import ClientTransaction
from sip.deadlines import Timed
from sip.flow import Flow
from sip.media_leg import MediaLeg
from sip.message import Request, Response
from sip.server_transaction import ServerTransaction
from sip.target_set import Target

COMPLETED_ELSEWHERE: Final = b'SIP;cause=200;text="Call completed elsewhere"'
"""RFC 3326 section 2: a phone that lost the race must not show a missed call."""

LOCAL_TIMEOUT: Final = 408
_CHALLENGES: Final = frozenset((401, 407))
_TELLING: Final = frozenset((401, 407, 415, 420, 484))
"""16.7 step 6: of the 4xx, prefer those that tell the caller how to try again."""


class Branch(Timed):
    """One branch. `status` is its final answer (0: none yet); `answer` the response, None where the status is our own."""

    __slots__ = (
        "answer",
        "cancel_reason",
        "cancelled",
        "client",
        "context",
        "heard",
        "media",
        "moved_from",
        "owner",
        "provisional",
        "status",
        "target",
        "timed_out",
    )

    def __init__(self, context: "ResponseContext", target: Target, owner: "BranchOwner") -> None:
        super().__init__()
        self.context = context
        self.target = target
        self.owner = owner
        self.client: ClientTransaction | None = None
        """None while the request waits for the media engine."""
        self.media: MediaLeg | None = None
        """None where its media is not ours to relay."""
        self.provisional = False
        self.heard = False
        """A provisional response other than 100 has come, or a final one."""
        self.moved_from: Branch | None = None
        """The branch over an older flow of the same device, while it is open which of both the device takes."""
        self.cancelled = False
        self.cancel_reason: bytes | None = None
        """Not None: the branch is to be cancelled, with this Reason (b"": none), as soon as a provisional allows it."""
        self.timed_out = False
        self.status = 0
        self.answer: Response | None = None

    def fire(self, now: float) -> None:
        self.owner.branch_due(self, now)


class WaitingBranch(Timed):
    """A branch to be: an app that sleeps and is being woken (`waiting.py`, which has its states).

    `instance` is the app's, b"" where it has none; `breadth` the branch's share of Max-Breadth; `holds` whether the call goes on
    as long as this waits. `branch` is what rings the app over a binding that may be dead, `prid` the app's then.
    """

    __slots__ = ("account", "branch", "breadth", "context", "holds", "instance", "owner", "prid", "state")

    def __init__(
        self, context: "ResponseContext", account: str, instance: bytes, breadth: int, state: str, owner: "BranchOwner"
    ) -> None:
        super().__init__()
        self.context = context
        self.account = account
        self.instance = instance
        self.breadth = breadth
        self.state = state
        self.owner = owner
        self.holds = True
        self.branch: Branch | None = None
        self.prid = ""

    def fire(self, now: float) -> None:
        self.owner.waiting_due(self, now)


class BranchOwner:
    """Who is told when a branch's or a context's time is up: the proxy."""

    def branch_due(self, branch: Branch, now: float) -> None:
        """Timer C, or the wait for the answer to a CANCEL, is over."""
        raise NotImplementedError

    def waiting_due(self, waiting: WaitingBranch, now: float) -> None:
        """An app has not woken up in time."""
        raise NotImplementedError

    def context_due(self, context: "ResponseContext", now: float) -> None:
        """A stage has rung long enough, or a non-INVITE needs its 100 (RFC 4320)."""
        raise NotImplementedError

    def offer_ready(self, branch: Branch, request: Request, branch_id: bytes, now: float) -> None:
        """The engine is done with what the request carries: it may leave."""
        raise NotImplementedError

    def offer_refused(self, branch: Branch, status: int, now: float) -> None:
        """There is no media for this branch, and the request has not left."""
        raise NotImplementedError

    def answer_ready(self, branch: Branch, response: Response, now: float) -> None:
        """The engine is done with what the response carries: it may go to the caller."""
        raise NotImplementedError


class ResponseContext(Timed):
    """All branches of one request, over all stages of its destination."""

    __slots__ = (
        "answered",
        "branches",
        "breadth",
        "call",
        "caller_account",
        "caller_flow",
        "cancelled_by_caller",
        "end_on_reject",
        "instance",
        "is_invite",
        "landlines",
        "owner",
        "refusal",
        "relayed",
        "request",
        "server",
        "stages",
        "waiting",
    )

    def __init__(self, server: ServerTransaction, request: Request, owner: BranchOwner, caller_flow: Flow) -> None:
        super().__init__()
        self.server = server
        self.request = request
        self.owner = owner
        self.caller_flow = caller_flow
        self.caller_account = ""
        self.is_invite = request.method == b"INVITE"
        self.branches: list[Branch] = []
        self.waiting: list[WaitingBranch] = []
        self.stages: list[RingStage] = []
        self.end_on_reject = False
        self.instance = b""
        """The only device that is meant, where a GRUU was called."""
        self.landlines: SiteLandlines | None = None
        self.refusal = 0
        """The status of a call that nothing ever rang for, where a landline was refused or an account was out of reach."""
        self.breadth = 0
        self.call: Call | None = None
        self.answered = False
        """A final response went to the caller; for an INVITE only further 2xx may follow."""
        self.cancelled_by_caller = False
        self.relayed = False
        """The media of the dialog goes through the engine already."""

    def fire(self, now: float) -> None:
        self.owner.context_due(self, now)

    def open_branches(self) -> list[Branch]:
        """The branches without a final answer."""
        return [one for one in self.branches if not one.status]

    def is_open(self) -> bool:
        """Whether something may still ring. An app whose push failed holds the call up only where there is no further stage."""
        for branch in self.branches:
            if not branch.status:
                return True
        return any(one.holds or not self.stages for one in self.waiting)

    def has_tried(self, account: str, contact: bytes, flow: str, instance: bytes) -> bool:
        """Whether this device has had the request: on this very flow, or on another that has neither failed nor been given up."""
        for branch in self.branches:
            target = branch.target
            if target.account != account:
                continue
            if target.flow.name == flow and target.uri == contact:
                return True
            if instance and target.instance == instance and branch.status != 430 and not branch.timed_out:
                return True
        return False

    def ends_the_search(self, status: int) -> bool:
        """Whether this final answer ends the whole call at once: a rejection under a plan that says so (486 or 6xx), and a 6xx
        where there is no further stage to ring (16.7 step 5)."""
        if self.end_on_reject:
            return status == 486 or status >= 600
        return status >= 600 and not self.stages

    def best(self) -> Branch | None:
        """The branch whose answer the caller gets (16.7 step 6): a 6xx, else the lowest class, and in it what tells most.

        An answer that really came beats a timeout of ours. None: no branch has an answer.
        """
        finals = [one for one in self.branches if one.status >= 300]
        return min(finals, key=_rank) if finals else None

    def challenges(self, but: Branch) -> list[tuple[bytes, bytes]]:
        """The challenges of the other branches, for a 401 or 407 answer (16.7 step 7)."""
        found: list[tuple[bytes, bytes]] = []
        for one in self.branches:
            if one is but or one.answer is None or one.status not in _CHALLENGES:
                continue
            for name in (b"www-authenticate", b"proxy-authenticate"):
                found += [(name, value) for value in one.answer.all(name)]
        return found


def _rank(branch: Branch) -> tuple[int, int, int]:
    """Lowest is best."""
    status = branch.status
    if branch.answer is None:
        return (9, 0, status)
    if status >= 600:
        return (0, 0, status)
    # 503 would be passed on as 500 (16.7 step 6), so any other 5xx says more.
    return (status // 100, 0 if status in _TELLING else 2 if status == 503 else 1, 0)
