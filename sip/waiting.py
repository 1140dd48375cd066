"""Apps that sleep (RFC 8599): branches that wait until the app has been woken and registers, and the pushes that wake it.

    ASKING     memory does not know yet how the account's apps are woken
    ASLEEP     the push is out; the call waits for the app
    UNREACHED  the push failed; the app still rings should it register, but no further stage waits for it
    over       it rings (a branch of its own took over), or nothing waits for it any more

A waiting branch is one app: an account and an instance. The INVITE goes to it once, because what wakes up waits no more.
"""

from typing import Final

from registry.records import CallEvent
from sip.call_record import Call
from sip.deadlines import DeadlineHeap
from sip.directory import AccountFacts, Directory, PushDirectory, PushParameters, PushQuestion
from sip.events import Fetch, Output, Push, Refused
from sip.location import Location
from sip.response_context import BranchOwner, ResponseContext, WaitingBranch
from sip.target_set import Target, target_of
from sip.timers import NEVER

ASKING: Final = "asking"
ASLEEP: Final = "asleep"
UNREACHED: Final = "unreached"
OVER: Final = "over"

ANSWERED_ELSEWHERE: Final = "answered-elsewhere"
GIVEN_UP: Final = "given-up"

# (state, what happened) -> (next state, what is done). What is not here changes nothing.
TABLE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (ASKING, "can be woken"): (ASLEEP, ""),
    (ASKING, "cannot be woken"): (OVER, ""),
    (ASKING, "registered"): (OVER, "ring"),
    (ASKING, ANSWERED_ELSEWHERE): (OVER, ""),
    (ASKING, GIVEN_UP): (OVER, ""),
    (ASLEEP, "push failed"): (UNREACHED, "let go"),
    (ASLEEP, "registered"): (OVER, "ring"),
    (ASLEEP, ANSWERED_ELSEWHERE): (OVER, "withdraw"),
    (ASLEEP, GIVEN_UP): (OVER, "withdraw"),
    (UNREACHED, "registered"): (OVER, "ring"),
    # A push service that did not answer in time may have taken the push all the same.
    (UNREACHED, ANSWERED_ELSEWHERE): (OVER, "withdraw"),
    (UNREACHED, GIVEN_UP): (OVER, "withdraw"),
}


class Sleeper:
    """An app that a stage wants and that has no live binding. `apps` None: memory does not know whether there is one."""

    __slots__ = ("account", "app", "instance")

    def __init__(self, account: str, app: PushParameters | None) -> None:
        self.account = account
        self.app = app
        self.instance = b"" if app is None else app.instance.encode("utf-8", "surrogateescape")


class WaitingOwner(BranchOwner):
    """Who opens the branch of an app that woke up: the proxy."""

    def woke(self, waiting: WaitingBranch, target: Target, now: float) -> None:
        """The app has registered: it waits no more, and rings."""
        raise NotImplementedError


class WaitingRoom:
    """All waiting branches, bounded in number. `push` None: nothing is ever woken.

    It decides who waits and what a waiting branch does next; to open a branch, or to go on with a call, is the owner's.
    """

    def __init__(
        self,
        owner: WaitingOwner,
        *,
        location: Location,
        directory: Directory,
        push: PushDirectory | None,
        deadlines: DeadlineHeap,
        outputs: list[Output],
        limit: int,
        seconds: float,
    ) -> None:
        self._owner = owner
        self._location = location
        self._directory = directory
        self._push = push
        self._deadlines = deadlines
        self._outputs = outputs
        self._limit = limit
        self._seconds = seconds
        self._by_account: dict[str, list[WaitingBranch]] = {}
        self._count = 0
        self._serial = 0
        self._asked: dict[int, tuple[ResponseContext, Call, str]] = {}

    def __len__(self) -> int:
        return self._count

    # Who waits

    def asleep(self, accounts: tuple[str, ...], context: ResponseContext, now: float, instance: bytes = b"") -> list[Sleeper]:
        """The apps of these accounts that must be woken first; of one `instance` only where a GRUU asks for it."""
        found: list[Sleeper] = []
        if self._push is None or not context.is_invite or context.call is None:
            return found
        for account in accounts:
            if account == context.caller_account:
                continue
            facts = self._directory.account(account)
            if not isinstance(facts, AccountFacts) or facts.kind != "app":
                continue
            found += [one for one in self._sleepers(account, now) if not instance or one.app is None or one.instance == instance]
        if found and self._count + len(found) > self._limit:
            self._outputs.append(Refused("waiting full", 0, context.caller_flow))
            return []
        return found

    def _sleepers(self, account: str, now: float) -> list[Sleeper]:
        assert self._push is not None
        apps = self._push.parameters(account)
        if not isinstance(apps, tuple):
            return [Sleeper(account, None)]
        live = {one.instance_id for one in self._location.bindings(account, now)}
        found: list[Sleeper] = []
        for app in apps:
            one = Sleeper(account, app)
            if one.instance not in live:
                found.append(one)
        return found

    def enter(
        self, context: ResponseContext, sleepers: list[Sleeper], shares: list[int], seconds: float | None, now: float
    ) -> None:
        """Let these wait, and push each account once per call. `seconds` is the stage's ring time, None where it has none."""
        for one, share in zip(sleepers, shares, strict=True):
            self._add(context, one, share, seconds is None, now)
        accounts: list[str] = []
        for one in sleepers:
            if one.account not in accounts:
                accounts.append(one.account)
        for account in accounts:
            apps = tuple([one.app for one in sleepers if one.account == account and one.app is not None])
            if apps:
                self._wake(context, account, apps, seconds, now)
            else:
                self._outputs.append(Fetch(PushQuestion(account)))

    def _add(self, context: ResponseContext, one: Sleeper, share: int, timed: bool, now: float) -> None:
        if any(other.account == one.account and other.instance == one.instance for other in context.waiting):
            return  # two PRIDs of apps without an instance: whichever registers first is the one that rings
        waiting = WaitingBranch(context, one.account, one.instance, share, ASKING if one.app is None else ASLEEP, self._owner)
        context.waiting.append(waiting)
        self._by_account.setdefault(one.account, []).append(waiting)
        self._count += 1
        if timed:
            self._deadlines.arm(waiting, now + self._seconds)

    # Pushes

    def _wake(
        self, context: ResponseContext, account: str, apps: tuple[PushParameters, ...], seconds: float | None, now: float
    ) -> None:
        call = context.call
        if call is None or account in call.woken:
            return
        call.pushed(account, now)
        self._ask(context, call, "call", account, apps, "", self._seconds if seconds is None else seconds)

    def _withdraw(self, waiting: WaitingBranch, why: str) -> None:
        """Tell the app that the call it was woken for is over, unless a further stage is to ring it."""
        context, call = waiting.context, waiting.context.call
        if any(waiting.account in stage.accounts for stage in context.stages):
            return
        apps = self._push.parameters(waiting.account) if self._push is not None else ()
        if call is None or not isinstance(apps, tuple):
            return
        instance = waiting.instance.decode("utf-8", "surrogateescape")
        chosen = tuple([one for one in apps if one.instance == instance])
        if chosen:
            self._ask(context, call, "cancel", waiting.account, chosen, why, self._seconds)

    def _ask(
        self,
        context: ResponseContext,
        call: Call,
        purpose: str,
        account: str,
        apps: tuple[PushParameters, ...],
        why: str,
        seconds: float,
    ) -> None:
        self._serial += 1
        if purpose == "call":
            self._asked[self._serial] = (context, call, account)
        call_id = call.call_id.decode("utf-8", "replace")
        self._outputs.append(
            Push(self._serial, purpose, account, apps, call_id, call.site, call.caller, call.dialled, why, seconds)
        )

    def pushed(self, serial: int, accepted: bool, reason: str, now: float) -> ResponseContext | None:
        """What became of a push. The context, where the call may now go on without the app; else None."""
        found = self._asked.pop(serial, None)
        if found is None:
            return None
        context, call, account = found
        call.note(now, CallEvent.PUSH_ACCEPTED if accepted else CallEvent.PUSH_REFUSED, account, reason)
        if accepted:
            return None
        for waiting in list(context.waiting):
            if waiting.account == account:
                self._step(waiting, "push failed", now)
        return context

    # What happens to who waits

    def known(self, account: str, now: float) -> list[ResponseContext]:
        """Memory knows now how the account's apps are woken, or cannot find out. Calls that have nothing to wait for there."""
        assert self._push is not None
        idle: list[ResponseContext] = []
        for waiting in [one for one in self._by_account.get(account, []) if one.state == ASKING]:
            context = waiting.context
            sleepers = [one for one in self._sleepers(account, now) if one.app is not None]
            apps = tuple([one.app for one in sleepers if one.app is not None])
            if not sleepers:
                self._step(waiting, "cannot be woken", now)
                if context.call is not None and not self._location.bindings(account, now):
                    context.call.note(now, CallEvent.UNREACHABLE, account)
                idle.append(context)
                continue
            waiting.instance = sleepers[0].instance
            self._step(waiting, "can be woken", now)
            # Its share of Max-Breadth is for all of the account's apps.
            sleepers = sleepers[: max(1, waiting.breadth)]
            share, rest = divmod(waiting.breadth, len(sleepers))
            waiting.breadth = share + min(1, rest)
            for number, one in enumerate(sleepers[1:], 1):
                if self._count < self._limit:
                    self._add(context, one, share + (1 if number < rest else 0), waiting.due != NEVER, now)
            seconds = None if context.due == NEVER else max(1.0, context.due - now)
            self._wake(context, account, apps, seconds, now)
        return idle

    def registered(self, account: str, now: float) -> None:
        """The account's bindings are new ones: what waited for one of them rings."""
        for waiting in list(self._by_account.get(account, ())):
            target = self._target(waiting, now)
            if target is not None and self._step(waiting, "registered", now):
                if waiting.context.call is not None:
                    waiting.context.call.note(now, CallEvent.REGISTERED, account)
                self._owner.woke(waiting, target, now)

    def _target(self, waiting: WaitingBranch, now: float) -> Target | None:
        """The newest binding that this waits for and that has not had the request."""
        found: Target | None = None
        for one in sorted(self._location.bindings(waiting.account, now), key=lambda one: one.updated):
            if waiting.instance and one.instance_id != waiting.instance:
                continue
            if not waiting.context.has_tried(waiting.account, one.contact, one.flow.name, one.instance_id):
                found = target_of(waiting.account, one)
        return found

    def end(self, context: ResponseContext, why: str, now: float) -> None:
        """Nothing waits for this call any more: it was ANSWERED_ELSEWHERE, or GIVEN_UP."""
        for waiting in list(context.waiting):
            self.end_one(waiting, why, now)

    def end_one(self, waiting: WaitingBranch, why: str, now: float) -> None:
        """This app is not waited for any more."""
        if self._step(waiting, why, now) and waiting.context.call is not None:
            waiting.context.call.note(now, CallEvent.CANCELLED, waiting.account, why)

    def _step(self, waiting: WaitingBranch, event: str, now: float) -> bool:
        """One row of the table. False: there is none."""
        row = TABLE.get((waiting.state, event))
        if row is None:
            return False
        waiting.state, what = row
        if what == "let go":
            waiting.holds = False
        elif what == "withdraw":
            self._withdraw(waiting, event)
        if waiting.state == OVER:
            self._leave(waiting)
        return True

    def _leave(self, waiting: WaitingBranch) -> None:
        waiting.due = NEVER
        waiting.context.waiting.remove(waiting)
        others = self._by_account[waiting.account]
        others.remove(waiting)
        if not others:
            del self._by_account[waiting.account]
        self._count -= 1
