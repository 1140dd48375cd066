"""Landlines as branches of a call: which gateway is tried, what it is sent and what the caller sees of it (decision 0008).

A landline of a stage is one branch at a time. Where its gateway fails before the number has rung (503, silence, a dead
connection), a branch over the next gateway takes its place. A branch is counted from before its INVITE leaves until it
fails; what a call holds when it ends is given back then.

This decides and makes messages; to send them is the proxy's.
"""

from typing import Final

from registry.logs import CallEvent
from registry.trunk import SiteLandlines
from sip.call_policy import RingStage
from sip.call_record import Call, CallLog
from sip.client_transaction import ClientTransaction
from sip.cseq_offset import MAX_OFFSET, from_leg, to_leg
from sip.e164 import NumberPlan, NumberRefusal, normalise
from sip.events import GatewayHeard, Output, Refused
from sip.flow import Flow, parse_flow
from sip.loop_detection import looping_branch
from sip.message import Request, Response
from sip.outbound import Hop
from sip.outgoing import Outgoing
from sip.response_context import Branch, BranchOwner, ResponseContext
from sip.responses import REASONS
from sip.target_set import Target
from sip.transaction_layer import TransactionLayer
from sip.trunk_core import TrunkCore
from sip.trunk_gateways import Verdict, upstream_status, verdict
from sip.trunk_leg import LegNames, hide, show
from sip.trunk_limits import LandlineRefusal, status_of
from sip.trunk_routing import TrunkLeg, dialog_flow, dialog_names, is_gateway

SILENCE_T1: Final = 8
"""A gateway that has said nothing for so many T1 (4 s: four copies over UDP) is taken for dead where there is another one."""
_NO_LIMIT: Final = 1_000_000
"""More calls than there are: no limit."""
_DEAD: Final = frozenset((408, 430))
_OVER: Final = frozenset((408, 430, 481))
"""Answers to a BYE after which there is no dialog any more (RFC 3261 15.1.1)."""
_WRITTEN: Final = NumberPlan()
"""Ring plans have numbers in E.164."""


class LandlineBranch(Branch):
    """A branch over a trunk: an INVITE to a number, or a request inside a dialog with one (`gateway` and `leg` are "" then)."""

    __slots__ = ("breadth", "gateway", "heard", "left", "leg", "names", "offset", "proofs", "rang", "said", "silence", "trunk")

    def __init__(self, context: ResponseContext, target: Target, owner: BranchOwner, trunk: str, names: LegNames) -> None:
        super().__init__(context, target, owner)
        self.trunk = trunk
        self.names = names
        self.gateway = ""
        self.leg = ""
        """Its name among the legs that are counted; "": it is not, or not any more."""
        self.left: list[TrunkLeg] = []
        """The ways that are still to be tried for this number."""
        self.breadth = 0
        self.offset = 0
        """How much higher the leg counts than the caller (`cseq_offset.py`)."""
        self.proofs = 0
        self.silence = False
        """Its deadline is that of a gateway's first word."""
        self.heard = False
        self.rang = False
        self.said = 0
        """The trunk's own final status, where the caller is told another one."""


class Landlines:
    """All calls over trunks, as the proxy and admission ask for them."""

    def __init__(self, trunks: TrunkCore, *, calls: CallLog, outgoing: Outgoing, outputs: list[Output]) -> None:
        self._trunks = trunks
        self._calls = calls
        self._outgoing = outgoing
        self._outputs = outputs
        self._serial = 0

    # Who is called, and over what

    def branches(self, context: ResponseContext, stage: RingStage, owner: BranchOwner, now: float) -> list[LandlineBranch]:
        """The branches of a stage's landlines, counted. Why a landline has none is noted in the call's trace."""
        found: list[LandlineBranch] = []
        call = context.call
        if not stage.landlines or call is None:
            return found
        limits = context.landlines or SiteLandlines(call.site)
        numbers: list[str] = []
        for landline in stage.landlines:
            number = normalise(landline, _WRITTEN)
            if isinstance(number, NumberRefusal):
                self._refuse(context, call, landline, number.value, 404, now)
                continue
            if number in numbers:
                continue
            numbers.append(number)
            ways = self._trunks.legs(call.site, number, limits)
            made = ways if isinstance(ways, LandlineRefusal) else self._first(context, call, number, list(ways), owner)
            if isinstance(made, LandlineBranch):
                found.append(made)
            else:
                self._refuse(context, call, number, made.value, status_of(made), now)
        return found

    def _first(
        self, context: ResponseContext, call: Call, number: str, left: list[TrunkLeg], owner: BranchOwner
    ) -> LandlineBranch | LandlineRefusal:
        """A branch over the first of these ways whose trunk has room; it takes over the rest of them."""
        if self._calls.is_full:
            return LandlineRefusal.NODE_FULL
        limits = context.landlines or SiteLandlines(call.site)
        self._serial += 1
        if not call.counted:
            call.counted = f"call {self._serial}"
        refusal = LandlineRefusal.NO_GATEWAY
        while left:
            way = left.pop(0)
            trunk = way.trunk
            leg = f"{number} {self._serial}"
            taken = self._trunks.calls.take(call.counted, leg, call.site, trunk.id, limits.max_calls, trunk.max_calls)
            if taken is None:
                branch = LandlineBranch(context, Target(number, way.names.called, way.flow, ()), owner, trunk.id, way.names)
                branch.gateway, branch.leg, branch.left = way.gateway, leg, left
                return branch
            refusal = taken
        return refusal

    def _refuse(self, context: ResponseContext, call: Call, number: str, reason: str, status: int, now: float) -> None:
        call.note(now, CallEvent.REFUSED, number, reason)
        self._outputs.append(Refused("landline: " + reason, status, context.caller_flow))
        # 503 would be about us (RFC 3261 16.7 step 6).
        context.refusal = max(context.refusal, 500 if status == 503 else status)

    def next(self, branch: LandlineBranch, status: int) -> LandlineBranch | None:
        """The branch that takes the place of one that has failed with this status of its gateway's, or of ours."""
        context = branch.context
        if not branch.left or context.call is None or verdict(status, branch.rang) is not Verdict.NEXT:
            return None
        made = self._first(context, context.call, branch.target.account, branch.left, branch.owner)
        if not isinstance(made, LandlineBranch):
            return None
        made.breadth = branch.breadth
        return made

    # What a trunk is sent

    def request(self, branch: LandlineBranch, branch_id: bytes) -> Request:
        """The copy of the caller's request for this branch."""
        context, target = branch.context, branch.target
        out = self._copy(context.request, target.uri, target.flow, branch_id, branch.names, branch.offset)
        if branch.breadth:
            out.replace(b"max-breadth", b"%d" % branch.breadth)
            self._record(out, branch)
        return out

    def received(
        self, branch: LandlineBranch, transaction: ClientTransaction, response: Response, layer: TransactionLayer, now: float
    ) -> Response | None:
        """A trunk's response as one for the caller; None: it was a challenge that was answered, or it is dropped."""
        if response.status in (401, 407):
            branch_id = looping_branch(layer.new_branch(), branch.context.request)
            out = self._again(branch, transaction, response, branch_id)
            if out is not None:
                branch.client = layer.send(out, transaction.flow, branch, now, branch_id)
                return None
        return self._shown(branch, response)

    def _again(
        self, branch: LandlineBranch, transaction: ClientTransaction, challenge: Response, branch_id: bytes
    ) -> Request | None:
        """The request of this transaction once more, with what answers the trunk's challenge; None: the challenge is final.

        Inside a dialog only a BYE is repeated (`cseq_offset.py`).
        """
        sent, flow = transaction.request, transaction.flow
        inside = branch.breadth == 0
        if (inside and sent.method != b"BYE") or branch.cancel_reason is not None or branch.status or branch.proofs >= MAX_OFFSET:
            return None
        credentials = self._trunks.credentials(branch.trunk, flow)
        proof = None if credentials is None else credentials.answer(challenge, sent.method, sent.uri, branch.proofs)
        if proof is None:
            return None
        out = sent.copy()
        if not to_leg(out, 1):
            return None
        out.replace(b"via", self._outgoing.via(flow, branch_id))
        out.replace(proof[0], proof[1])
        branch.proofs += 1
        branch.offset += 1
        branch.provisional = False
        if not inside:
            # The token is that of this try: whoever answers it returns its offset.
            for _ in range(self._outgoing.records(branch.context.caller_flow, flow)):
                out.remove_first_value(b"record-route")
            self._record(out, branch)
        return out

    def acknowledgement(self, request: Request, hop: Hop, flow: Flow, branch_id: bytes) -> Request:
        """The copy of an ACK of a 2xx that goes to a trunk."""
        return self._copy(request, request.uri, flow, branch_id, self._names(hop, flow), hop.cseq_offset)

    def _copy(self, request: Request, uri: bytes, flow: Flow, branch_id: bytes, names: LegNames, offset: int) -> Request:
        out = self._outgoing.copy(request, uri, flow, branch_id)
        hide(out, names)
        out.uri = uri
        to_leg(out, offset)
        out.prepend(b"via", self._outgoing.via(flow, branch_id))
        return out

    def _record(self, out: Request, branch: LandlineBranch) -> None:
        context = branch.context
        self._outgoing.record(
            out, context.request, branch.target, context.caller_account, context.caller_flow, branch.trunk, branch.offset
        )

    # What the caller sees

    def _shown(self, branch: LandlineBranch, response: Response) -> Response | None:
        """A trunk's response as one to the caller's request, under our own Via as any branch's. None: it is dropped."""
        status = response.status
        branch.heard = True
        if status > 100:
            branch.silence = False
            if branch.gateway and not branch.rang:
                self._outputs.append(GatewayHeard(branch.gateway, True))
            branch.rang = branch.rang or status < 300
        out = response.copy()
        if not from_leg(out, branch.offset):
            return None
        ours = response.all(b"via")[0]
        show(out, branch.context.request)
        out.prepend(b"via", ours)
        if status >= 300:
            branch.said = branch.said or status
        told = upstream_status(status)
        if told != status:
            out.status, out.reason = told, REASONS[told]
            for name in (b"www-authenticate", b"proxy-authenticate", b"contact"):
                out.remove(name)
        return out

    # Counts

    def over(self, branch: LandlineBranch, status: int, now: float) -> None:
        """The branch has its final answer, or is given up with this status of ours.

        A BYE ends the call with its answer, not before: one that the trunk refuses leaves a call that costs money.
        """
        context = branch.context
        request = context.request
        if branch.leg:
            if status >= 300 and context.call is not None:
                self._trunks.calls.give(context.call.counted, branch.leg)
                branch.leg = ""
            if status in _DEAD and not branch.heard:
                self._outputs.append(GatewayHeard(branch.gateway, False))
        elif branch.gateway:
            # It was given up for silent, and answers all the same: whoever talks is counted, whatever the limits say.
            if status < 300 and context.call is not None and not context.answered:
                branch.leg = f"{branch.target.account} late"
                self._trunks.calls.take(context.call.counted, branch.leg, context.call.site, branch.trunk, _NO_LIMIT, _NO_LIMIT)
        elif request.method == b"BYE" and (status < 300 or status in _OVER):
            self._calls.hung_up(request.call_id, request.from_tag, request.to_tag, context.caller_account, now)

    def call_ended(self, call: Call) -> None:
        """Give back what the call still holds."""
        if call.counted:
            self._trunks.calls.ended(call.counted)

    # Inside a dialog

    def inside(self, context: ResponseContext, hop: Hop, flow: Flow, owner: BranchOwner) -> LandlineBranch:
        """The branch of a request of the caller's inside a dialog over a trunk."""
        target = Target(hop.user, context.request.uri, flow, ())
        branch = LandlineBranch(context, target, owner, hop.trunk, self._names(hop, flow))
        branch.offset = hop.cseq_offset
        return branch

    def forbidden(self, request: Request) -> tuple[int, str] | None:
        """What the caller may not ask inside a dialog over a trunk, as (status, reason for counting).

        A token outlives its call, and who pays is not who holds it: a REFER would have the trunk call whom it names, and an
        INVITE after the end would be a call that nobody counts. So after a restart of the node, which forgets its calls, an
        INVITE inside an old one is refused too; all else passes.
        """
        if request.method == b"REFER":
            return 403, "refer over a trunk"
        if request.method == b"INVITE" and not self._calls.is_live(request.call_id, request.from_tag, request.to_tag):
            return 481, "invite in a call that is over"
        return None

    def flow(self, hop: Hop) -> Flow | None:
        """The flow to the trunk of this dialog."""
        flow = parse_flow(hop.flow)
        return None if flow is None else dialog_flow(self._trunks.trunk(hop.trunk), flow)

    def is_end(self, hop: Hop, flow: Flow) -> bool:
        """Whether this comes from the trunk of the dialog: from where the call was made to, or from another of its gateways."""
        dialled = parse_flow(hop.sender_flow)
        return (dialled is not None and dialled.host == flow.host) or is_gateway(self._trunks.trunk(hop.trunk), flow.host)

    def _names(self, hop: Hop, flow: Flow) -> LegNames:
        return dialog_names(self._trunks.trunk(hop.trunk), hop.user, flow)
