"""Changes of who and what a site holds: counted in its roster, and the ring plans rewritten in the same batch.

Every such batch writes the SiteRoster with the version it read. That puts the changes of a site in one order, so a plan is
never computed from a site that changed meanwhile, and a site is deleted only while it is empty.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from admin_api.plans import TooManyTargets, ring_plan, rings_for_owner, rings_for_site
from admin_api.problems import Problem, not_found
from admin_api.work import Work
from registry.errors import StaleVersion
from registry.records import Device, DeviceKind, SiteRoster, User
from registry.ring_plan import RingPlan, ring_plan_key
from registry.store import MAX_PAGE, Delete, Put, Record, Store, Stored, Write

R = TypeVar("R", bound=Record)

PLANS_AT_ONCE = 600
"""Ring plans written in the batch of the change itself; the rest follow in batches of their own (SiteRoster.plans_due)."""


@dataclass(frozen=True, slots=True)
class Delta:
    """One change of a site: a device or a user before and after it (None: not there)."""

    device_before: Device | None = None
    device_after: Device | None = None
    user_before: User | None = None
    user_after: User | None = None


async def roster_of(store: Store, site: str) -> Stored[SiteRoster]:
    """The site's roster. Raises Problem `not-found` where the site is gone."""
    found = await store.get(SiteRoster, site)
    if found is None:
        raise not_found("site", site)
    return found


async def enrol(work: Work, roster: Stored[SiteRoster], delta: Delta) -> None:
    """Add to `work` what `delta` means for the roster and the ring plans.

    `roster` must have been read before anything else the delta was computed from. Raises Problem `too-many-targets`.
    """
    store, record = work.call.ports.store, roster.record
    writes = await _plan_writes(store, record, delta)
    now, later = writes[:PLANS_AT_ONCE], writes[PLANS_AT_ONCE:]
    after = replace(
        record,
        devices=record.devices + _count(delta.device_before, delta.device_after),
        users=record.users + _count(delta.user_before, delta.user_after),
        plans_due=bool(later),
    )
    work.put(after, expect=roster.version)
    work.writes += now
    if later:

        async def finish() -> None:
            await finish_plans(store, record.site)

        work.afterwards = finish


async def finish_plans(store: Store, site: str) -> None:
    """Write the ring plans that a large change left due, batch by batch, until none is."""
    while True:
        roster = await store.get(SiteRoster, site)
        if roster is None or not roster.record.plans_due:
            return
        writes = await _plan_writes(store, roster.record, Delta())
        batch: list[Write] = [Put(replace(roster.record, plans_due=len(writes) > PLANS_AT_ONCE), expect=roster.version)]
        try:
            await store.batch([*batch, *writes[:PLANS_AT_ONCE]])
        except StaleVersion:
            continue  # Another change of the site took over; look at what it left.


async def _plan_writes(store: Store, roster: SiteRoster, delta: Delta) -> list[Write]:
    """The deletes and puts that bring the stored ring plans to what they should be after `delta`."""
    everyone = roster.plans_due or _guard_account(delta.device_before) != _guard_account(delta.device_after)
    guards = _overlaid(
        await _all(store, Device, "site-kind", f"{roster.site}/{DeviceKind.GUARD_PHONE.value}"), delta, rings_for_site
    )
    users = await _everyone(store, roster.site, delta) if everyone else await _affected(store, delta)
    writes: list[Write] = []
    before, after = delta.user_before, delta.user_after
    if before is not None and (after is None or after.number != before.number):
        plan = await store.get(RingPlan, ring_plan_key(before.site, before.number))
        if plan is not None:
            writes.append(Delete(RingPlan, plan.record.key, expect=plan.version))
    for user in users:
        owned = await _all(store, Device, "owner", user.id)
        monitors = [d for d in _overlaid(owned, delta, rings_for_owner) if d.owner == user.id]
        try:
            plan_after = ring_plan(user, monitors, guards)
        except TooManyTargets as full:
            raise Problem("too-many-targets", f"{full}.") from None
        present = await store.get(RingPlan, plan_after.key)
        if present is None or present.record != plan_after:
            writes.append(Put(plan_after, expect=present.version if present else 0))
    return writes


async def _everyone(store: Store, site: str, delta: Delta) -> list[User]:
    found = {user.id: user for user in await _all(store, User, "site", site)}
    if delta.user_before is not None:
        found.pop(delta.user_before.id, None)
    if delta.user_after is not None:
        found[delta.user_after.id] = delta.user_after
    return list(found.values())


async def _affected(store: Store, delta: Delta) -> list[User]:
    """The users whose plan a change of one user, or of a device that is no guard phone, can touch."""
    devices = [device for device in (delta.device_before, delta.device_after) if device is not None and rings_for_owner(device)]
    found: dict[str, User] = {}
    for owner in sorted({device.owner for device in devices}):
        stored = await store.get(User, owner)
        if stored is not None:
            found[owner] = stored.record
    if delta.user_after is not None:
        found[delta.user_after.id] = delta.user_after
    return list(found.values())


def _overlaid(stored: Iterable[Device], delta: Delta, rings: Callable[[Device], bool]) -> list[Device]:
    """The devices that ring, as they will stand after `delta`."""
    found = {device.id: device for device in stored}
    if delta.device_before is not None:
        found.pop(delta.device_before.id, None)
    if delta.device_after is not None:
        found[delta.device_after.id] = delta.device_after
    return [device for device in found.values() if rings(device)]


def _guard_account(device: Device | None) -> str | None:
    return device.account if device is not None and rings_for_site(device) else None


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
