"""The manual's call types (L107-128, L155, L228) as data, and what a plan's rules come to for one household.

A preset and a plan of an operator's own are the same thing: ordered stages of rules that say who rings. `compiled` turns them
into the stages of a RingPlan. This is the one file that knows what a call type means.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.ring_plan import DEFAULT_RING_SECONDS, MAX_STAGES, MAX_TARGETS, OnReject, Stage, Target, TargetKind

MONITORS_ONLY = 6
"""The call type that the manual names but does not number: indoor monitors and guard phones (L110-111, L128).

The only one where the intercom feature is off."""


class Who(StrEnum):
    """Whom a rule lets ring."""

    MONITORS = "monitors"  # the user's indoor monitors
    GUARDS = "guards"  # the site's guard phones
    APPS = "apps"  # the user's apps, linked ones too
    LANDLINES = "landlines"  # the user's landlines: the first with this stage, each further one in a stage of its own
    ACCOUNT = "account"  # one SIP account of the site
    LANDLINE = "landline"  # one number beyond a trunk


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a stage. `address`: the account's user name or the landline's number; empty for a group."""

    who: Who
    address: str = ""


@dataclass(frozen=True, slots=True)
class StageRule:
    """Who rings together. `seconds` None: as long as the user or the site says."""

    rules: tuple[Rule, ...]
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class CustomPlan:
    """Stages that an operator wrote for one user, in place of the call type's."""

    owner: str
    site: str
    stages: tuple[StageRule, ...]
    on_reject: OnReject | None = None

    @property
    def key(self) -> str:
        return self.owner

    def indexes(self) -> dict[str, str]:
        return {"site": self.site}


@dataclass(frozen=True, slots=True)
class Household:
    """Who can ring for one user, in order: SIP accounts, and landlines in E.164. No app, no landline where the feature is off."""

    monitors: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    landlines: tuple[str, ...] = ()


class TooManyTargets(ValueError):
    """More targets than one stage, or more stages than one plan."""


def _stage(*who: Who) -> StageRule:
    return StageRule(tuple(Rule(one) for one in who))


_INSIDE = (Who.MONITORS, Who.GUARDS)
"""Guard phones ring with the monitors: they stand in L111, L127 and L155, but in none of the codes."""
_PHONE = _stage(Who.LANDLINES)

CALL_TYPES: Mapping[int, tuple[StageRule, ...]] = {
    0: (_stage(*_INSIDE, Who.APPS),),
    1: (_stage(*_INSIDE, Who.LANDLINES),),
    2: (_stage(*_INSIDE, Who.APPS), _PHONE),
    3: (_stage(*_INSIDE), _stage(Who.APPS)),
    4: (_stage(*_INSIDE), _PHONE),
    5: (_stage(*_INSIDE), _stage(Who.APPS), _PHONE),
    MONITORS_ONLY: (_stage(*_INSIDE),),
}
"""L228's meaning of the codes. Landlines are last wherever the code lets them be: an answering machine must not win."""

APP_FIRST: Mapping[int, tuple[StageRule, ...]] = {3: (_stage(Who.APPS), _stage(*_INSIDE), _PHONE)}
"""L155's other meaning of code 3, for a site that asks for it: app, monitors and guard phones, then the phone."""

NAMES: Mapping[int, str] = {
    0: "app and indoor monitors",
    1: "phone and indoor monitors",
    2: "app and indoor monitors, then phone",
    3: "indoor monitors, then app",
    4: "indoor monitors, then phone",
    5: "indoor monitors, then app, then phone",
    MONITORS_ONLY: "indoor monitors and guard phones only",
}


def preset(call_type: int, *, app_first: bool = False) -> tuple[StageRule, ...]:
    """The stages of a call type; an unknown code (a later release's) counts as MONITORS_ONLY. `app_first`: L155's order."""
    stages = CALL_TYPES.get(call_type, CALL_TYPES[MONITORS_ONLY])
    return APP_FIRST.get(call_type, stages) if app_first else stages


def compiled(stages: Iterable[StageRule], household: Household, seconds: int = DEFAULT_RING_SECONDS) -> tuple[Stage, ...]:
    """The stages that ring, with whom there is; those that name nobody are left out. Raises TooManyTargets."""
    found: list[Stage] = []
    for stage in stages:
        together: list[Target] = []
        after: list[Target] = []
        for rule in stage.rules:
            targets = _targets(rule, household)
            if rule.who is Who.LANDLINES:
                targets, after = targets[:1], targets[1:]
            together += [target for target in targets if target not in together]
        if len(together) > MAX_TARGETS:
            raise TooManyTargets(f"one stage would have {len(together)} targets; it rings at most {MAX_TARGETS}")
        ring_seconds = seconds if stage.seconds is None else stage.seconds
        found += [Stage(tuple(targets), ring_seconds) for targets in (together, *([one] for one in after)) if targets]
    if len(found) > MAX_STAGES:
        raise TooManyTargets(f"the plan would have {len(found)} stages; it has at most {MAX_STAGES}")
    return tuple(found)


def _targets(rule: Rule, household: Household) -> list[Target]:
    match rule.who:
        case Who.MONITORS:
            return _accounts(household.monitors)
        case Who.GUARDS:
            return _accounts(household.guards)
        case Who.APPS:
            return _accounts(household.apps)
        case Who.LANDLINES:
            return [Target(TargetKind.LANDLINE, number) for number in household.landlines]
        case Who.ACCOUNT:
            return _accounts((rule.address,))
        case Who.LANDLINE:
            return [Target(TargetKind.LANDLINE, rule.address)]


def _accounts(names: Iterable[str]) -> list[Target]:
    return [Target(TargetKind.ACCOUNT, name) for name in names]
