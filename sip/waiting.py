"""Apps that sleep (RFC 8599): branches that wait until the app has been woken and registers, and the pushes that wake it.

    ASKING     memory does not know yet how the account's apps are woken
    ASLEEP     the push is out; the call waits for the app
    UNREACHED  the push failed; the app still rings should it register, but no further stage waits for it
    DOUBTED    the app has a live binding; INVITE and push are both out, for the flow may be dead (a phone in Doze, a stream whose
               peer is gone): whether the app answers over it or registers on another is open
    UNPUSHED   the same, and the push failed
    over       it rings (a branch of its own took over), or nothing waits for it any more

A waiting branch is one app: an account and an instance. The INVITE goes to it once, because what wakes up waits no more. An app
in DOUBT gets it a second time, over its new flow, only as long as the first has brought nothing (a 100 is any proxy's); which of
both is ended then is the proxy's (`Proxy._settle`).
"""

from typing import Final

from registry.logs import CallEvent
from sip.call_record import Call
from sip.deadlines import DeadlineHeap
from sip.directory import AccountFacts, Directory, PushDirectory, PushParameters, PushQuestion
from sip.events import Fetch, Output, Push, Refused
from sip.flow import Flow
from sip.location import Location
from sip.push import prid_of
from sip.response_context import LOCAL_TIMEOUT, Branch, BranchOwner, ResponseContext, WaitingBranch
from sip.target_set import Target, target_of
from sip.timers import NEVER

ASKING: Final = "asking"
ASLEEP: Final = "asleep"
UNREACHED: Final = "unreached"
DOUBTED: Final = "doubted"
UNPUSHED: Final = "unpushed"
OVER: Final = "over"

ANSWERED_ELSEWHERE: Final = "answered-elsewhere"
GIVEN_UP: Final = "given-up"
MOVED: Final = "moved"
"""Why a branch was ended: its device takes the INVITE over a newer flow."""

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
    (DOUBTED, "answers"): (OVER, ""),
    (DOUBTED, "registered"): (OVER, "ring"),
    (DOUBTED, "flow failed"): (ASLEEP, "hold"),
    (DOUBTED, "push failed"): (UNPUSHED, ""),
    (DOUBTED, ANSWERED_ELSEWHERE): (OVER, "withdraw"),
    (DOUBTED, GIVEN_UP): (OVER, "withdraw"),
    (UNPUSHED, "answers"): (OVER, ""),
    (UNPUSHED, "registered"): (OVER, "ring"),
    (UNPUSHED, "flow failed"): (UNREACHED, ""),
    (UNPUSHED, ANSWERED_ELSEWHERE): (OVER, "withdraw"),
    (UNPUSHED, GIVEN_UP): (OVER, "withdraw"),
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
        self,
        context: ResponseContext,
        rung: tuple[str, ...],
        sleepers: list[Sleeper],
        shares: list[int],
        seconds: float | None,
        now: float,
    ) -> None:
        """Let these wait, doubt the live bindings of the accounts `rung`, and push each account once per call. `seconds` is the
        stage's ring time, None where it has none."""
        if self._push is None or not context.is_invite:
            return
        for one, share in zip(sleepers, shares, strict=True):
            self._add(context, one, share, seconds is None, now)
        for account in dict.fromkeys([*rung, *[one.account for one in sleepers]]):
            apps = [one.app for one in sleepers if one.account == account and one.app is not None]
            if account in rung:
                apps += self._doubt(context, account)
            if apps:
                self._wake(context, account, tuple(apps), seconds, now)
            elif any(one.account == account for one in sleepers):
                self._outputs.append(Fetch(PushQuestion(account)))

    def _add(self, context: ResponseContext, one: Sleeper, share: int, timed: bool, now: float) -> None:
        if any(other.account == one.account and other.instance == one.instance for other in context.waiting):
            return  # two PRIDs of apps without an instance: whichever registers first is the one that rings
        waiting = WaitingBranch(context, one.account, one.instance, share, ASKING if one.app is None else ASLEEP, self._owner)
        self._seat(waiting)
        if timed:
            self._deadlines.arm(waiting, now + self._seconds)

    def _seat(self, waiting: WaitingBranch) -> None:
        waiting.context.waiting.append(waiting)
        self._by_account.setdefault(waiting.account, []).append(waiting)
        self._count += 1

    def _doubt(self, context: ResponseContext, account: str) -> list[PushParameters]:
        """Doubt the flows that this account's apps are being rung over and that have brought nothing yet: how to wake these."""
        assert self._push is not None
        facts = self._directory.account(account)
        apps = self._push.parameters(account)
        found: list[PushParameters] = []
        if account == context.caller_account or not isinstance(facts, AccountFacts) or facts.kind != "app":
            return found
        for branch in context.open_branches():
            if branch.target.account != account or branch.heard or not isinstance(apps, tuple):
                continue
            app = _app_of(branch.target, apps)
            if app is None or any(one.branch is branch for one in context.waiting):
                continue
            if self._count >= self._limit:
                self._outputs.append(Refused("waiting full", 0, context.caller_flow))
                break
            # The branch over a new flow takes the place of this one, and so its share of Max-Breadth.
            share = max(1, context.breadth // len(context.branches))
            waiting = WaitingBranch(context, account, branch.target.instance, share, DOUBTED, self._owner)
            waiting.branch, waiting.prid, waiting.holds = branch, app.prid, False
            self._seat(waiting)
            found.append(app)
        return found

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
        chosen = tuple([one for one in apps if (one.prid == waiting.prid if waiting.prid else one.instance == instance)])
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
            wanted = context.instance
            sleepers = [one for one in self._sleepers(account, now) if one.app is not None]
            sleepers = [one for one in sleepers if not wanted or one.instance == wanted]
            apps = [one.app for one in sleepers if one.app is not None]
            apps += self._doubt(context, account)
            if apps:
                seconds = None if context.due == NEVER else max(1.0, context.due - now)
                self._wake(context, account, tuple(apps), seconds, now)
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
        self.registered(account, None, now)
        return idle

    def registered(self, account: str, flow: Flow | None, now: float) -> None:
        """The account's bindings are new ones, by a REGISTER over `flow` (None: not known). What waited for one of them rings."""
        for waiting in list(self._by_account.get(account, ())):
            doubted = waiting.branch
            if doubted is not None and doubted.client is not None and flow == doubted.target.flow:
                doubted.client.repeat()  # it woke up behind the same NAT binding: the next of Timer A may be 16 s away
                continue
            target = self._target(waiting, now) if doubted is None else self._moved(waiting, doubted, flow, now)
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

    def _moved(self, waiting: WaitingBranch, doubted: Branch, flow: Flow | None, now: float) -> Target | None:
        """The binding that the app has just made over another flow than the one it is rung over."""
        context, found = waiting.context, None
        for one in self._location.bindings(waiting.account, now):
            if one.flow == doubted.target.flow or context.has_tried(waiting.account, one.contact, one.flow.name, b""):
                continue
            if flow is not None and one.flow != flow:
                continue
            if flow is None and (context.call is None or one.updated <= context.call.started):
                continue
            if one.instance_id == waiting.instance != b"" or prid_of(one.contact) == waiting.prid:
                found = target_of(waiting.account, one)
        return found

    def heard(self, branch: Branch, status: int, now: float) -> None:
        """A branch has brought more than a 100: its app is not asleep. Or it was given up (LOCAL_TIMEOUT): it is."""
        for one in branch.context.waiting:
            if one.branch is branch:
                self._step(one, GIVEN_UP if status == LOCAL_TIMEOUT else "answers", now)
                return

    def lost(self, branch: Branch, other: Branch | None, now: float) -> bool:
        """The flow of a branch has failed: its app is woken already, or doubted over the `other` flow that it is rung over now.
        False: it was not doubted."""
        for one in branch.context.waiting:
            if one.branch is branch:
                one.branch = other
                if other is None:
                    self._step(one, "flow failed", now)
                    if one.context.due == NEVER:
                        self._deadlines.arm(one, now + self._seconds)
                return True
        return False

    def end(self, context: ResponseContext, why: str, now: float) -> None:
        """Nothing waits for this call any more: it was ANSWERED_ELSEWHERE, or GIVEN_UP."""
        for waiting in list(context.waiting):
            self.end_one(waiting, why, now)

    def end_one(self, waiting: WaitingBranch, why: str, now: float) -> None:
        """This app is not waited for any more."""
        # Of one that is rung as well, the trace tells by its branch.
        if self._step(waiting, why, now) and waiting.context.call is not None and waiting.branch is None:
            waiting.context.call.note(now, CallEvent.CANCELLED, waiting.account, why)

    def _step(self, waiting: WaitingBranch, event: str, now: float) -> bool:
        """One row of the table. False: there is none."""
        row = TABLE.get((waiting.state, event))
        if row is None:
            return False
        waiting.state, what = row
        if what == "let go":
            waiting.holds = False
        elif what == "hold":
            waiting.holds = True
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


def _app_of(target: Target, apps: tuple[PushParameters, ...]) -> PushParameters | None:
    """How the app behind a binding is woken: by its instance, its PRID, or as the only one without an instance."""
    prid, instance = prid_of(target.uri), target.instance.decode("utf-8", "surrogateescape")
    nameless: list[PushParameters] = []
    for one in apps:
        if (instance and one.instance == instance) or (prid and one.prid == prid):
            return one
        if not one.instance:
            nameless.append(one)
    return nameless[0] if len(nameless) == 1 and not instance and not prid else None
