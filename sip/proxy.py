"""The stateful, record-routing, forking proxy (RFC 3261 16), on top of the transaction layer.

The core has checked and authorised a request before it comes here; this file forwards it and carries out what the response
context decides. Requests go over flows of live bindings, or over the flow that a dialog token names: never to a host that
some header claims.
"""

from registry.logs import CallEvent
from sip.call_policy import Destination
from sip.call_record import CallLog
from sip.cancelling import Cancelling
from sip.client_transaction import ClientTransaction
from sip.deadlines import DeadlineHeap
from sip.flow import Flow, parse_flow
from sip.gruu import TempGruus
from sip.landline_branches import SILENCE_T1, LandlineBranch, Landlines
from sip.limits import SipLimits
from sip.location import Location
from sip.loop_detection import looping_branch
from sip.message import Request, Response
from sip.offer_answer import OfferAnswer
from sip.outbound import Hop
from sip.outgoing import Outgoing, is_large, max_breadth
from sip.response_context import COMPLETED_ELSEWHERE, LOCAL_TIMEOUT, Branch, ResponseContext, WaitingBranch
from sip.responses import make_response
from sip.server_transaction import ServerTransaction
from sip.target_set import Target, current_flow, device_of, other_flow, targets, unreachable
from sip.timers import NEVER, Timers
from sip.transaction_layer import TransactionLayer
from sip.upstream import Upstream
from sip.waiting import ANSWERED_ELSEWHERE, GIVEN_UP, MOVED, WaitingOwner, WaitingRoom


class Proxy(WaitingOwner):
    """Forwards requests and their responses. It is the transaction user of every client transaction of the gateway."""

    def __init__(
        self,
        *,
        outgoing: Outgoing,
        landlines: Landlines,
        location: Location,
        temporary: TempGruus,
        calls: CallLog,
        deadlines: DeadlineHeap,
        timers: Timers,
        limits: SipLimits,
    ) -> None:
        self.layer: TransactionLayer
        self.waiting: WaitingRoom
        self.upstream: Upstream
        self.cancelling: Cancelling
        """All set by the core: they and their user know each other."""
        self.media: OfferAnswer | None = None
        """Set by the core; None: media is not ours to touch."""
        self._outgoing = outgoing
        self._landlines = landlines
        self._location = location
        self._temporary = temporary
        self._calls = calls
        self._deadlines = deadlines
        self._timers = timers
        self._limits = limits

    # Requests

    def forward(
        self,
        server: ServerTransaction,
        caller: str,
        site: str,
        dialled: str,
        destination: Destination,
        now: float,
        instance: bytes = b"",
    ) -> None:
        """Forward an authorised request outside a dialog to the stages of its destination, of one `instance` only where a GRUU
        asks for it."""
        request = server.request
        context = ResponseContext(server, request, self, server.flow)
        server.user = context
        context.caller_account = caller
        context.end_on_reject = destination.end_on_reject
        context.instance = instance
        context.landlines = destination.landlines
        context.breadth = max_breadth(request, self._limits.branches)
        if context.is_invite:
            context.stages = list(destination.stages)
            context.call = self._calls.begin(request.call_id, request.from_tag, site, caller, dialled, now)
        else:
            context.stages = list(destination.stages[:1])
            self._deadlines.arm(context, now + self._timers.e_reaches_t2)
        if not self._next_stage(context, now):
            self.upstream.finish(context, now)

    def forward_in_dialog(self, server: ServerTransaction, hop: Hop, now: float) -> None:
        """Forward a request inside a dialog of ours over the flow its token names."""
        request = server.request
        context = ResponseContext(server, request, self, server.flow)
        server.user = context
        context.caller_account = hop.sender
        context.relayed = hop.relayed or hop.trunk != ""
        flow = self._dialog_flow(request, hop, now)
        if flow is None:
            self.upstream.answer(context, 430, now)
            return
        if not context.is_invite:
            self._deadlines.arm(context, now + self._timers.e_reaches_t2)
        if hop.trunk and hop.to_callee:
            self._open(self._landlines.inside(context, hop, flow, self), now)
            return
        if request.method == b"BYE":
            self._calls.hung_up(request.call_id, request.from_tag, request.to_tag, hop.sender, now)
        device = device_of(hop.user, request.uri, self._temporary, self._location, now)
        self._try(context, device or Target(hop.user, request.uri, flow, ()), 0, now)

    def forward_ack(self, request: Request, hop: Hop, now: float) -> bool:
        """Pass on the ACK of a 2xx: it belongs to no transaction (13.2.2.4, 16.11 for how)."""
        flow = self._dialog_flow(request, hop, now)
        if flow is None:
            return False
        branch_id = looping_branch(self.layer.new_branch(), request)
        if hop.trunk and hop.to_callee:
            out = self._landlines.acknowledgement(request, hop, flow, branch_id)
        else:
            out = self._outgoing.copy(request, request.uri, flow, branch_id)
        if self.media is None or not self.media.takes_ack(request, out, hop, flow, now):
            self.layer.transmit(flow, out.to_bytes())
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
        self.cancelling.cancel_all(context, b"", GIVEN_UP, now)
        if not context.open_branches():
            self.upstream.finish(context, now)

    # What the transaction layer tells (TransactionUser)

    def response_received(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """16.7: a response on a branch."""
        branch = transaction.user
        if not isinstance(branch, Branch):
            return
        if isinstance(branch, LandlineBranch):
            shown = self._landlines.received(branch, transaction, response, self.layer, now)
            if shown is None:
                return
            response = shown
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
        if isinstance(branch, LandlineBranch) and branch.silence:
            self._silence(branch, now)
            return
        self.cancelling.give_up(branch, now)
        self._go_on(branch.context, now)

    def context_due(self, context: ResponseContext, now: float) -> None:
        """The stage has rung long enough; or RFC 4320 4.1: a non-INVITE still unanswered gets its 100 now."""
        if context.answered:
            return
        if not context.is_invite:
            self.layer.respond(context.server, make_response(context.request, 100), now)
            return
        for branch in context.open_branches():
            self.cancelling.give_up(branch, now)
        if not self._next_stage(context, now) and not context.open_branches():
            self.upstream.finish(context, now)

    # Apps that wake up (WaitingOwner, and what the core passes on)

    def pushes_known(self, account: str, now: float) -> None:
        """Memory knows now how the account's apps are woken, or it cannot be found out."""
        for context in self.waiting.known(account, now):
            self._go_on(context, now)

    def pushed(self, serial: int, accepted: bool, reason: str, now: float) -> None:
        """What became of a push. A failed one lets the call go on to its next stage."""
        context = self.waiting.pushed(serial, accepted, reason, now)
        if context is not None and context.stages:
            self._go_on(context, now)

    def woke(self, waiting: WaitingBranch, target: Target, now: float) -> None:
        self._try(waiting.context, target, waiting.breadth, now)
        if waiting.branch is not None:
            waiting.branch.timed_out = True
            waiting.context.branches[-1].moved_from = waiting.branch

    def waiting_due(self, waiting: WaitingBranch, now: float) -> None:
        self.waiting.end_one(waiting, GIVEN_UP, now)
        self._go_on(waiting.context, now)

    # Branches

    def _next_stage(self, context: ResponseContext, now: float) -> bool:
        """Ring the next stage that has a live binding or an app that can be woken. False: there is none."""
        if context.waiting:
            self.waiting.end(context, GIVEN_UP, now)
        while context.stages:
            stage = context.stages.pop(0)
            instance = context.instance
            large = is_large(context.request)
            found = targets(stage, self._location, context.caller_account, context.caller_flow, now, instance, large)
            sleepers = self.waiting.asleep(stage.accounts, context, now, instance)
            landlines = self._landlines.branches(context, stage, self, now)
            if context.call is not None:
                for account in unreachable(stage, found, [one.account for one in sleepers]):
                    context.call.note(now, CallEvent.UNREACHABLE, account)
                    context.refusal = max(context.refusal, 480)
            count = len(found) + len(landlines) + len(sleepers)
            if not count:
                continue
            if count > context.breadth:
                # RFC 5393 5.3.3: not enough Max-Breadth left to try them together.
                self.upstream.answer(context, 440, now)
                return True
            share, rest = divmod(context.breadth, count)
            shares = [share + (1 if number < rest else 0) for number in range(count)]
            for number, target in enumerate(found):
                self._try(context, target, shares[number], now)
            for number, landline in enumerate(landlines, len(found)):
                landline.breadth = shares[number]
                self._open(landline, now)
            if stage.seconds is not None and context.is_invite:
                self._deadlines.arm(context, now + stage.seconds)
            self.waiting.enter(context, stage.accounts, sleepers, shares[len(found) + len(landlines) :], stage.seconds, now)
            return True
        return False

    def _try(self, context: ResponseContext, target: Target, breadth: int, now: float) -> None:
        """Open one branch to a device. `breadth` is its share of Max-Breadth, 0 inside a dialog."""
        self._open(Branch(context, target, self), now, breadth)

    def _open(self, branch: Branch, now: float, breadth: int = 0) -> None:
        """Open one branch (16.6).

        Every branch begins here: to a binding, to an app that woke up, over another flow of a device, inside a dialog, over
        a trunk.
        """
        context, target = branch.context, branch.target
        request = context.request
        branch_id = looping_branch(self.layer.new_branch(), request)
        relayed = self.media is not None and self.media.relays(context, target, isinstance(branch, LandlineBranch))
        if isinstance(branch, LandlineBranch):
            out = self._landlines.request(branch, branch_id)
        else:
            caller = context.caller_account
            out = self._outgoing.to_target(request, target, branch_id, breadth, caller, context.caller_flow, relayed)
        context.branches.append(branch)
        if context.call is not None:
            context.call.note(now, CallEvent.INVITE, target.account)
        if not relayed or self.media is None or not self.media.takes_request(branch, out, branch_id, now):
            self.offer_ready(branch, out, branch_id, now)

    # What waited for the media engine (BranchOwner)

    def offer_ready(self, branch: Branch, request: Request, branch_id: bytes, now: float) -> None:
        branch.client = self.layer.send(request, branch.target.flow, branch, now, branch_id)
        if not branch.context.is_invite:
            return
        self._start_timer_c(branch, now)
        if isinstance(branch, LandlineBranch) and branch.left:
            branch.silence = True
            self._deadlines.arm(branch, now + SILENCE_T1 * self._timers.t1)

    def offer_refused(self, branch: Branch, status: int, now: float) -> None:
        self._failure(branch, status, None, now)

    def answer_ready(self, branch: Branch, response: Response, now: float) -> None:
        if response.status >= 200 or not branch.context.cancelled_by_caller:
            self.upstream.send(branch.context, response, now)

    def _pass(self, branch: Branch, response: Response, now: float) -> None:
        """Send a 1xx or 2xx on to the caller, after the media engine where it has SDP to rewrite."""
        if branch.media is None or self.media is None or not self.media.takes_response(branch, response, now):
            self.upstream.send(branch.context, response, now)

    def _dialog_flow(self, request: Request, hop: Hop, now: float) -> Flow | None:
        if hop.trunk and hop.to_callee:
            return self._landlines.flow(hop)
        flow = parse_flow(hop.flow)
        return None if flow is None else current_flow(hop.user, request.uri, flow, self._location, now)

    # Trunks

    def _silence(self, branch: LandlineBranch, now: float) -> None:
        """Its gateway should have spoken by now: the next one is tried, unless it has."""
        branch.silence = False
        if branch.heard or branch.cancel_reason is not None:
            self._start_timer_c(branch, now)
            return
        self.cancelling.give_up(branch, now)
        if not self._next_gateway(branch, LOCAL_TIMEOUT, now):
            self._go_on(branch.context, now)

    def _next_gateway(self, branch: LandlineBranch, status: int, now: float) -> bool:
        following = self._landlines.next(branch, status)
        if following is not None:
            self._open(following, now)
        return following is not None

    # Answers of branches

    def _provisional(self, branch: Branch, response: Response, now: float) -> None:
        context = branch.context
        branch.provisional = True
        if branch.cancel_reason is not None:
            self.cancelling.send(branch, now)
            return
        if response.status == 100 or not context.is_invite or branch.status:
            return
        self._start_timer_c(branch, now)
        self._settle(branch, response.status, now)
        self.waiting.heard(branch, response.status, now)
        if context.call is not None:
            context.call.ringing(branch.target.account, now)
        if not context.answered and not context.cancelled_by_caller:
            self._pass(branch, response, now)

    def _success(self, branch: Branch, response: Response, now: float) -> None:
        """The first 2xx wins; every further 2xx to an INVITE passes too, so that its call can be ended (16.7 step 5)."""
        context = branch.context
        branch.status = branch.status or response.status
        branch.due = NEVER
        self._settle(branch, response.status, now)
        self.waiting.heard(branch, response.status, now)
        if isinstance(branch, LandlineBranch):
            self._landlines.over(branch, response.status, now)
        if context.is_invite or not context.answered:
            self._pass(branch, response, now)
        if context.answered:
            return
        if self.media is not None and context.is_invite:
            self.media.answered(branch, response.to_tag)
        context.answered = True
        context.stages.clear()
        context.due = NEVER
        if context.call is not None:
            self._calls.answered(context.call, branch.target.account, response.to_tag, now)
        self.cancelling.cancel_all(context, COMPLETED_ELSEWHERE, ANSWERED_ELSEWHERE, now)

    def _failure(self, branch: Branch, status: int, response: Response | None, now: float) -> None:
        """A branch ended without a 2xx. What we timed out ourselves counts as 408 whatever its CANCEL brought."""
        context = branch.context
        branch.due = NEVER
        if branch.timed_out and (branch.cancel_reason is not None or status == 482):
            status, response = LOCAL_TIMEOUT, None
        branch.status = status
        branch.answer = response
        said = status
        if isinstance(branch, LandlineBranch):
            self._landlines.over(branch, status, now)
            said = branch.said or status
        if branch.media is not None and self.media is not None:
            self.media.branch_ended(branch)
        if context.answered:
            return
        if context.call is not None and branch.cancel_reason is None:
            context.call.failed(branch.target.account, said, now)
        self._settle(branch, status, now)
        if isinstance(branch, LandlineBranch):
            if branch.cancel_reason is None and self._next_gateway(branch, said, now):
                return
        elif status == 430 and self._next_flow(branch, now):
            return
        self.waiting.heard(branch, status, now)
        ends = context.ends_the_search(status)
        if ends:
            context.stages.clear()
        if ends or status >= 600:
            self.cancelling.cancel_all(context, b"", GIVEN_UP, now)
        self._go_on(context, now)

    def _next_flow(self, branch: Branch, now: float) -> bool:
        """RFC 5626 section 7: a flow has failed; try another one of the same device, or wake it where it is an app."""
        context, failed = branch.context, branch.target
        if context.cancelled_by_caller:
            return False
        breadth = context.breadth and max(1, context.breadth // len(context.branches))
        other = other_flow(failed, {one.target.flow.name for one in context.branches}, self._location, now)
        if other is not None:
            self._try(context, other, breadth, now)
            self.waiting.lost(branch, context.branches[-1], now)
            return True
        if branch.cancel_reason is not None or self.waiting.lost(branch, None, now):
            return False
        sleepers = self.waiting.asleep((failed.account,), context, now, failed.instance)
        if sleepers:
            seconds = None if context.due == NEVER else max(0.0, context.due - now)
            self.waiting.enter(context, (), sleepers, [breadth] * len(sleepers), seconds, now)
        return bool(sleepers)

    def _go_on(self, context: ResponseContext, now: float) -> None:
        """After a branch has ended: when all have, ring the next stage or answer the caller."""
        if context.answered or context.is_open():
            return
        if context.cancelled_by_caller or not self._next_stage(context, now):
            self.upstream.finish(context, now)

    def _settle(self, branch: Branch, status: int, now: float) -> None:
        """A device that has the INVITE over an older flow too has answered it over the new one (`waiting.py`, DOUBTED): the older
        one ends without a missed call. A 482 says that the device goes on with the older one (8.2.2.2)."""
        branch.heard = True
        old = branch.moved_from
        branch.moved_from = None
        if old is not None and not old.status and status != 482:
            self.cancelling.give_up(old, now, COMPLETED_ELSEWHERE, MOVED)

    def _start_timer_c(self, branch: Branch, now: float) -> None:
        """16.6 step 11. Most calls are over sooner, and must not be held in memory until then."""
        self._deadlines.arm_late(branch, now + self._timers.c, now + self._timers.lifetime)
