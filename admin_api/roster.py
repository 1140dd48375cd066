"""Changes of who and what a site holds: counted in its roster, and the ring plans rewritten in the same batch.

Every such batch writes the SiteRoster with the version it read. That puts the changes of a site in one order, so a plan is
never computed from a site that changed meanwhile, a number is never given twice, and a site is deleted only while it is empty.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from admin_api.plans import RULES, department_plan, ring_plan, rings_for_owner, rings_for_site
from admin_api.problems import Problem, not_found
from admin_api.work import Work
from registry.call_types import CustomPlan, TooManyTargets
from registry.errors import StaleVersion
from registry.records import Department, Device, DeviceKind, Site, SiteRoster, User
from registry.ring_plan import RingPlan, ring_plan_key
from registry.store import MAX_PAGE, Delete, Put, Record, Store, Stored, Write

R = TypeVar("R", bound=Record)

PLANS_AT_ONCE = 600
"""Ring plans written in the batch of the change itself; the rest follow in batches of their own (SiteRoster.plans_due)."""


@dataclass(frozen=True, slots=True)
class Delta:
    """One change of a site: things before and after it (None: not there). `more_users`: others that change, but neither number
    nor department. `site_after` where the site's ring rules change; `custom_of` where the custom plan of that user does, to
    `custom` (None: back to the call type)."""

    device_before: Device | None = None
    device_after: Device | None = None
    user_before: User | None = None
    user_after: User | None = None
    more_users: tuple[User, ...] = ()
    department_before: Department | None = None
    department_after: Department | None = None
    site_after: Site | None = None
    custom_of: str = ""
    custom: CustomPlan | None = None


@dataclass(slots=True)
class _Plans:
    """The writes that bring the stored plans to what they should be, and the plans themselves by owner."""

    writes: list[Write] = field(default_factory=list)
    of: dict[str, RingPlan] = field(default_factory=dict)


async def roster_of(store: Store, site: str) -> Stored[SiteRoster]:
    """The site's roster. Raises Problem `not-found` where the site is gone."""
    found = await store.get(SiteRoster, site)
    if found is None:
        raise not_found("site", site)
    return found


async def enrol(work: Work, roster: Stored[SiteRoster], delta: Delta) -> dict[str, RingPlan]:
    """Add to `work` what `delta` means for the roster and the ring plans. Returns the plans it touched, by owner.

    `roster` must have been read before anything else the delta was computed from. Raises Problems `too-many-targets` and
    `number-taken`.
    """
    store, record = work.call.ports.store, roster.record
    await _check_numbers(store, delta)
    plans = await _plans(store, record, delta)
    now, later = plans.writes[:PLANS_AT_ONCE], plans.writes[PLANS_AT_ONCE:]
    after = replace(
        record,
        devices=record.devices + _count(delta.device_before, delta.device_after),
        users=record.users + _count(delta.user_before, delta.user_after),
        departments=record.departments + _count(delta.department_before, delta.department_after),
        plans_due=bool(later),
        rules=RULES,
    )
    work.put(after, expect=roster.version)
    work.writes += now
    if later:
        before = work.afterwards

        async def finish() -> None:
            if before is not None:
                await before()
            await finish_plans(store, record.site)

        work.afterwards = finish
    return plans.of


async def finish_plans(store: Store, site: str) -> None:
    """Write the ring plans that a large change left due, batch by batch, until none is."""
    while True:
        roster = await store.get(SiteRoster, site)
        if roster is None or not roster.record.plans_due:
            return
        writes = (await _plans(store, roster.record, Delta())).writes
        due = len(writes) > PLANS_AT_ONCE
        batch: list[Write] = [Put(replace(roster.record, plans_due=due, rules=RULES), expect=roster.version)]
        try:
            await store.batch([*batch, *writes[:PLANS_AT_ONCE]])
        except StaleVersion:
            continue  # Another change of the site took over; look at what it left.


async def _check_numbers(store: Store, delta: Delta) -> None:
    """One number, one plan: a department's and a user's number never meet. (Two users' do not by their unique index.)"""
    user, department = delta.user_after, delta.department_after
    if user is not None and (delta.user_before is None or delta.user_before.number != user.number):
        await _check_departments(store, user.site, user.number, "")
    if department is not None and department.number:
        before = delta.department_before
        if before is not None and before.number == department.number:
            return
        if await store.get_unique(User, "site-number", f"{department.site}/{department.number}") is not None:
            raise number_taken(department.site, department.number, "a user")
        await _check_departments(store, department.site, department.number, department.id)


async def _check_departments(store: Store, site: str, number: str, but: str) -> None:
    for other in await _all(store, Department, "site", site):
        if other.number == number and other.id != but:
            raise number_taken(site, number, "a department")


def number_taken(site: str, number: str, whose: str) -> Problem:
    """The number is another's at this site."""
    return Problem("number-taken", f"The number {number} belongs to {whose} of site {site} already.")


async def _plans(store: Store, roster: SiteRoster, delta: Delta) -> _Plans:
    """The ring plans that `delta` touches, as they should be after it."""
    guards_change = _guard(delta.device_before) != _guard(delta.device_after)
    everyone = roster.plans_due or roster.rules != RULES or delta.site_after is not None or guards_change
    site = delta.site_after
    if site is None:
        stored = await store.get(Site, roster.site)
        site = stored.record if stored is not None else Site(roster.site, "")
    guards = _overlaid(
        await _all(store, Device, "site-kind", f"{roster.site}/{DeviceKind.GUARD_PHONE.value}"), delta, rings_for_site
    )
    plans = _Plans()
    await _end_numbers(store, delta, plans)
    for user in await _users(store, roster.site, delta, everyone):
        owned = await _all(store, Device, "owner", user.id)
        monitors = [d for d in _overlaid(owned, delta, rings_for_owner) if d.owner == user.id]
        try:
            plan = ring_plan(user, site, monitors, guards, await _custom(store, delta, user.id))
        except TooManyTargets as full:
            raise Problem("too-many-targets", f"The user {user.id}: {full}.") from None
        await _keep(store, plans, plan)
    for department in await _departments(store, roster.site, delta, everyone):
        if department.number:
            found = await _monitors_of(store, delta, department.id)
            await _keep(store, plans, department_plan(department, site, found, guards))
    return plans


async def _keep(store: Store, plans: _Plans, plan: RingPlan) -> None:
    plans.of[plan.owner] = plan
    present = await store.get(RingPlan, plan.key)
    if present is None or present.record != plan:
        plans.writes.append(Put(plan, expect=present.version if present else 0))


async def _end_numbers(store: Store, delta: Delta, plans: _Plans) -> None:
    """Numbers that are no longer anybody's lose their plan."""
    for before, after in ((delta.user_before, delta.user_after), (delta.department_before, delta.department_after)):
        if before is None or not before.number or (after is not None and after.number == before.number):
            continue
        plan = await store.get(RingPlan, ring_plan_key(before.site, before.number))
        if plan is not None:
            plans.writes.append(Delete(RingPlan, plan.record.key, expect=plan.version))


async def _custom(store: Store, delta: Delta, user: str) -> CustomPlan | None:
    if delta.custom_of == user:
        return delta.custom
    stored = await store.get(CustomPlan, user)
    return stored.record if stored is not None else None


async def _users(store: Store, site: str, delta: Delta, everyone: bool) -> list[User]:
    """The users whose plan may change: all, or those that a change of one user or one monitor can touch."""
    found: dict[str, User] = {}
    if everyone:
        found = {user.id: user for user in await _all(store, User, "site", site)}
    else:
        for owner in sorted({device.owner for device in _devices(delta) if rings_for_owner(device)} | {delta.custom_of} - {""}):
            stored = await store.get(User, owner)
            if stored is not None:
                found[owner] = stored.record
    return _replaced(found, delta)


async def _departments(store: Store, site: str, delta: Delta, everyone: bool) -> list[Department]:
    """The departments whose plan may change."""
    found: dict[str, Department] = {}
    if everyone:
        found = {one.id: one for one in await _all(store, Department, "site", site)}
    else:
        for key in sorted(await _touched_departments(store, delta)):
            stored = await store.get(Department, key)
            if stored is not None:
                found[key] = stored.record
    if delta.department_before is not None:
        found.pop(delta.department_before.id, None)
    if delta.department_after is not None:
        found[delta.department_after.id] = delta.department_after
    return list(found.values())


async def _touched_departments(store: Store, delta: Delta) -> set[str]:
    found: set[str] = set()
    for device in _devices(delta):
        if device.kind is DeviceKind.INDOOR_MONITOR:
            found.add(device.department)
            owner = await store.get(User, device.owner) if device.owner else None
            if owner is not None:
                found.add(owner.record.department)
    before, after = delta.user_before, delta.user_after
    if (before.department if before else "") != (after.department if after else ""):
        found |= {one.department for one in (before, after) if one is not None}
    return found - {""}


async def _monitors_of(store: Store, delta: Delta, department: str) -> list[Device]:
    """The monitors that stand in the department or belong to one of its users, after `delta`."""
    people = {user.id: user for user in await _all(store, User, "department", department)}
    members = {user.id for user in _replaced(people, delta) if user.department == department}
    devices = await _all(store, Device, "department", department)
    for user in sorted(members):
        devices += await _all(store, Device, "owner", user)
    found = _overlaid(devices, delta, lambda device: device.kind is DeviceKind.INDOOR_MONITOR)
    return [device for device in found if device.department == department or device.owner in members]


def _replaced(users: dict[str, User], delta: Delta) -> list[User]:
    """The users, as they will stand after `delta`."""
    if delta.user_before is not None:
        users.pop(delta.user_before.id, None)
    if delta.user_after is not None:
        users[delta.user_after.id] = delta.user_after
    users |= {user.id: user for user in delta.more_users}
    return list(users.values())


def _overlaid(stored: Iterable[Device], delta: Delta, rings: Callable[[Device], bool]) -> list[Device]:
    """The devices that ring, as they will stand after `delta`."""
    found = {device.id: device for device in stored}
    if delta.device_before is not None:
        found.pop(delta.device_before.id, None)
    if delta.device_after is not None:
        found[delta.device_after.id] = delta.device_after
    return [device for device in found.values() if rings(device)]


def _devices(delta: Delta) -> list[Device]:
    return [device for device in (delta.device_before, delta.device_after) if device is not None]


def _guard(device: Device | None) -> tuple[str, str] | None:
    """What other plans depend on in a guard phone: its account and where it stands."""
    return (device.account, device.department) if device is not None and rings_for_site(device) else None


def _count(before: object | None, after: object | None) -> int:
    return (after is not None) - (before is not None)


async def _all(store: Store, kind: type[R], index: str, value: str) -> list[R]:
    found: list[R] = []
    after: str | None = None
    while True:
        page = await store.list(kind, index, value, after=after, limit=MAX_PAGE)
        found += [stored.record for stored in page.items]
        if page.next is None:
            return found
        after = page.next
