"""Offers and answers (RFC 3264) on their way through the media engine: what waits for it, and when it is told of an end.

The proxy asks `relays` for each branch, then hands over what leaves (`takes_request`) and comes back (`takes_response`). What is
taken waits here until the engine has said its word, and goes on through `BranchOwner`. An offer without media is refused, because
a call without media is worse than none; an answer without media passes as it is, because a 2xx cannot be taken back.
"""

from typing import Final

from sip.deadlines import DeadlineHeap, Timed
from sip.events import Output, Send
from sip.flow import Flow, parse_flow
from sip.media_engine import MediaAnswer, MediaDelete, MediaFailed, MediaKey, MediaOffer, MediaReady
from sip.media_leg import ANSWERING, MOST_HELD, OFFERING, OPEN, Answered, MediaLeg, sdp_of
from sip.media_rule import MediaRule, is_relayed, transport_toward
from sip.message import Request, Response
from sip.outbound import Hop
from sip.response_context import Branch, ResponseContext
from sip.target_set import Target
from sip.timers import NEVER

_CARRIERS: Final = frozenset((b"INVITE", b"UPDATE", b"PRACK"))
"""Methods that carry offers and answers; ACK has no branch, and what BYE ends is deleted."""
_MOST_ACKS: Final = 1_000
"""ACKs that wait for the engine; what comes on top is dropped, and comes again with the next 2xx."""


class Hold(Timed):
    """One message that waits for the engine: a branch's, or an ACK with the flow it goes over."""

    __slots__ = ("ack", "branch", "flow", "number", "owner")

    def __init__(self, number: int, branch: Branch | None, ack: Request | None, flow: Flow | None, owner: "OfferAnswer") -> None:
        super().__init__()
        self.number = number
        self.branch = branch
        self.ack = ack
        self.flow = flow
        self.owner = owner

    def fire(self, now: float) -> None:
        self.owner.failed(self.number, "engine down", 503, now)


class OfferAnswer:
    """All that waits for the engine, each for `seconds` at most."""

    def __init__(self, rule: MediaRule, *, deadlines: DeadlineHeap, outputs: list[Output], seconds: float) -> None:
        self._rule = rule
        self._deadlines = deadlines
        self._outputs = outputs
        self._seconds = seconds
        self._number = 0
        self._holds: dict[int, Hold] = {}
        self._acks = 0
        self._offered: dict[tuple[bytes, bytes, bytes], MediaLeg] = {}
        """Offers in 1xx (Call-ID, tag of the offerer, of the other) that a PRACK may answer, until their branch has ended."""

    def __len__(self) -> int:
        """Messages that wait for the engine."""
        return len(self._holds)

    def relays(self, context: ResponseContext, target: Target, trunk: bool = False) -> bool:
        """Whether the media between the caller and this target goes through the engine."""
        return context.relayed or is_relayed(self._rule, context.caller_flow, target.flow, trunk)

    # What leaves

    def takes_request(self, branch: Branch, out: Request, branch_id: bytes, now: float) -> bool:
        """The request of a relayed branch is about to leave. True: it waits for the engine."""
        request = branch.context.request
        key = MediaKey(request.call_id, request.from_tag, request.to_tag, b"" if request.to_tag else branch_id)
        if out.method == b"BYE":
            self._outputs.append(MediaDelete(key))
            return False
        if out.method not in _CARRIERS:
            return False
        leg = branch.media = MediaLeg(key, out.method, branch_id)
        sdp = sdp_of(out)
        if not sdp:
            return False
        caller, callee = branch.context.caller_flow, branch.target.flow
        leg.request = out
        leg.state = OFFERING
        leg.number = self._wait(branch, now)
        if out.method == b"PRACK" and self._offered.pop((request.call_id, request.to_tag, request.from_tag), None) is not None:
            leg.is_answer = True
            answered = MediaKey(request.call_id, request.to_tag, request.from_tag)
            self._outputs.append(MediaAnswer(answered, leg.number, sdp, caller.host, True))
            return True
        leg.offered = True
        toward = transport_toward(self._rule, caller, callee)
        self._outputs.append(MediaOffer(key, leg.number, sdp, caller.host, callee.host, toward))
        return True

    def takes_ack(self, request: Request, out: Request, hop: Hop, flow: Flow, now: float) -> bool:
        """The ACK of a 2xx (`request` as it came, `out` as it leaves); SDP in it is the answer to the offer in the 2xx. True: it
        waits, or is dropped."""
        sdp = sdp_of(out)
        source = parse_flow(hop.sender_flow) if sdp else None
        if source is None or not (hop.relayed or is_relayed(self._rule, source, flow, hop.trunk != "")):
            return False
        if self._acks >= _MOST_ACKS:
            return True
        self._acks += 1
        number = self._next()
        hold = self._holds[number] = Hold(number, None, out, flow, self)
        self._deadlines.arm(hold, now + self._seconds)
        key = MediaKey(request.call_id, request.to_tag, request.from_tag)
        self._outputs.append(MediaAnswer(key, number, sdp, source.host, True))
        return True

    # What comes back

    def takes_response(self, branch: Branch, response: Response, now: float) -> bool:
        """A 1xx or 2xx of a relayed branch is about to go to the caller. True: it waits for the engine."""
        leg = branch.media
        if leg is None:
            return False
        asks = not branch.context.answered  # a further 2xx of an INVITE is of a fork that the engine has dropped
        if leg.state is ANSWERING:
            if len(leg.held) < MOST_HELD:
                leg.held.append((response, asks))
            return True
        return leg.state is OPEN and self._asks(branch, leg, response, asks, now)

    def _asks(self, branch: Branch, leg: MediaLeg, response: Response, asks: bool, now: float) -> bool:
        """Ask the engine about a response. False: there is nothing to ask, it passes (with what the engine said before)."""
        sdp = sdp_of(response)
        tag = response.to_tag
        final = leg.offered and leg.method == b"INVITE" and response.status >= 200
        if not sdp:
            if final and asks:
                self._confirm(branch, leg, response)
            return False
        known = leg.known_for(tag, final, sdp)
        if known:
            response.body = known
            return False
        if not asks or leg.is_answer or not (leg.offered or leg.method == b"INVITE"):
            return False
        leg.step("asked")
        leg.held.insert(0, (response, asks))
        leg.number = self._wait(branch, now)
        if leg.offered:
            self._answer(branch, leg, response, sdp, final, leg.number)
        else:
            self._offer_back(branch, leg, response, sdp)
        return True

    def _confirm(self, branch: Branch, leg: MediaLeg, response: Response) -> None:
        """A 2xx without SDP: the answer came early, in a reliable 1xx, and counts from now on. Or there never was one."""
        early = leg.early(response.to_tag)
        if early is not None:
            self._answer(branch, leg, response, early.raw, True, self._next())
            leg.learn(Answered(response.to_tag, True, early.raw, early.sdp))
        elif leg.is_fork:
            self._delete_call(leg)

    def _answer(self, branch: Branch, leg: MediaLeg, response: Response, sdp: bytes, final: bool, number: int) -> None:
        key = MediaKey(leg.key.call_id, leg.key.from_tag, response.to_tag, leg.key.branch)
        self._outputs.append(MediaAnswer(key, number, sdp, branch.target.flow.host, final))

    def _offer_back(self, branch: Branch, leg: MediaLeg, response: Response, sdp: bytes) -> None:
        """The INVITE had no offer, so the response has it (RFC 3261 13.2.1); the ACK or a PRACK answers it."""
        caller, callee = branch.context.caller_flow, branch.target.flow
        key = MediaKey(leg.key.call_id, response.to_tag, leg.key.from_tag, leg.key.branch)
        if key not in leg.offers:
            leg.offers.append(key)
        if response.status < 200:
            self._offered[(key.call_id, key.from_tag, key.to_tag)] = leg
        toward = transport_toward(self._rule, callee, caller)
        self._outputs.append(MediaOffer(key, leg.number, sdp, callee.host, caller.host, toward))

    # Ends

    def answered(self, branch: Branch, tag: bytes) -> None:
        """An INVITE has its first 2xx, from this branch and with this tag: where it is a new call's, it has begun.

        The engine drops other branches by the answer itself. Where the media of this one is not relayed, they end here.
        """
        context, leg = branch.context, branch.media
        if leg is not None:
            self._forget_offers(leg)
        if leg is not None and leg.was_asked:
            if context.call is not None:
                context.call.media = MediaKey(leg.key.call_id, leg.key.from_tag, tag)
            return
        for one in context.branches:
            if one.media is not None and one.media.is_fork and one.media.offered:
                self._delete_call(one.media)
                return

    def branch_ended(self, branch: Branch) -> None:
        """A branch has failed or is wanted no more. Its ports are freed now, where its call goes on."""
        leg, context = branch.media, branch.context
        if leg is None:
            return
        self._drop(leg)
        self._delete_offers(leg)
        goes_on = bool(context.stages) or context.is_open()
        if leg.is_fork and leg.offered and goes_on and not context.answered:
            self._outputs.append(MediaDelete(leg.key))

    def call_ended(self, context: ResponseContext) -> None:
        """A new call has got its final answer, and it is none: nothing is left of its media."""
        offered: MediaLeg | None = None
        for branch in context.branches:
            leg = branch.media
            if leg is not None:
                self._drop(leg)
                self._delete_offers(leg)
                if leg.is_fork and leg.offered:
                    offered = leg
        if offered is not None:
            self._delete_call(offered)

    def _drop(self, leg: MediaLeg) -> None:
        """Nothing of this branch waits any more."""
        leg.step("ended")
        leg.held.clear()
        leg.request = None
        hold = self._holds.pop(leg.number, None)
        if hold is not None:
            hold.due = NEVER

    def _delete_call(self, leg: MediaLeg) -> None:
        self._outputs.append(MediaDelete(MediaKey(leg.key.call_id, leg.key.from_tag)))

    def _delete_offers(self, leg: MediaLeg) -> None:
        """What the device offered itself has a session of its own, under its tag. A refused re-INVITE ends none."""
        self._forget_offers(leg)
        if leg.is_fork:
            self._outputs += [MediaDelete(key) for key in leg.offers]
        leg.offers.clear()

    def _forget_offers(self, leg: MediaLeg) -> None:
        for key in leg.offers:
            self._offered.pop((key.call_id, key.from_tag, key.to_tag), None)

    # What the engine says

    def ready(self, outcome: MediaReady, now: float) -> None:
        """The SDP to send on."""
        hold = self._release(outcome.number)
        if hold is not None:
            self._go_on(hold, "ready", outcome.sdp, 0, now)

    def refused(self, outcome: MediaFailed, now: float) -> None:
        """There is none."""
        self.failed(outcome.number, outcome.reason, outcome.status, now)

    def failed(self, number: int, _reason: str, status: int, now: float) -> None:
        """The engine cannot, or has said nothing in time."""
        hold = self._release(number)
        if hold is not None:
            self._go_on(hold, "failed", b"", status, now)

    def _go_on(self, hold: Hold, event: str, sdp: bytes, status: int, now: float) -> None:
        branch = hold.branch
        if branch is None:
            self._send_ack(hold, sdp)
            return
        leg = branch.media
        if leg is None:
            return
        what = leg.step("ready" if leg.is_answer else event)
        if what == "send" and leg.request is not None:
            request, leg.request = leg.request, None
            request.body = sdp or request.body
            branch.owner.offer_ready(branch, request, leg.branch_id, now)
        elif what == "refuse":
            leg.request = None
            branch.owner.offer_refused(branch, status, now)
        elif what == "pass":
            self._pass(branch, leg, sdp, now)

    def _pass(self, branch: Branch, leg: MediaLeg, sdp: bytes, now: float) -> None:
        """The engine is done with the first of the held responses: pass it, and those behind it up to the next with SDP."""
        response, _ = leg.held.pop(0)
        if sdp:
            final = leg.offered and leg.method == b"INVITE" and response.status >= 200
            leg.learn(Answered(response.to_tag, final, response.body, sdp))
            response.body = sdp
        elif leg.is_fork and leg.offered and response.status >= 200:
            self._delete_call(leg)
        branch.owner.answer_ready(branch, response, now)
        while leg.held and leg.state is OPEN:
            response, asks = leg.held.pop(0)
            if not self._asks(branch, leg, response, asks, now):
                branch.owner.answer_ready(branch, response, now)

    def _send_ack(self, hold: Hold, sdp: bytes) -> None:
        self._acks -= 1
        if hold.ack is not None and hold.flow is not None:
            hold.ack.body = sdp or hold.ack.body
            self._outputs.append(Send(hold.flow, hold.ack.to_bytes()))

    def _wait(self, branch: Branch, now: float) -> int:
        number = self._next()
        hold = self._holds[number] = Hold(number, branch, None, None, self)
        self._deadlines.arm(hold, now + self._seconds)
        return number

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _release(self, number: int) -> Hold | None:
        hold = self._holds.pop(number, None)
        if hold is not None:
            hold.due = NEVER
        return hold
