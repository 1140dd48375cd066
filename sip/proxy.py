"""The stateful, record-routing, forking proxy (RFC 3261 16), on top of the transaction layer.

The core has checked and authorised a request before it comes here; this file forwards it and carries out what the response
context decides. Requests go over flows of live bindings, or over the flow that a dialog token names: never to a host that
some header claims.
"""

from sip.authentication import Authentication
from sip.call_policy import Destination
from sip.call_record import CallLog
from sip.client_transaction import ClientTransaction
from sip.deadlines import DeadlineHeap
from sip.flow import Flow, parse_flow
from sip.grammar import decimal
from sip.gruu import instance_of
from sip.limits import SipLimits
from sip.location import Location
from sip.loop_detection import looping_branch
from sip.message import Request, Response
from sip.outbound import DialogTokens, Hop
from sip.own_address import OwnAddress
from sip.response_context import COMPLETED_ELSEWHERE, LOCAL_TIMEOUT, Branch, BranchOwner, ResponseContext
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.target_set import Target, current_flow, device_of, other_flow, targets
from sip.timers import NEVER, Timers
from sip.transaction_layer import TransactionLayer

DIALOG_MAKERS = frozenset((b"INVITE", b"SUBSCRIBE", b"REFER"))
"""Requests outside a dialog that may create one: they get our Record-Route."""
MAX_FORWARDS = 70
LARGE_ON_UDP = 1300 - 300
"""Octets of a received request that our Via and Record-Route make more than 1300: it wants a stream (RFC 3261 18.1.1)."""


class Proxy(BranchOwner):
    """Forwards requests and their responses. It is the transaction user of every client transaction of the gateway."""

    def __init__(
        self,
        *,
        own: OwnAddress,
        tokens: DialogTokens,
        location: Location,
        calls: CallLog,
        deadlines: DeadlineHeap,
        timers: Timers,
        limits: SipLimits,
        authentication: Authentication,
    ) -> None:
        self.layer: TransactionLayer
        """Set by the core: layer and user know each other."""
        self._own = own
        self._tokens = tokens
        self._location = location
        self._calls = calls
        self._deadlines = deadlines
        self._timers = timers
        self._limits = limits
        self._authentication = authentication

    # Requests

    def forward(
        self, server: ServerTransaction, caller: str, site: str, dialled: str, destination: Destination, now: float
    ) -> None:
        """Forward an authorised request outside a dialog to the stages of its destination."""
        request = server.request
        context = ResponseContext(server, request, self, server.flow)
        server.user = context
        context.caller_account = caller
        context.end_on_reject = destination.end_on_reject
        context.breadth = self._breadth(request)
        if context.is_invite:
            context.stages = list(destination.stages)
            context.call = self._calls.begin(request.call_id, request.from_tag, site, caller, dialled, now)
        else:
            context.stages = list(destination.stages[:1])
            self._deadlines.arm(context, now + self._timers.e_reaches_t2)
        if not self._next_stage(context, now):
            self._finish(context, now)

    def forward_in_dialog(self, server: ServerTransaction, hop: Hop, now: float) -> None:
        """Forward a request inside a dialog of ours over the flow its token names."""
        request = server.request
        context = ResponseContext(server, request, self, server.flow)
        server.user = context
        context.caller_account = hop.sender
        flow = self._dialog_flow(request, hop, now)
        if flow is None:
            self._answer(context, 430, now)
            return
        if not context.is_invite:
            self._deadlines.arm(context, now + self._timers.e_reaches_t2)
        if request.method == b"BYE":
            self._calls.hung_up(request.call_id, request.from_tag, request.to_tag, hop.sender, now)
        device = device_of(hop.user, instance, self._location, now) if (instance := instance_of(request.uri)) else None
        self._try(context, device or Target(hop.user, request.uri, flow, ()), 0, now)

    def forward_ack(self, request: Request, hop: Hop, now: float) -> bool:
        """Pass on the ACK of a 2xx: it belongs to no transaction (13.2.2.4, 16.11 for how)."""
        flow = self._dialog_flow(request, hop, now)
        if flow is None:
            return False
        self.layer.transmit(
            flow, self._outgoing(request, request.uri, flow, looping_branch(self.layer.new_branch(), request)).to_bytes()
        )
        return True

    def cancelled(self, server: ServerTransaction, now: float) -> None:
        """The caller's CANCEL (16.10): cancel what is open, ring nothing more."""
        context = server.user
        if not isinstance(context, ResponseContext):
            # Its facts are still being fetched: nothing was forwarded, so the answer is ours.
            self.layer.respond(server, make_response(server.request, 487, to_tag=self.layer.token(8)), now)
            return
        if context.answered:
            return
        context.cancelled_by_caller = True
        context.stages.clear()
        context.due = NEVER
        for branch in context.open_branches():
            self._cancel(branch, b"", now)
        if not context.open_branches():
            self._finish(context, now)

    # What the transaction layer tells (TransactionUser)

    def response_received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """16.7: a response on a branch."""
        branch = transaction.user
        if not isinstance(branch, Branch):
            return
        status = response.status
        if status < 200:
            self._provisional(branch, response, now)
        elif status < 300:
            self._success(branch, response, now)
        elif not branch.status:
            self._failure(branch, status, response, now)

    def request_failed(self, transaction: ClientTransaction, why: str, now: float) -> None:
        """16.9, and 16.8 for Timer B: as if 408; a failed flow as 430 (RFC 5626 5.3)."""
        branch = transaction.user
        if isinstance(branch, Branch) and not branch.status:
            self._failure(branch, 430 if why == "transport error" else LOCAL_TIMEOUT, None, now)

    def response_failed(self, transaction: ServerTransaction, why: str, now: float) -> None:
        """The caller's flow is gone while its INVITE is open: nobody is there to talk to, so stop the ringing."""
        context = transaction.user
        if why == "transport error" and isinstance(context, ResponseContext) and context.is_invite and not context.answered:
            self.cancelled(transaction, now)

    # What deadlines tell (BranchOwner)

    def branch_due(self, branch: Branch, now: float) -> None:
        """Timer C (16.8), or 64*T1 after a CANCEL that got no answer (9.1)."""
        if branch.cancelled:
            if branch.client is not None:
                branch.client.abandon()
            if not branch.status:
                self._failure(branch, 487, None, now)
            return
        self._give_up(branch, now)
        self._go_on(branch.context, now)

    def context_due(self, context: ResponseContext, now: float) -> None:
        """The stage has rung long enough; or RFC 4320 4.1: a non-INVITE still unanswered gets its 100 now."""
        if context.answered:
            return
        if not context.is_invite:
            self.layer.respond(context.server, make_response(context.request, 100), now)
            return
        for branch in context.open_branches():
            self._give_up(branch, now)
        if not self._next_stage(context, now) and not context.open_branches():
            self._finish(context, now)

    # Branches

    def _next_stage(self, context: ResponseContext, now: float) -> bool:
        """Ring the next stage that has a live binding. False: there is none."""
        while context.stages:
            stage = context.stages.pop(0)
            instance = instance_of(context.request.uri)
            large = _size(context.request) > LARGE_ON_UDP
            found = targets(stage, self._location, context.caller_account, context.caller_flow, now, instance, large)
            if not found:
                continue
            if len(found) > context.breadth:
                # RFC 5393 5.3.3: not enough Max-Breadth left to try them together.
                self._answer(context, 440, now)
                return True
            share, rest = divmod(context.breadth, len(found))
            for number, target in enumerate(found):
                self._try(context, target, share + (1 if number < rest else 0), now)
            if stage.seconds is not None and context.is_invite:
                self._deadlines.arm(context, now + stage.seconds)
            return True
        return False

    def _try(self, context: ResponseContext, target: Target, breadth: int, now: float) -> None:
        """Open one branch (16.6). `breadth` is its share of Max-Breadth, 0 inside a dialog."""
        request = context.request
        branch_id = looping_branch(self.layer.new_branch(), request)
        out = self._outgoing(request, target.uri, target.flow, branch_id)
        for hop in reversed(target.path):
            out.prepend(b"route", hop)
        if breadth:
            out.replace(b"max-breadth", b"%d" % breadth)
            if request.method in DIALOG_MAKERS:
                token = self._tokens.mint(
                    request.call_id,
                    request.from_tag,
                    context.caller_account,
                    target.account,
                    context.caller_flow.name,
                    target.flow.name,
                )
                if context.caller_flow.address_key != target.flow.address_key:
                    # The two sides reach us in different ways: one Record-Route for each (RFC 5658).
                    out.prepend(b"record-route", self._own.record_route(context.caller_flow, token))
                out.prepend(b"record-route", self._own.record_route(target.flow, token))
        branch = Branch(context, target, self)
        context.branches.append(branch)
        branch.client = self.layer.send(out, target.flow, branch, now, branch_id)
        if context.is_invite:
            self._start_timer_c(branch, now)

    def _outgoing(self, request: Request, uri: bytes, flow: Flow, branch: bytes) -> Request:
        """The copy that is sent on: Request-URI, Max-Forwards, our Via; credentials for our realm stay here (22.3)."""
        out = request.copy()
        out.uri = uri
        hops = request.max_forwards
        out.replace(b"max-forwards", b"%d" % (MAX_FORWARDS if hops is None else hops - 1))
        if out.has(b"proxy-authorization") or out.has(b"authorization"):
            self._authentication.strip(out)
        out.prepend(b"via", self._own.via(flow, branch))
        return out

    def _dialog_flow(self, request: Request, hop: Hop, now: float) -> Flow | None:
        flow = parse_flow(hop.flow)
        return None if flow is None else current_flow(hop.user, request.uri, flow, self._location, now)

    def _breadth(self, request: Request) -> int:
        value = request.get(b"max-breadth")
        given = -1 if value is None else decimal(value, 2**31 - 1)
        return self._limits.branches if given < 0 else min(given, self._limits.branches)

    # Answers of branches

    def _provisional(self, branch: Branch, response: Response, now: float) -> None:
        context = branch.context
        branch.provisional = True
        if branch.cancel_reason is not None:
            self._send_cancel(branch, now)
            return
        if response.status == 100 or not context.is_invite or branch.status:
            return
        self._start_timer_c(branch, now)
        if context.call is not None:
            context.call.ringing(branch.target.account)
        if not context.answered and not context.cancelled_by_caller:
            self._upstream(context, response, now)

    def _success(self, branch: Branch, response: Response, now: float) -> None:
        """The first 2xx wins; every further 2xx to an INVITE passes too, so that its call can be ended (16.7 step 5)."""
        context = branch.context
        branch.status = branch.status or response.status
        branch.due = NEVER
        if context.is_invite or not context.answered:
            self._upstream(context, response, now)
        if context.answered:
            return
        context.answered = True
        context.stages.clear()
        context.due = NEVER
        if context.call is not None:
            self._calls.answered(context.call, branch.target.account, now)
        for other in context.open_branches():
            self._cancel(other, COMPLETED_ELSEWHERE, now)

    def _failure(self, branch: Branch, status: int, response: Response | None, now: float) -> None:
        """A branch ended without a 2xx. What we timed out ourselves counts as 408 whatever its CANCEL brought."""
        context = branch.context
        branch.due = NEVER
        if branch.timed_out:
            status, response = LOCAL_TIMEOUT, None
        branch.status = status
        branch.answer = response
        if context.answered:
            return
        if status == 430 and self._next_flow(branch, now):
            return
        ends = context.ends_the_search(status)
        if ends:
            context.stages.clear()
        if ends or status >= 600:
            for other in context.open_branches():
                self._cancel(other, b"", now)
        self._go_on(context, now)

    def _next_flow(self, branch: Branch, now: float) -> bool:
        """RFC 5626 section 7: a flow has failed; try another one of the same device."""
        context = branch.context
        if context.cancelled_by_caller:
            return False
        other = other_flow(branch.target, {one.target.flow.name for one in context.branches}, self._location, now)
        if other is not None:
            self._try(context, other, context.breadth and max(1, context.breadth // len(context.branches)), now)
        return other is not None

    def _go_on(self, context: ResponseContext, now: float) -> None:
        """After a branch has ended: when all have, ring the next stage or answer the caller."""
        if context.answered or context.open_branches():
            return
        if context.cancelled_by_caller or not self._next_stage(context, now):
            self._finish(context, now)

    def _give_up(self, branch: Branch, now: float) -> None:
        """It has rung long enough. Without a provisional it may not be cancelled yet (9.1) and counts as over."""
        branch.timed_out = True
        self._cancel(branch, b"", now)
        if not branch.provisional:
            branch.status = LOCAL_TIMEOUT
            branch.due = NEVER

    def _start_timer_c(self, branch: Branch, now: float) -> None:
        """16.6 step 11. Most calls are over sooner, and must not be held in memory until then."""
        self._deadlines.arm_late(branch, now + self._timers.c, now + self._timers.lifetime)

    def _cancel(self, branch: Branch, reason: bytes, now: float) -> None:
        """Cancel an open branch now, or as soon as its first provisional comes. Only an INVITE can be cancelled (9.1)."""
        if branch.status or branch.cancel_reason is not None or not branch.context.is_invite:
            return
        branch.cancel_reason = reason
        if branch.provisional:
            self._send_cancel(branch, now)

    def _send_cancel(self, branch: Branch, now: float) -> None:
        if branch.cancelled or branch.client is None or branch.cancel_reason is None:
            return
        branch.cancelled = True
        self.layer.cancel(branch.client, now, branch.cancel_reason)
        self._deadlines.arm(branch, now + self._timers.lifetime)

    # Answers to the caller

    def _finish(self, context: ResponseContext, now: float) -> None:
        """Every branch has ended and nobody is left to ring: send the best response (16.7 step 6), with the other challenges
        (step 7) and 503 turned into 500, for 503 would be about us."""
        best = context.best()
        if context.cancelled_by_caller:
            self._answer(context, 487, now)
        elif best is None:
            self._answer(context, 480, now)
        elif best.answer is None:
            self._answer(context, best.status, now)
        elif best.status == 503:
            self._answer(context, 500, now)
        else:
            response = best.answer.copy()
            for name, value in context.challenges(best):
                response.append(name, value)
            self._ended(context, best.status, now)
            self._upstream(context, response, now)

    def _answer(self, context: ResponseContext, status: int, now: float) -> None:
        """Answer the caller ourselves. RFC 4320 4.2: never 408 to a non-INVITE; the client has timed out by itself then."""
        self._ended(context, status, now)
        if status == LOCAL_TIMEOUT and not context.is_invite:
            context.server.abandon()
            return
        self.layer.respond(context.server, make_response(context.request, status, to_tag=self.layer.token(8)), now)

    def _ended(self, context: ResponseContext, status: int, now: float) -> None:
        context.answered = True
        context.due = NEVER
        if context.call is not None:
            self._calls.unanswered(context.call, status, context.cancelled_by_caller, now)

    def _upstream(self, context: ResponseContext, response: Response, now: float) -> None:
        """Send a branch's response to the caller without our Via (16.7 steps 3, 8 and 9)."""
        out = response.copy()
        out.remove_first_value(b"via")
        self.layer.respond(context.server, out, now)


def _size(request: Request) -> int:
    """Octets of the headers and the body, nearly."""
    return len(request.body) + sum(map(len, request.lines))
