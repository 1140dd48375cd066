"""The transaction layer (RFC 3261 section 17): finds the transaction of a message, runs all transactions, bounds their number.

It serves any transaction user: the proxy, the registrar, and the user agents of the simulators. A user

- asks `key(request)` and `absorb(key, ...)` first: repeats and ACKs of answered INVITEs end there;
- then either answers without state (`reply`; challenges and floods cost nothing, 8.2.7) or opens a transaction (`open`)
  and answers with `respond`;
- sends with `send`, and gets what comes of it through the `TransactionUser` methods.

An ACK that matches nothing acknowledges a 2xx and is the user's own matter (13.3.1.4), as is a CANCEL (`invite_of`).
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from sip.client_transaction import ClientTransaction
from sip.deadlines import DeadlineHeap
from sip.events import Output, Send
from sip.flow import Flow
from sip.header_values import MAGIC_COOKIE
from sip.message import Request, Response
from sip.server_transaction import COMPLETED, TERMINATED, ServerTransaction
from sip.timers import Timers
from sip.via_fixup import DEFAULT_PORT, reply_flow

_ENTROPY_BLOCK = 1024


class TransactionUser(Protocol):
    """What a transaction user is told (RFC 3261 5: "the layer above the transaction layer")."""

    def response_received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A provisional, the final, or for an INVITE every further 2xx."""
        ...

    def request_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        """No final response came in time ("Timer B", "Timer F"), or the flow failed ("transport error")."""
        ...

    def response_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        """A final response was not acknowledged ("Timer H"), or the flow failed ("transport error")."""
        ...


class TransactionLayer:
    """All transactions of one element. Outputs are appended to the list it is given; deadlines go to the heap it is given."""

    def __init__(
        self,
        user: TransactionUser,
        *,
        outputs: list[Output],
        deadlines: DeadlineHeap,
        entropy: Callable[[int], bytes],
        timers: Timers,
        limit: int,
    ) -> None:
        self._user = user
        self._outputs = outputs
        self._deadlines = deadlines
        self._entropy = entropy
        self._timers = timers
        self._limit = limit
        self._servers: dict[bytes, ServerTransaction] = {}
        self._invites_by_source: dict[bytes, ServerTransaction] = {}
        self._clients: dict[bytes, ClientTransaction] = {}
        self._answered: deque[ServerTransaction] = deque()
        self._streams: dict[str, set[ServerTransaction | ClientTransaction]] = {}
        self._random = b""
        self._random_at = 0

    # Requests in

    def key(self, request: Request, method: bytes = b"") -> bytes:
        """What a repeat of this request, or its ACK, has in common with it (17.2.3; RFC 2543 rules without the magic cookie).

        With `method`, the key of another request that has this one's Via: a CANCEL finds its INVITE so.
        """
        via = request.top_via
        branch = via.branch
        method = method or request.method
        if method == b"ACK":
            method = b"INVITE"
        if len(branch) > 7 and branch.startswith(MAGIC_COOKIE):
            return b"%b %b %b:%d" % (method, branch, via.host, via.port or DEFAULT_PORT)
        number = request.cseq[0]
        return b" ".join((b"2543", method, request.uri, request.from_tag, request.call_id, b"%d" % number, via.raw))

    def absorb(self, key: bytes, request: Request, flow: Flow, now: float) -> bool:
        """Give a request to the transaction it belongs to. False: it is new (or an ACK for a 2xx, or a CANCEL's first copy)."""
        transaction = self._servers.get(key)
        if request.method == b"ACK":
            if transaction is None:
                transaction = self._invites_by_source.get(_source_key(request, flow))
            if transaction is None or not transaction.awaits_ack:
                return False
            transaction.acknowledged(now)
            return True
        if transaction is None:
            return False
        transaction.repeated(now)
        return True

    def open(self, key: bytes, request: Request, flow: Flow, now: float) -> ServerTransaction:
        """Begin a server transaction for a new request. The caller has asked `full` before."""
        invite = request.method == b"INVITE"
        transaction = ServerTransaction(key, request, flow, reply_flow(request.top_via, flow), self, self._timers, invite)
        self._servers[key] = transaction
        if invite:
            transaction.alias = _source_key(request, flow)
            self._invites_by_source[transaction.alias] = transaction
        if flow.reliable:
            self._streams.setdefault(flow.name, set()).add(transaction)
        return transaction

    def invite_of(self, cancel: Request, flow: Flow) -> ServerTransaction | None:
        """The INVITE transaction that a CANCEL is about (9.2): same branch and sent-by; or, where a NAT box rewrites Via,
        same branch from the same flow."""
        found = self._servers.get(self.key(cancel, b"INVITE"))
        return found or self._invites_by_source.get(_source_key(cancel, flow))

    # Responses out

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> bool:
        """Answer through the transaction. False: it takes no such response any more."""
        taken = transaction.answer(response.status, response.to_bytes(), now)
        if taken and transaction.state is COMPLETED and not transaction.is_invite:
            self._remember_answered(transaction)
        return taken

    def reply(self, request: Request, flow: Flow, response: Response) -> None:
        """Answer without a transaction: a repeat will be answered afresh (8.2.7)."""
        self._outputs.append(Send(reply_flow(request.top_via, flow), response.to_bytes()))

    # Requests out, responses in

    def new_branch(self) -> bytes:
        """A branch nobody can guess (8.1.1.7)."""
        return MAGIC_COOKIE + self.token(8)

    def token(self, count: int) -> bytes:
        """`count` random bytes as hexadecimal digits, drawn in blocks because each draw is a system call."""
        at = self._random_at
        if at + count > len(self._random):
            self._random = self._entropy(_ENTROPY_BLOCK)
            at = 0
        self._random_at = at + count
        return self._random[at : at + count].hex().encode()

    def send(self, request: Request, flow: Flow, user: object, now: float, branch: bytes = b"") -> ClientTransaction:
        """Send a request whose top Via is ours with this branch (`new_branch`; b"": read it from the Via). `user` comes back with
        its responses."""
        key = (branch or request.branch) + request.method
        invite = request.method == b"INVITE"
        transaction = ClientTransaction(key, request, flow, self, self._timers, user, invite)
        self._begin(transaction, request.to_bytes(), now)
        return transaction

    def cancel(self, transaction: ClientTransaction, now: float, reason: bytes = b"") -> None:
        """Send a CANCEL for an INVITE of ours that has got a provisional response (9.1)."""
        request = transaction.request
        data = _cancel_for(request, reason)
        cancel = ClientTransaction(request.branch + b"CANCEL", request, transaction.flow, self, self._timers, None, False)
        if cancel.key not in self._clients:
            self._begin(cancel, data, now)

    def received(self, response: Response, now: float) -> bool:
        """Give a response to its client transaction (17.1.3). False: it matches none and must be dropped (RFC 6026 8.9)."""
        transaction = self._clients.get(response.branch + response.cseq[1])
        if transaction is None:
            return False
        transaction.answered(response, now)
        return True

    # Failures and bounds

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The flow is gone: tell every transaction on it."""
        for transaction in list(self._streams.get(flow.name, ())):
            transaction.failed(now)
        self._streams.pop(flow.name, None)

    def full(self) -> bool:
        """Whether a new request must be refused. Answered non-INVITE transactions, kept for repeats only, make room first."""
        while len(self._servers) + len(self._clients) >= self._limit:
            if not self._answered:
                return True
            self._answered.popleft().abandon()
        return False

    @property
    def server_count(self) -> int:
        """Server transactions held."""
        return len(self._servers)

    @property
    def client_count(self) -> int:
        """Client transactions held."""
        return len(self._clients)

    # What transactions call (ServerSink, ClientSink)

    def transmit(self, flow: Flow, data: bytes) -> None:
        """Put bytes on the flow."""
        self._outputs.append(Send(flow, data))

    def server_armed(self, transaction: ServerTransaction) -> None:
        """Its timers changed."""
        self._deadlines.arm(transaction, transaction.wants())

    def client_armed(self, transaction: ClientTransaction) -> None:
        """Its timers changed."""
        self._deadlines.arm(transaction, transaction.wants())

    def server_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        """Pass on to the user."""
        self._user.response_failed(transaction, why, now)

    def client_answered(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """Pass on to the user; nobody wants the answer to our CANCEL."""
        if transaction.user is not None:
            self._user.response_received(transaction, response, now)

    def client_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        """Pass on to the user."""
        if transaction.user is not None:
            self._user.request_failed(transaction, why, now)

    def server_ended(self, transaction: ServerTransaction) -> None:
        """Forget it."""
        if self._servers.get(transaction.key) is transaction:
            del self._servers[transaction.key]
        if transaction.alias and self._invites_by_source.get(transaction.alias) is transaction:
            del self._invites_by_source[transaction.alias]
        if transaction.flow.reliable:
            self._leave_stream(transaction)

    def client_ended(self, transaction: ClientTransaction) -> None:
        """Forget it."""
        if self._clients.get(transaction.key) is transaction:
            del self._clients[transaction.key]
        if transaction.flow.reliable:
            self._leave_stream(transaction)

    def _begin(self, transaction: ClientTransaction, data: bytes, now: float) -> None:
        self._clients[transaction.key] = transaction
        if transaction.flow.reliable:
            self._streams.setdefault(transaction.flow.name, set()).add(transaction)
        transaction.start(data, now)

    def _leave_stream(self, transaction: ServerTransaction | ClientTransaction) -> None:
        members = self._streams.get(transaction.flow.name)
        if members is not None:
            members.discard(transaction)
            if not members:
                del self._streams[transaction.flow.name]

    def _remember_answered(self, transaction: ServerTransaction) -> None:
        """Timer J is the same for all, so the oldest are at the front, and the ended ones too."""
        answered = self._answered
        while answered and answered[0].state is TERMINATED:
            answered.popleft()
        answered.append(transaction)


def _source_key(request: Request, flow: Flow) -> bytes:
    """Branch and flow: how an ACK or CANCEL of a device is known whose Via a NAT box rewrote."""
    return b"%b %b" % (request.branch, flow.name.encode())


def _cancel_for(invite: Request, reason: bytes) -> bytes:
    """The CANCEL of a request of ours (9.1): same Request-URI, top Via, Route, From, To, Call-ID and CSeq number."""
    lines = [b"CANCEL " + invite.uri + b" SIP/2.0", b"Via: " + invite.all(b"via")[0], b"Max-Forwards: 70"]
    lines += [b"Route: " + route for route in invite.all(b"route")]
    lines.append(b"From: " + (invite.get(b"from") or b""))
    lines.append(b"To: " + (invite.get(b"to") or b""))
    lines.append(b"Call-ID: " + invite.call_id)
    lines.append(b"CSeq: %d CANCEL" % invite.cseq[0])
    if reason:
        lines.append(b"Reason: " + reason)
    lines.append(b"Content-Length: 0\r\n\r\n")
    return b"\r\n".join(lines)
