"""Who may reach whom (the cure for CVE-2023-0348): only what lies in the caller's own site, by account or by ring plan.

Pure: it peeks into the directory and says what a dialled number means for this caller. A number that exists in another site
only, and one that exists nowhere, give the same answer.
"""

from typing import NamedTuple

from registry.ring_plan import OnReject, RingPlan, TargetKind
from sip.directory import UNKNOWN, AccountFacts, AccountQuestion, Directory, Question, RingPlanQuestion


class RingStage(NamedTuple):
    """Accounts that ring together. `seconds` is None where only Timer C ends the ringing (a plain call to an account)."""

    accounts: tuple[str, ...]
    seconds: float | None


class Destination(NamedTuple):
    """What the caller dialled, resolved to accounts of his site: stages that ring one after the other."""

    stages: tuple[RingStage, ...]
    end_on_reject: bool


def destination(caller: AccountFacts, dialled: str, directory: Directory) -> Destination | Question | None:
    """What `dialled` means for `caller`: a Destination, a Question that must be answered first, or None (404)."""
    account = directory.account(dialled)
    if account is UNKNOWN:
        return AccountQuestion(dialled)
    if _reachable(account, caller.site):
        return Destination((RingStage((dialled,), None),), end_on_reject=False)
    plan = directory.ring_plan(caller.site, dialled)
    if plan is UNKNOWN:
        return RingPlanQuestion(caller.site, dialled)
    return _resolve(plan, caller, directory) if isinstance(plan, RingPlan) else None


def _reachable(account: object, site: str) -> bool:
    return isinstance(account, AccountFacts) and account.enabled and account.site == site


def _resolve(plan: RingPlan, caller: AccountFacts, directory: Directory) -> Destination | Question | None:
    """The plan's stages with what may ring: enabled accounts of the caller's site. Landlines need a trunk: left out."""
    stages: list[RingStage] = []
    for stage in plan.stages:
        accounts: list[str] = []
        for target in stage.targets:
            if target.kind is not TargetKind.ACCOUNT or target.address in accounts:
                continue
            found = directory.account(target.address)
            if found is UNKNOWN:
                return AccountQuestion(target.address)
            if _reachable(found, caller.site):
                accounts.append(target.address)
        if accounts:
            stages.append(RingStage(tuple(accounts), float(stage.ring_seconds)))
    if not stages:
        return None
    return Destination(tuple(stages), end_on_reject=plan.on_reject is OnReject.END)
