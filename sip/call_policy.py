"""Who may reach whom (the cure for CVE-2023-0348), asked for every request outside a dialog.

Pure: it peeks into the directory and says what a dialled number means for this caller. A number that exists in another site
only, one that this caller may not call, and one that exists nowhere give the same answer.

Inside a site everybody reaches everybody, but for door phones: a monitor or an app calls one only where users may monitor it
(manual, L194), and only one of its own user, of its department or of the public area (L107-108; advanced users: any). Beyond
its site an app reaches, where it is linked, that site's doors by the same rule and its user's monitors; whoever could ring it
there may call it. Nothing else crosses a site's border.

A number outside is dialled by itself only from a monitor, a guard phone or an app, in E.164 or with 00, and only where the
site's own list of prefixes allows it: a site that has none lets landlines ring by ring plans alone. A door phone stands in the
street, so it reaches landlines by ring plans alone everywhere.
"""

from typing import NamedTuple

from registry.ring_plan import OnReject, RingPlan, TargetKind
from registry.trunk import SiteLandlines
from sip.directory import (
    APP,
    DOOR,
    GUARD,
    MONITOR,
    UNKNOWN,
    AccountFacts,
    AccountQuestion,
    AppSite,
    Directory,
    LandlinesQuestion,
    Question,
    RingPlanQuestion,
)
from sip.e164 import NumberPlan, NumberRefusal, allows, normalise

_DIAL_OUT = (APP, MONITOR, GUARD)
_ABROAD = NumberPlan()
"""A site has no country of its own: only international numbers are understood."""


class RingStage(NamedTuple):
    """Accounts and landlines (E.164 where the plan knows it) that ring together.

    `seconds` is None where only Timer C ends the ringing (a plain call to an account).
    """

    accounts: tuple[str, ...]
    seconds: float | None
    landlines: tuple[str, ...] = ()


class Destination(NamedTuple):
    """What the caller dialled, resolved: stages that ring one after the other; none where nobody can ring now (480).

    `landlines` is what the site may spend on those of the stages; None: the defaults, or there are none.
    """

    stages: tuple[RingStage, ...]
    end_on_reject: bool
    landlines: SiteLandlines | None = None


def destination(
    caller: AccountFacts, dialled: str, directory: Directory, *, only_account: bool = False
) -> Destination | Question | None:
    """What `dialled` means for `caller`: a Destination, a Question that must be answered first, or None (404). `only_account`: it
    was given by a temporary GRUU, and is no number."""
    account = directory.account(dialled)
    if account is UNKNOWN:
        return AccountQuestion(dialled)
    if isinstance(account, AccountFacts) and may_call(caller, account):
        return Destination((RingStage((dialled,), None),), end_on_reject=False)
    if only_account:
        return None
    plan = directory.ring_plan(caller.site, dialled)
    if plan is UNKNOWN:
        return RingPlanQuestion(caller.site, dialled)
    return _resolve(plan, directory) if isinstance(plan, RingPlan) else _outside(caller, dialled, directory)


def may_call(caller: AccountFacts, callee: AccountFacts) -> bool:
    """Whether `caller` may reach `callee` by its account."""
    if not callee.enabled:
        return False
    if callee.site == caller.site:
        return callee.kind != DOOR or _may_watch(caller, callee)
    if caller.kind == APP:
        link = _link(caller, callee.site)
        if link is None:
            return False
        if callee.kind == DOOR:
            return _is_open_to(callee, link.user, link.department, link.advanced)
        return callee.kind == MONITOR and callee.owner == link.user
    return callee.kind == APP and _link(callee, caller.site) is not None


def may_open(app: AccountFacts, device: AccountFacts) -> bool:
    """Whether an app may open this device's relays at all: a door that it may go through, its user's own monitor.

    The same people as may call a door, whether or not they may look through its camera (manual, L107-108).
    """
    if app.kind != APP or not app.enabled:
        return False
    user, department, advanced = app.owner, app.department, app.advanced
    if device.site != app.site:
        link = _link(app, device.site)
        if link is None:
            return False
        user, department, advanced = link.user, link.department, link.advanced
    if device.kind == DOOR:
        return _is_near(device, user, department, advanced)
    return device.kind == MONITOR and bool(user) and device.owner == user


def _may_watch(caller: AccountFacts, door: AccountFacts) -> bool:
    if caller.kind != APP and caller.kind != MONITOR:
        return True
    return _is_open_to(door, caller.owner, caller.department, caller.advanced)


def _is_open_to(door: AccountFacts, user: str, department: str, advanced: bool) -> bool:
    return door.monitored and _is_near(door, user, department, advanced)


def _is_near(door: AccountFacts, user: str, department: str, advanced: bool) -> bool:
    """A person's doors: those of the public area, of their department, their own; all of the site's for an advanced user."""
    if advanced or not door.department or door.department == department:
        return True
    return bool(user) and door.owner == user


def _link(app: AccountFacts, site: str) -> AppSite | None:
    for one in app.links:
        if one.site == site:
            return one
    return None


def _outside(caller: AccountFacts, dialled: str, directory: Directory) -> Destination | Question | None:
    """A number beyond a trunk, dialled by itself: None where this caller or its site may not, as for an unknown number."""
    if caller.kind not in _DIAL_OUT:
        return None
    number = normalise(dialled, _ABROAD)
    if isinstance(number, NumberRefusal):
        return None
    limits = directory.landlines(caller.site)
    if limits is UNKNOWN:
        return LandlinesQuestion(caller.site)
    if not isinstance(limits, SiteLandlines) or not allows(limits.allowed_prefixes, number):
        return None
    return Destination((RingStage((), None, (number,)),), end_on_reject=False, landlines=limits)


def _resolve(plan: RingPlan, directory: Directory) -> Destination | Question:
    """The plan's stages with what may ring now: enabled accounts whose schedule is open, of the plan's site or linked to it.

    A plan never rings a door. Landlines pass through as they are: whether a trunk takes them is the proxy's to see.
    """
    stages: list[RingStage] = []
    for stage in plan.stages:
        accounts: list[str] = []
        landlines: list[str] = []
        for target in stage.targets:
            name = target.address
            if target.kind is TargetKind.LANDLINE:
                if name not in landlines:
                    landlines.append(name)
                continue
            if name in accounts:
                continue
            found = directory.account(name)
            if found is UNKNOWN:
                return AccountQuestion(name)
            if isinstance(found, AccountFacts) and _may_ring(found, plan.site):
                accounts.append(name)
        if accounts or landlines:
            stages.append(RingStage(tuple(accounts), float(stage.ring_seconds), tuple(landlines)))
    limits = directory.landlines(plan.site) if any(stage.landlines for stage in stages) else None
    if limits is UNKNOWN:
        return LandlinesQuestion(plan.site)
    known = limits if isinstance(limits, SiteLandlines) else None
    return Destination(tuple(stages), end_on_reject=plan.on_reject is OnReject.END, landlines=known)


def _may_ring(account: AccountFacts, site: str) -> bool:
    if not account.enabled or not account.rings or account.kind == DOOR:
        return False
    return account.site == site or (account.kind == APP and _link(account, site) is not None)
