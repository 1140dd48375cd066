"""Requests that wait for facts: which question each waits for, how many may wait, and for how long."""

from collections.abc import Callable

from sip.deadlines import DeadlineHeap, Timed
from sip.directory import AccountFacts, Question
from sip.flow import Flow
from sip.message import Request
from sip.outbound import Hop
from sip.server_transaction import ServerTransaction
from sip.timers import NEVER


class Parked:
    """One waiting request: before authentication without a transaction, after it with both transaction and account.

    `hop` is where a request inside a dialog goes, `octets` how large the request was.
    """

    __slots__ = ("account", "flow", "hop", "octets", "request", "transaction")

    def __init__(
        self,
        request: Request,
        flow: Flow,
        transaction: ServerTransaction | None,
        account: AccountFacts | None,
        hop: Hop | None = None,
        octets: int = 0,
    ) -> None:
        self.hop = hop
        self.octets = octets
        self.request = request
        self.flow = flow
        self.transaction = transaction
        self.account = account


class _Lot(Timed):
    """All that wait for one question, and until when."""

    __slots__ = ("parking", "question", "waiting")

    def __init__(self, parking: "Parking", question: Question) -> None:
        super().__init__()
        self.parking = parking
        self.question = question
        self.waiting: list[Parked] = []

    def fire(self, now: float) -> None:
        self.parking.give_up(self.question, now)


class Parking:
    """Bounded in number and in time. `too_long(parked, now)` is called for what has waited `seconds` in vain."""

    def __init__(self, deadlines: DeadlineHeap, too_long: Callable[[Parked, float], None], *, limit: int, seconds: float) -> None:
        self._deadlines = deadlines
        self._too_long = too_long
        self._limit = limit
        self._seconds = seconds
        self._lots: dict[Question, _Lot] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, question: Question, parked: Parked, now: float) -> bool | None:
        """Let a request wait. True: the question is new and must be asked; False: it is being asked; None: no room."""
        if self._count >= self._limit:
            return None
        lot = self._lots.get(question)
        new = lot is None
        if lot is None:
            lot = self._lots[question] = _Lot(self, question)
            self._deadlines.arm(lot, now + self._seconds)
        lot.waiting.append(parked)
        self._count += 1
        return new

    def leave(self, question: Question) -> list[Parked]:
        """Take out all that waited for this question."""
        lot = self._lots.pop(question, None)
        if lot is None:
            return []
        lot.due = NEVER
        self._count -= len(lot.waiting)
        return lot.waiting

    def give_up(self, question: Question, now: float) -> None:
        """The question was not answered in time."""
        for parked in self.leave(question):
            self._too_long(parked, now)
