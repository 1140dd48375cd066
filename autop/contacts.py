"""Whom a device can call: contacts, buttons and LAN addresses, derived from its site by pure functions.

Numbers are what the gateway resolves: users' and departments' numbers, accounts of doors and phones. With IP call (manual, L124)
a user's monitors are named by LAN address to devices of the same network group and nobody else; whatever else the number rings
(apps, landlines, guard phones, monitors without a known address) stays behind the number, through the gateway.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from autop.settings import MAX_BUTTON_NUMBERS, Contact
from registry.connector import private_address
from registry.location import AorBindings
from registry.records import PUBLIC_AREA, ContactDisplay, Department, Device, DeviceKind, User
from registry.ring_plan import RingPlan

MAX_CONTACTS = 2000
"""Contacts of one device."""
SPARE_SECONDS = 10
"""How much longer than the longest plan a panel keeps dialling."""
_HOST = re.compile(r"sips?:(?:[^@;?>]{0,128}@)?([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::[0-9]{1,5})?(?:[;?].*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """What stands at a site, devices in the order of their MAC; and what follows from it, worked out once.

    `ip_users`: ids of users with IP call. `dial_seconds`: how long a panel must go on dialling so that no plan is cut short.
    """

    devices: tuple[Device, ...]
    users: tuple[User, ...] = ()
    departments: tuple[Department, ...] = ()
    plans: tuple[RingPlan, ...] = ()
    user_of: Mapping[str, User] = field(init=False, repr=False)
    plan_of: Mapping[str, RingPlan] = field(init=False, repr=False)
    ip_users: frozenset[str] = field(init=False, repr=False)
    dial_seconds: int = field(init=False)

    def __post_init__(self) -> None:
        longest = max((sum(stage.ring_seconds for stage in plan.stages) for plan in self.plans), default=0)
        object.__setattr__(self, "user_of", {user.number: user for user in self.users})
        object.__setattr__(self, "plan_of", {plan.number: plan for plan in self.plans})
        object.__setattr__(self, "ip_users", frozenset(user.id for user in self.users if user.ip_call))
        object.__setattr__(self, "dial_seconds", longest + SPARE_SECONDS if longest else 0)


def lan_peers(device: Device, site: SiteFacts) -> tuple[Device, ...]:
    """The monitors whose LAN address this device's configuration names: those of IP-call users in its own network group."""
    if not device.network_group or not site.ip_users:
        return ()
    return tuple(one for one in site.devices if one.mac != device.mac and one.owner in site.ip_users and _is_near(one, device))


def calls_by_ip(device: Device, site: SiteFacts) -> bool:
    """Whether the device calls, or is called, by LAN address."""
    if not device.network_group:
        return False
    is_called = device.kind is DeviceKind.INDOOR_MONITOR and device.owner in site.ip_users
    return is_called or bool(lan_peers(device, site))


def lan_address(bindings: AorBindings) -> str:
    """The private IPv4 address that the device itself gave as its contact when it last registered; empty for none.

    Nothing else is believed: no name, no public address, nobody else's binding.
    """
    newest = max(bindings.bindings, key=lambda binding: binding.expires, default=None)
    found = _HOST.fullmatch(newest.contact.strip("<>")) if newest is not None else None
    if found is None:
        return ""
    return private_address(found[1])


def contacts(device: Device, site: SiteFacts, addresses: Mapping[str, str], most: int = MAX_CONTACTS) -> tuple[Contact, ...]:
    """Doors, guard phones, for a guard the monitors; then departments and users by number. As the device's display setting says
    (L191), and never what call policy would refuse. `addresses`: account -> LAN address of its `lan_peers`, where known."""
    if device.contact_display is ContactDisplay.NONE:
        return ()
    found = [Contact(one.name, one.account) for one in sorted(site.devices, key=_order) if _is_callable(one, device)]
    departments = [one for one in site.departments if one.number and _is_shown(device, one.id)]
    found += [Contact(one.name, one.number) for one in sorted(departments, key=lambda one: (len(one.number), one.number))]
    for user in sorted(site.users, key=lambda one: (len(one.number), one.number)):
        if user.id != device.owner and _is_shown(device, user.department):
            numbers = _dialled(user.number, device, site, addresses)
            found.append(Contact(f"{user.first_name} {user.last_name}", numbers[0] if len(numbers) == 1 else user.number))
    return tuple(found[:most])


def _is_callable(other: Device, device: Device) -> bool:
    if other.mac == device.mac or not other.account or not _is_shown(device, other.department):
        return False
    if other.kind is DeviceKind.GUARD_PHONE:
        return True
    if device.kind is DeviceKind.GUARD_PHONE:
        return True
    if device.kind is not DeviceKind.INDOOR_MONITOR or not other.kind.is_door or not other.users_may_monitor:
        return False
    return other.department in (PUBLIC_AREA, device.department) or (bool(device.owner) and other.owner == device.owner)


def _is_shown(device: Device, department: str) -> bool:
    return device.contact_display is ContactDisplay.ALL or department in (PUBLIC_AREA, device.department)


def _order(device: Device) -> tuple[bool, bool, str]:
    return not device.kind.is_door, device.kind is DeviceKind.INDOOR_MONITOR, device.mac.text


def buttons(device: Device, site: SiteFacts, addresses: Mapping[str, str], places: int = MAX_BUTTON_NUMBERS) -> tuple[str, ...]:
    """What the button dials: its own numbers, else its owner's. `places`: how many numbers it dials together."""
    numbers = [number for number in device.button_number.split(";") if number]
    if not numbers and device.owner:
        numbers = [user.number for user in site.users if user.id == device.owner]
    found: list[str] = []
    for number in numbers:
        direct = _dialled(number, device, site, addresses)
        room = places - len(found)
        found += direct if len(direct) <= room else [number]
    return tuple(found[:places])


def _dialled(number: str, device: Device, site: SiteFacts, addresses: Mapping[str, str]) -> tuple[str, ...]:
    """What a device dials for a number: the number; or LAN addresses, and the number behind them for whoever has none."""
    user = site.user_of.get(number)
    if user is None or not user.ip_call or not device.network_group:
        return (number,)
    near = [one for one in site.devices if one.owner == user.id and _is_near(one, device) and one.account in addresses]
    if not near:
        return (number,)
    direct = tuple(addresses[one.account] for one in near)
    plan = site.plan_of.get(number)
    reached = {one.account for one in near}
    if plan is not None and all(target.address in reached for stage in plan.stages for target in stage.targets):
        return direct
    return (*direct, number)


def _is_near(monitor: Device, device: Device) -> bool:
    return monitor.kind is DeviceKind.INDOOR_MONITOR and monitor.network_group == device.network_group
