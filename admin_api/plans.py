"""Which ring plan a user has: a pure function of the user, the devices and the app account.

For now one stage: the user's indoor monitors, the site's guard phones, and the app where the call type has it. The manual's
ordered stages come with the call plans of issue 4; only this file will change.
"""

from collections.abc import Iterable

from registry.records import Device, DeviceKind, User
from registry.ring_plan import MAX_TARGETS, RingPlan, Stage, Target, TargetKind

MONITORS_ONLY = 6
"""The call type that the manual names but does not number: indoor monitors and guard phones (L110-111, L128).

The only one where the intercom feature is off."""
APP_RINGS = frozenset({0, 2, 3, 5})
"""The manual's call types in which the app rings at some stage (L228)."""


class TooManyTargets(ValueError):
    """More targets than one stage rings."""


def ring_plan(user: User, monitors: Iterable[Device], guards: Iterable[Device]) -> RingPlan:
    """The plan that dialling `user.number` runs. `monitors` are the user's own; `guards` the site's guard phones.

    Targets stand in a fixed order, so equal input gives an equal plan. No target at all gives a plan without stages.
    Raises TooManyTargets.
    """
    names = [device.account for device in sorted(monitors, key=_order)] + [
        device.account for device in sorted(guards, key=_order)
    ]
    if user.app_account and user.intercom_feature and user.call_type in APP_RINGS:
        names.append(user.app_account)
    if len(names) > MAX_TARGETS:
        raise TooManyTargets(f"user {user.id} would have {len(names)} targets; one stage rings {MAX_TARGETS}")
    stages = (Stage(tuple(Target(TargetKind.ACCOUNT, name) for name in names)),) if names else ()
    return RingPlan(user.site, user.number, stages, user.id)


def rings_for_owner(device: Device) -> bool:
    """Whether the device rings when its owner's number is dialled."""
    return device.kind is DeviceKind.INDOOR_MONITOR and bool(device.owner)


def rings_for_site(device: Device) -> bool:
    """Whether the device rings with every user of its site."""
    return device.kind is DeviceKind.GUARD_PHONE


def _order(device: Device) -> str:
    return device.mac.text
