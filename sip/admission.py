"""Who may send this: proven by a password or by the flow, or challenged, refused, or parked until the facts are there."""

from sip.authentication import Authentication
from sip.deadlines import DeadlineHeap
from sip.directory import AccountFacts, AccountQuestion, Directory, Question
from sip.events import Authenticated, Fetch, Output, Refused
from sip.flow import Flow
from sip.landline_branches import Landlines
from sip.limits import SipLimits
from sip.location import Location
from sip.loop_detection import is_looping
from sip.message import Request
from sip.outbound import Hop
from sip.overload import Overload
from sip.own_address import OwnAddress
from sip.parking import Parked, Parking
from sip.replies import Headers, Replies
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.source_limits import SourceLimits
from sip.transaction_layer import TransactionLayer


class Admission:
    """Stands between the transaction layer and what requests do. What it refuses, it has answered."""

    __slots__ = (
        "_authentication",
        "_directory",
        "_landlines",
        "_layer",
        "_location",
        "_outputs",
        "_overload",
        "_own",
        "_replies",
        "_sources",
        "parking",
    )

    def __init__(
        self,
        *,
        directory: Directory,
        landlines: Landlines,
        own: OwnAddress,
        location: Location,
        sources: SourceLimits,
        authentication: Authentication,
        overload: Overload,
        layer: TransactionLayer,
        replies: Replies,
        deadlines: DeadlineHeap,
        outputs: list[Output],
        limits: SipLimits,
    ) -> None:
        self._directory = directory
        self._landlines = landlines
        self._own = own
        self._location = location
        self._sources = sources
        self._authentication = authentication
        self._overload = overload
        self._layer = layer
        self._replies = replies
        self._outputs = outputs
        self.parking = Parking(deadlines, self._over, limit=limits.parked, seconds=limits.parked_seconds)

    def is_end(self, hop: Hop, flow: Flow, now: float) -> bool:
        """Whether the flow is from where the dialog's end was, or is registered now; not once its account is gone.

        Both ends know the token, and on UDP whoever listens does: without this, either could speak for the other. A trunk's end
        is its gateways.
        """
        if hop.trunk and not hop.to_callee:
            return self._landlines.is_end(hop, flow)
        account = self._directory.account(hop.sender)
        if account is None or (isinstance(account, AccountFacts) and not account.enabled):
            return False
        if hop.sender_flow.split(":", 2)[-1].rpartition(":")[0] == flow.host:
            return True
        return any(binding.flow.host == flow.host for binding in self._location.bindings(hop.sender, now))

    def account(
        self,
        key: bytes,
        request: Request,
        flow: Flow,
        now: float,
        status: int,
        asked: Question | None,
        hop: Hop | None = None,
    ) -> AccountFacts | None:
        """The account whose password this request proves. None: it was challenged, refused or parked.

        A challenge makes no transaction (8.2.7), so that whoever has no password costs us no memory.
        """
        found = self._authentication.check(request, flow, status, now)
        if isinstance(found, AccountFacts):
            if flow.reliable:
                self._outputs.append(Authenticated(flow))
            return found
        if isinstance(found, AccountQuestion):
            if found == asked:
                self._replies.refuse(key, request, flow, 503, "facts unavailable", self._replies.retry_after())
            else:
                self.park(found, Parked(request, flow, None, None, hop, self._replies.octets), now)
            return None
        if found is not None:
            self._outputs.append(Refused("credentials " + found.name.lower(), status, flow))
        if not self._sources.spend(flow.source, now):
            self._replies.limited(key, request, flow)
            return None
        challenge = self._authentication.challenge(request, status, now, stale=found is not None and found.stale)
        self._replies.reply(request, flow, make_response(request, status, to_tag=self._replies.to_tag(key), extra=challenge))
        return None

    def park(self, question: Question, parked: Parked, now: float) -> None:
        """Let it wait for a fact, which is asked for; 503 where too much waits already."""
        new = self.parking.enter(question, parked, now)
        if new is None:
            self._over(parked, now)
        elif new:
            self._outputs.append(Fetch(question))

    def _over(self, parked: Parked, now: float) -> None:
        """No room to wait, or waited too long."""
        self._replies.asked(parked.octets, now)
        if parked.transaction is None:
            key = self._layer.key(parked.request)
            self._replies.refuse(key, parked.request, parked.flow, 503, "facts unavailable", self._replies.retry_after())
        elif parked.transaction.is_open:
            self._replies.unavailable(parked.transaction, now)

    def open(self, key: bytes, request: Request, flow: Flow, now: float) -> ServerTransaction | None:
        """A server transaction for the request, with its 100 if it is an INVITE; None: there is no room, 503."""
        if self._layer.full():
            self._replies.refuse(key, request, flow, 503, "transactions full", self._replies.retry_after())
            return None
        transaction = self._layer.open(key, request, flow, now)
        self._overload.held(self._layer.server_count + self._layer.client_count)
        if request.method == b"INVITE":
            self._layer.respond(transaction, make_response(request, 100), now)
        return transaction

    def broken(self, request: Request) -> tuple[int, str, Headers] | None:
        """16.3: Max-Forwards, Proxy-Require, loop. (status, reason for counting, headers), or None.

        The parser has checked the rest: syntax and scheme."""
        if request.max_forwards == 0:
            return 483, "max-forwards", ()
        if request.has(b"proxy-require"):
            return 420, "proxy-require", ((b"unsupported", b", ".join(request.all(b"proxy-require"))),)
        if is_looping(request, self._own):
            return 482, "loop", ()
        return None
