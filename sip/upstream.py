"""What the caller is told: a branch's response passed on, the best of all, or an answer of our own (RFC 3261 16.7)."""

from sip.call_record import CallLog
from sip.message import Response
from sip.offer_answer import OfferAnswer
from sip.response_context import LOCAL_TIMEOUT, ResponseContext
from sip.responses import make_response
from sip.timers import NEVER
from sip.transaction_layer import TransactionLayer
from sip.waiting import GIVEN_UP, WaitingRoom


class Upstream:
    """Answers through the server transactions of `layer`. With its final answer a call that was never answered is over: nothing
    waits for an app any more, the media engine and the call log are told."""

    __slots__ = ("_calls", "_layer", "_media", "_waiting")

    def __init__(self, layer: TransactionLayer, waiting: WaitingRoom, media: OfferAnswer | None, calls: CallLog) -> None:
        self._layer = layer
        self._waiting = waiting
        self._media = media
        self._calls = calls

    def finish(self, context: ResponseContext, now: float) -> None:
        """Every branch has ended and nobody is left to ring: send the best response (16.7 step 6), with the other challenges
        (step 7) and 503 turned into 500, for 503 would be about us."""
        best = context.best()
        if context.cancelled_by_caller:
            self.answer(context, 487, now)
        elif best is None:
            self.answer(context, context.refusal or 480, now)
        elif best.answer is None:
            self.answer(context, best.status, now)
        elif best.status == 503:
            self.answer(context, 500, now)
        else:
            response = best.answer.copy()
            for name, value in context.challenges(best):
                response.append(name, value)
            self._ended(context, best.status, now)
            self.send(context, response, now)

    def answer(self, context: ResponseContext, status: int, now: float) -> None:
        """Answer the caller ourselves. RFC 4320 4.2: never 408 to a non-INVITE; the client has timed out by itself then."""
        self._ended(context, status, now)
        if status == LOCAL_TIMEOUT and not context.is_invite:
            context.server.abandon()
            return
        self._layer.respond(context.server, make_response(context.request, status, to_tag=self._layer.token(8)), now)

    def _ended(self, context: ResponseContext, status: int, now: float) -> None:
        context.answered = True
        context.due = NEVER
        if context.waiting:
            self._waiting.end(context, GIVEN_UP, now)
        if self._media is not None and context.is_invite:
            self._media.call_ended(context)
        if context.call is not None:
            self._calls.unanswered(context.call, status, context.cancelled_by_caller, now)

    def send(self, context: ResponseContext, response: Response, now: float) -> None:
        """Send a branch's response to the caller without our Via (16.7 steps 3, 8 and 9)."""
        out = response.copy()
        out.remove_first_value(b"via")
        self._layer.respond(context.server, out, now)
