"""Which ring plan a user or a department has: pure functions of the records. What call types mean stands in
registry/call_types.py."""

from collections.abc import Iterable

from registry.call_types import MONITORS_ONLY, CustomPlan, Household, compiled, preset
from registry.records import Department, Device, DeviceKind, Site, User
from registry.ring_plan import MAX_TARGETS, RingPlan, TargetKind, together
from sip.e164 import NumberPlan, NumberRefusal, is_e164, normalise

RULES = 1
"""Raised when this file or call_types.py begins to mean something else: a site's plans are then all computed anew with its next
change (SiteRoster.rules)."""
APP_RINGS = frozenset({0, 2, 3, 5})
"""The manual's call types in which the app rings at some stage (L228)."""


def ring_plan(
    user: User, site: Site, monitors: Iterable[Device], guards: Iterable[Device], custom: CustomPlan | None = None
) -> RingPlan:
    """The plan that dialling `user.number` runs. `monitors` are the user's own; `guards` the site's guard phones.

    A custom plan takes the place of the call type's. Where the intercom feature is off nothing but monitors and guard phones
    rings, whatever they say. Targets stand in a fixed order, so equal input gives an equal plan. No target at all gives a plan
    without stages. Raises TooManyTargets.
    """
    household = Household(
        monitors=_accounts(monitors),
        guards=_accounts(guards),
        apps=(*user.apps, *user.linked_apps) if user.intercom_feature else (),
        landlines=tuple(landline(number, user.country_code) for number in user.landlines) if user.intercom_feature else (),
    )
    if custom is not None:
        rules = custom.stages
    else:
        rules = preset(user.call_type if user.intercom_feature else MONITORS_ONLY, app_first=site.app_first)
    seconds = site.ring_seconds if user.ring_seconds is None else user.ring_seconds
    on_reject = (custom.on_reject if custom else None) or user.on_reject or site.on_reject
    return RingPlan(user.site, user.number, compiled(rules, household, seconds), user.id, on_reject)


def department_plan(department: Department, site: Site, monitors: Iterable[Device], guards: Iterable[Device]) -> RingPlan:
    """The plan that dialling a department's number runs: its guard phones (where it has none, the site's) and its monitors, all
    together. No app and no landline: a department is a place, and who is there should answer.

    `monitors` are those that stand in it or belong to its users. Past 32 targets the last monitors are left out.
    """
    phones = sorted(guards, key=_order)
    own = [phone for phone in phones if phone.department == department.id]
    names = (*_accounts(own or phones), *_accounts(monitors))[:MAX_TARGETS]
    if not names:
        return RingPlan(site.id, department.number, (), department.id, site.on_reject)
    return RingPlan(
        site.id,
        department.number,
        together(site.id, department.number, names, department.id, site.ring_seconds).stages,
        department.id,
        site.on_reject,
    )


def rings_for_owner(device: Device) -> bool:
    """Whether the device rings when its owner's number is dialled."""
    return device.kind is DeviceKind.INDOOR_MONITOR and bool(device.owner)


def rings_for_site(device: Device) -> bool:
    """Whether the device rings with every user of its site."""
    return device.kind is DeviceKind.GUARD_PHONE


def landline(number: str, country_code: str) -> str:
    """A landline as E.164, or as it was entered where that says too little or is no subscriber's (a trunk then refuses it)."""
    found = normalise(number, NumberPlan(country_code))
    return number if isinstance(found, NumberRefusal) else found


def warnings(plan: RingPlan) -> list[str]:
    """What an operator should know about a plan."""
    if not plan.stages:
        return [f"Nobody rings when {plan.number} is dialled: callers are answered 480."]
    targets = [target for stage in plan.stages for target in stage.targets if target.kind is TargetKind.LANDLINE]
    wrong = dict.fromkeys(target.address for target in targets if not is_e164(target.address))
    return [
        f"No trunk takes the landline {number}: enter it as + and 7 to 15 digits, or set the country code." for number in wrong
    ]


def _accounts(devices: Iterable[Device]) -> tuple[str, ...]:
    return tuple(device.account for device in sorted(devices, key=_order))


def _order(device: Device) -> str:
    return device.mac.text
