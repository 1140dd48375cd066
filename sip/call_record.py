"""What the door log and the call log need to know of one call, derived from the events of its signalling.

A call begins when its INVITE is let through and ends exactly once: with the final answer if it was never answered, with the
BYE that passes if it was, or after `SipLimits.call_seconds` if no BYE is ever seen. The table of live calls is bounded; a call
beyond the bound is carried but not recorded as live (its record ends with the answer).
"""

from collections.abc import Callable

from registry.logs import CallEvent, CallResult, CallStep
from sip.deadlines import DeadlineHeap, Timed
from sip.events import CallEnded, CallFacts, CallStarted, Output
from sip.media_engine import MediaDelete, MediaKey
from sip.timers import NEVER

_LOOK_AFTER = 600.0
"""Most calls are over within this many seconds, and are not held in memory by their deadline for longer."""
AFTER_RING = 180.0
"""Seconds for which a door that may be watched only after a ring is open to the eyes of whom it rang."""
RINGS = 50_000
"""Pairs of caller and called account whose last ring is remembered; the oldest are forgotten first."""
MAX_TRACE = 64
"""Steps of one call's trace; what comes later is left out."""
_DECLINED = frozenset((486, 600, 603, 606))
"""Answers of somebody who knows of the call: it is no missed one."""
_BUSY = frozenset((486, 600))
_NO_ANSWER = frozenset((408, 430, 480))
_REFUSED = frozenset((403, 603, 606))


class Call(Timed):
    """One call while it lives."""

    __slots__ = (
        "answered_at",
        "answered_by",
        "call_id",
        "caller",
        "caller_tag",
        "counted",
        "declined",
        "dialled",
        "key",
        "log",
        "media",
        "rang",
        "site",
        "started",
        "steps",
        "woken",
    )

    def __init__(
        self, log: "CallLog", call_id: bytes, caller_tag: bytes, site: str, caller: str, dialled: str, now: float
    ) -> None:
        super().__init__()
        self.log = log
        self.call_id = call_id
        self.caller_tag = caller_tag
        self.site = site
        self.caller = caller
        self.dialled = dialled
        self.started = now
        self.rang: list[str] = []
        self.woken: list[str] = []
        self.declined: list[str] = []
        self.steps: list[tuple[float, CallEvent, str, str]] = []
        self.answered_by = ""
        self.answered_at = NEVER
        self.counted = ""
        """Its name among the calls whose landlines are counted (`trunk_limits.py`)."""
        self.key = (call_id, caller_tag, b"")
        self.media: MediaKey | None = None
        """Of the answered dialog, where its media goes through an engine."""

    def note(self, now: float, event: CallEvent, account: str, reason: str = "") -> None:
        """One more step of the trace."""
        if len(self.steps) < MAX_TRACE:
            self.steps.append((now - self.started, event, account, reason))

    def ringing(self, account: str, now: float) -> None:
        """A 180 or 183 came from this account."""
        if account not in self.rang:
            self.rang.append(account)
            self.note(now, CallEvent.RINGING, account)
            self.log.rung(self.caller, account, now)

    def failed(self, account: str, status: int, now: float) -> None:
        """A device of this account ended its branch with an error, or was given up."""
        if status in _DECLINED and account not in self.declined:
            self.declined.append(account)
        self.note(now, CallEvent.FAILED, account, str(status))

    def pushed(self, account: str, now: float) -> None:
        """The account's apps are to be woken."""
        if account not in self.woken:
            self.woken.append(account)
        self.note(now, CallEvent.PUSH, account)

    def facts(self, now: float, result: CallResult | None, ended_by: str, status: int) -> CallFacts:
        """The record as of now."""
        answered = self.answered_at != NEVER
        reached = [*self.rang, *[one for one in self.woken if one not in self.rang]]
        return CallFacts(
            call_id=self.call_id.decode("utf-8", "replace"),
            site=self.site,
            caller=self.caller,
            dialled=self.dialled,
            rang=tuple(self.rang),
            answered_by=self.answered_by,
            since_start=now - self.started,
            ring_seconds=(self.answered_at if answered else now) - self.started,
            talk_seconds=now - self.answered_at if answered else 0.0,
            result=result,
            ended_by=ended_by,
            status=status,
            woken=tuple(self.woken),
            missed=() if answered else tuple(one for one in reached if one not in self.declined),
            trace=tuple([CallStep(round(at, 3), event, account, why) for at, event, account, why in self.steps]),
        )

    def fire(self, now: float) -> None:
        """No BYE was ever seen."""
        self.log.end(self, CallResult.ANSWERED, "", 200, now)
        if self.media is not None:
            self.log.emit(MediaDelete(self.media))


class CallLog:
    """All live calls."""

    def __init__(self, deadlines: DeadlineHeap, emit: Callable[[Output], None], *, limit: int, give_up_after: float) -> None:
        self._deadlines = deadlines
        self.emit = emit
        self._limit = limit
        self._give_up_after = give_up_after
        self._rings: dict[tuple[str, str], float] = {}
        self.ended: Callable[[Call], None] = _nobody
        """Called for each call that is over, before its `CallEnded`."""
        self._live: dict[tuple[bytes, bytes, bytes], Call] = {}
        """By dialog (RFC 3261 12): Call-ID and caller's tag are the caller's to choose, and to choose twice."""

    def __len__(self) -> int:
        return len(self._live)

    def talking(self, one: str, other: str) -> str:
        """The Call-ID of an answered call between these two accounts, "" if there is none. Looks at every live call."""
        for call in self._live.values():
            if (call.caller == one and call.answered_by == other) or (call.caller == other and call.answered_by == one):
                return call.call_id.decode("utf-8", "replace")
        return ""

    def rung(self, caller: str, account: str, now: float) -> None:
        """A call of `caller` rings at `account`, or is answered there."""
        key = (caller, account)
        self._rings.pop(key, None)
        self._rings[key] = now
        if len(self._rings) > RINGS:
            del self._rings[next(iter(self._rings))]

    def has_rung(self, caller: str, account: str, now: float) -> bool:
        """Whether a call of `caller` has rung at `account` within AFTER_RING seconds."""
        at = self._rings.get((caller, account))
        return at is not None and now - at <= AFTER_RING

    def parties(self, call_id: bytes, from_tag: bytes, to_tag: bytes) -> tuple[str, str] | None:
        """The accounts of an answered call: whose tag `from_tag` is, then the other side's."""
        call = self._live.get((call_id, from_tag, to_tag))
        if call is not None:
            return call.caller, call.answered_by
        call = self._live.get((call_id, to_tag, from_tag))
        return None if call is None else (call.answered_by, call.caller)

    def begin(self, call_id: bytes, caller_tag: bytes, site: str, caller: str, dialled: str, now: float) -> Call:
        """An INVITE was let through."""
        call = Call(self, call_id, caller_tag, site, caller, dialled, now)
        self.emit(CallStarted(call.facts(now, None, "", 0)))
        return call

    def answered(self, call: Call, account: str, tag: bytes, now: float) -> None:
        """The first 2xx of the call, with this To tag."""
        if call.answered_at != NEVER:
            return
        call.answered_by = account
        call.answered_at = now
        call.note(now, CallEvent.ANSWERED, account)
        self.rung(call.caller, account, now)
        if self.is_full:
            self._over(call, call.facts(now, CallResult.ANSWERED, "", 200))
            return
        call.key = (call.call_id, call.caller_tag, tag)
        earlier = self._live.get(call.key)
        if earlier is not None:
            self.end(earlier, CallResult.ANSWERED, "", 200, now)
        self._live[call.key] = call
        self._deadlines.arm_late(call, now + self._give_up_after, now + _LOOK_AFTER)

    def unanswered(self, call: Call, status: int, by_caller: bool, now: float) -> None:
        """The final non-2xx answer of a call that was never answered."""
        if by_caller:
            result = CallResult.CANCELLED
        elif status in _BUSY:
            result = CallResult.BUSY
        elif status in _NO_ANSWER:
            result = CallResult.NO_ANSWER
        elif status in _REFUSED:
            result = CallResult.REFUSED
        else:
            result = CallResult.FAILED
        self._over(call, call.facts(now, result, call.caller if by_caller else "", status))

    @property
    def is_full(self) -> bool:
        """Whether a further call would be over, for the record, with its answer."""
        return len(self._live) >= self._limit

    def is_live(self, call_id: bytes, one_tag: bytes, other_tag: bytes) -> bool:
        """Whether this dialog is that of a live call."""
        return (call_id, one_tag, other_tag) in self._live or (call_id, other_tag, one_tag) in self._live

    def hung_up(self, call_id: bytes, from_tag: bytes, to_tag: bytes, by: str, now: float) -> None:
        """A BYE inside a dialog of ours passed."""
        call = self._live.get((call_id, from_tag, to_tag)) or self._live.get((call_id, to_tag, from_tag))
        if call is not None:
            self.end(call, CallResult.ANSWERED, by, 200, now)

    def end(self, call: Call, result: CallResult, by: str, status: int, now: float) -> None:
        """The live call is over."""
        if self._live.get(call.key) is call:
            del self._live[call.key]
            call.due = NEVER
            self._over(call, call.facts(now, result, by, status))

    def _over(self, call: Call, facts: CallFacts) -> None:
        self.ended(call)
        self.emit(CallEnded(facts))


def _nobody(_call: Call) -> None:
    """Who is told of calls that are over, until somebody wants to be."""
