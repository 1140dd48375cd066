"""Ending branches that ring in vain: the rules of CANCEL (RFC 3261 9.1, 16.10)."""

from registry.logs import CallEvent
from sip.deadlines import DeadlineHeap
from sip.landline_branches import LandlineBranch, Landlines
from sip.offer_answer import OfferAnswer
from sip.response_context import LOCAL_TIMEOUT, Branch, ResponseContext
from sip.timers import NEVER, Timers
from sip.transaction_layer import TransactionLayer
from sip.waiting import GIVEN_UP, WaitingRoom


class Cancelling:
    """Cancels branches through the client transactions of `layer`, each once and not before its first provisional."""

    __slots__ = ("_deadlines", "_landlines", "_layer", "_media", "_timers", "_waiting")

    def __init__(
        self,
        layer: TransactionLayer,
        waiting: WaitingRoom,
        media: OfferAnswer | None,
        landlines: Landlines,
        deadlines: DeadlineHeap,
        timers: Timers,
    ) -> None:
        self._layer = layer
        self._waiting = waiting
        self._media = media
        self._landlines = landlines
        self._deadlines = deadlines
        self._timers = timers

    def give_up(self, branch: Branch, now: float, reason: bytes = b"", why: str = GIVEN_UP) -> None:
        """It has rung long enough. Without a provisional it may not be cancelled yet (9.1) and counts as over."""
        branch.timed_out = True
        if branch.context.call is not None and branch.cancel_reason is None:
            branch.context.call.note(now, CallEvent.CANCELLED, branch.target.account, why)
        self._cancel(branch, reason, now)
        if not branch.provisional:
            branch.status = LOCAL_TIMEOUT
            branch.due = NEVER
            if isinstance(branch, LandlineBranch):
                self._landlines.over(branch, LOCAL_TIMEOUT, now)

    def cancel_all(self, context: ResponseContext, reason: bytes, why: str, now: float) -> None:
        """Cancel what is open, and wait for no app any more."""
        for branch in context.open_branches():
            if context.call is not None and branch.cancel_reason is None:
                context.call.note(now, CallEvent.CANCELLED, branch.target.account, why)
            self._cancel(branch, reason, now)
        if context.waiting:
            self._waiting.end(context, why, now)

    def _cancel(self, branch: Branch, reason: bytes, now: float) -> None:
        """Cancel an open branch now, or as soon as its first provisional comes. Only an INVITE can be cancelled (9.1)."""
        if branch.status or branch.cancel_reason is not None or not branch.context.is_invite:
            return
        branch.cancel_reason = reason
        if branch.client is None and self._media is not None:
            # It waits for the media engine: no INVITE has left.
            branch.status = 487
            self._media.branch_ended(branch)
        if branch.provisional:
            self.send(branch, now)

    def send(self, branch: Branch, now: float) -> None:
        if branch.cancelled or branch.client is None or branch.cancel_reason is None:
            return
        branch.cancelled = True
        self._layer.cancel(branch.client, now, branch.cancel_reason)
        self._deadlines.arm(branch, now + self._timers.lifetime)
